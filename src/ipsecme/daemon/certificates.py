"""Answers the engine's questions about certificates, with what the engine lacks: time and CRLs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_path import PathRefused, TrustedPath, trust
from ipsecme.daemon.revocation import CrlFiles

if TYPE_CHECKING:
    from ipsecme.ike.commands import CheckChain

__all__ = ["ChainChecker"]


class ChainChecker:
    """Judges peers' certificates as of now, or of another time."""

    def __init__(self) -> None:
        self._files = CrlFiles()

    def check(
        self, question: CheckChain, at: dt.datetime | None = None
    ) -> TrustedPath | PathRefused:
        """Return the answer for `Endpoint.answer`."""
        wanted, news = question.trust, question.trust.revocation
        try:
            return trust(
                question.leaf,
                question.others,
                anchors=wanted.authorities,
                pinned=wanted.certificates,
                crls=self._files.read(news.sources) if news.policy != "off" else (),
                policy=news.policy,
                at=at or dt.datetime.now(dt.UTC),
            )
        except PathRefused as error:
            return error
