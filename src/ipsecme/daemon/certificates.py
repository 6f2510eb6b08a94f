"""Answers the engine's questions about certificates, with what the engine lacks: time and CRLs.

Nothing is fetched before the way to an authority is found, so that only what a trusted authority
wrote into a certificate, or the configuration, says where to look.
"""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_path import PathRefused, TrustedPath, find_path, trust
from ipsecme.crypto.certificate_revocation import Standing, judge
from ipsecme.daemon.revocation import CrlFiles, CrlUrls, Url, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.crypto.certificate_revocation import Crl
    from ipsecme.ike.commands import CheckChain

__all__ = ["ChainChecker"]

_MOST_URLS = 8  # for one question


class ChainChecker:
    """Judges peers' certificates as of now, or of another time."""

    def __init__(self, urls: CrlUrls | None = None) -> None:
        self._files = CrlFiles()
        self._urls = urls or CrlUrls()

    def check(
        self, question: CheckChain, at: dt.datetime | None = None
    ) -> TrustedPath | PathRefused:
        """Return the answer for `Endpoint.answer`, from what is at hand."""
        wanted, policy = question.trust, question.trust.revocation.policy
        at = at or dt.datetime.now(dt.UTC)
        try:
            return trust(
                question.leaf,
                question.others,
                anchors=wanted.authorities,
                pinned=wanted.certificates,
                crls=self._crls(question) if policy != "off" else (),
                policy=policy,
                at=at,
            )
        except PathRefused as error:
            return error

    def missing(self, question: CheckChain, now: float, at: dt.datetime | None = None) -> list[Url]:
        """Return what should be fetched before the question can be answered well."""
        wanted = question.trust
        if wanted.revocation.policy == "off" or question.leaf in wanted.certificates:
            return []
        at = at or dt.datetime.now(dt.UTC)
        try:
            path = find_path(question.leaf, question.others, wanted.authorities, at)
        except PathRefused:
            return []
        crls = self._crls(question)
        pairs = itertools.pairwise(path)
        if all(judge(*pair, crls, at).standing is not Standing.UNKNOWN for pair in pairs):
            return []
        return self._urls.missing(_urls(question), now)[:_MOST_URLS]

    async def fetch(self, urls: list[Url], now: float) -> None:
        """Fetch CRLs; whatever comes of it, `check` has an answer afterwards."""
        await self._urls.fetch(urls, now)

    def _crls(self, question: CheckChain) -> list[Crl]:
        sources = question.trust.revocation.sources
        files = [name for name in sources if not is_url(name)]
        return self._files.read(files) + self._urls.read(_urls(question))


def _urls(question: CheckChain) -> Iterator[Url]:
    """Yield the URLs of the configuration, and of certificates where it allows to follow them."""
    news = question.trust.revocation
    yield from (Url(name, public_only=False) for name in news.sources if is_url(name))
    if news.follow == "off":
        return
    for certificate in (question.leaf, *question.others):
        for text in certificate.crl_urls:
            yield Url(text, public_only=news.follow == "public")
