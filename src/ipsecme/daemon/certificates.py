"""Answers the engine's questions about certificates, with the time of day that the engine lacks."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_path import PathRefused, TrustedPath, trust

if TYPE_CHECKING:
    from ipsecme.ike.commands import CheckChain

__all__ = ["check_chain"]


def check_chain(question: CheckChain, at: dt.datetime | None = None) -> TrustedPath | PathRefused:
    """Judge a peer's certificate as of now, or of another time."""
    wanted = question.trust
    at = at or dt.datetime.now(dt.UTC)
    try:
        return trust(
            question.leaf,
            question.others,
            anchors=wanted.authorities,
            pinned=wanted.certificates,
            at=at,
        )
    except PathRefused as error:
        return error
