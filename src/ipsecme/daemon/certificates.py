"""Answers the engine's questions about certificates, with what the engine lacks: time and news.

Nothing is fetched before the way to an authority is found, so that only what a trusted authority
wrote into a certificate, or the configuration, says where to look. What the peer sent by OCSP comes
first: where that suffices nothing is fetched at all (RFC 4806).
"""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_news import News
from ipsecme.crypto.certificate_ocsp import OcspResponse, OcspRules
from ipsecme.crypto.certificate_path import PathRefused, TrustedPath, find_path, trust
from ipsecme.crypto.certificate_revocation import Crl, Standing
from ipsecme.daemon.log import log
from ipsecme.daemon.revocation import NewsFiles, NewsUrls, OcspQuery, Url, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.crypto.certificate import Certificate
    from ipsecme.daemon.revocation import Wanted
    from ipsecme.ike.auth.trust import Revocation
    from ipsecme.ike.commands import CheckChain

__all__ = ["ChainChecker"]

_MOST_URLS = 8  # for one question
_MOST_RESPONSES = 4  # from one peer


class ChainChecker:
    """Judges peers' certificates as of now, or of another time."""

    def __init__(self, urls: NewsUrls | None = None) -> None:
        self._crl_files = NewsFiles(Crl.decode)
        self._ocsp_files = NewsFiles(OcspResponse.decode)
        self._urls = urls or NewsUrls()

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
                news=self._news(question, at) if policy != "off" else None,
                policy=policy,
                at=at,
            )
        except PathRefused as error:
            return error

    def missing(
        self, question: CheckChain, now: float, at: dt.datetime | None = None
    ) -> list[Wanted]:
        """Return what should be fetched before the question can be answered well."""
        at = at or dt.datetime.now(dt.UTC)
        if not _may_fetch(question.trust.revocation):
            return []
        steps = _steps(question, at)
        news = self._news(question, at)
        open_steps = [s for s in steps if news.about(*s, at).standing is Standing.UNKNOWN]
        return self._urls.missing(_sources(question, open_steps), now)[:_MOST_URLS]

    async def fetch(self, wanted: list[Wanted], now: float) -> None:
        """Fetch news; whatever comes of it, `check` has an answer afterwards."""
        await self._urls.fetch(wanted, now)

    def _news(self, question: CheckChain, at: dt.datetime) -> News:
        told = question.trust.revocation
        steps = _steps(question, at) if _may_fetch(told) else []
        fetched = self._urls.read(_sources(question, steps))
        crls = self._crl_files.read(name for name in told.sources if not is_url(name))
        crls += [one for one in fetched if isinstance(one, Crl)]
        ocsp = _stapled(question)
        ocsp += self._ocsp_files.read(name for name in told.ocsp if not is_url(name))
        ocsp += [one for one in fetched if isinstance(one, OcspResponse)]
        return News(tuple(crls), tuple(ocsp), _rules(told))


def _may_fetch(told: Revocation) -> bool:
    """Tell whether there is anything to fetch at all; finding the way costs signatures."""
    follows = (told.follow, told.ocsp_follow) != ("off", "off")
    return follows or any(map(is_url, (*told.sources, *told.ocsp)))


Step = tuple["Certificate", "Certificate"]


def _steps(question: CheckChain, at: dt.datetime) -> list[Step]:
    """Return the certificates on the way whose standing matters, each with its issuer."""
    wanted = question.trust
    if wanted.revocation.policy == "off" or question.leaf in wanted.certificates:
        return []
    try:
        path = find_path(question.leaf, question.others, wanted.authorities, at)
    except PathRefused:
        return []
    return list(itertools.pairwise(path))


def _sources(question: CheckChain, steps: list[Step]) -> Iterator[Wanted]:
    """Yield where to look, of the configuration, and of certificates where that may be followed."""
    told = question.trust.revocation
    for certificate, issuer in steps:
        for name in filter(is_url, told.ocsp):
            yield OcspQuery(name, public_only=False, certificate=certificate, issuer=issuer)
        if told.ocsp_follow != "off":
            public = told.ocsp_follow == "public"
            for name in certificate.ocsp_urls:
                yield OcspQuery(name, public_only=public, certificate=certificate, issuer=issuer)
    if not steps:
        return
    yield from (Url(name, public_only=False) for name in told.sources if is_url(name))
    if told.follow != "off":
        for certificate, _ in steps:
            for name in certificate.crl_urls:
                yield Url(name, public_only=told.follow == "public")


def _stapled(question: CheckChain) -> list[OcspResponse]:
    found = []
    for octets in question.ocsp[:_MOST_RESPONSES]:
        try:
            found.append(OcspResponse.decode(octets))
        except PeerError as error:
            log.info("ocsp_unusable", msg=f"from the peer: {error}", connection=question.connection)
    return found


def _rules(told: Revocation) -> OcspRules:
    age = None if told.ocsp_max_age is None else dt.timedelta(seconds=told.ocsp_max_age)
    return OcspRules(told.responders, age)
