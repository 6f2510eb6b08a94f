"""OCSP responses about our own certificates, kept fresh for peers that ask for them (RFC 4806).

Sources are files, which somebody else renews, and responders, which are asked when half of a
response's time is over. The engine is told of each new response, and when the last one is too old.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_ocsp import OcspResponse, OcspRules, judge_by_ocsp
from ipsecme.crypto.certificate_revocation import Standing
from ipsecme.daemon.fetch import Fetcher, FetchFailed
from ipsecme.daemon.log import log
from ipsecme.daemon.revocation import NewsFiles, OcspQuery, ask_responder, is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipsecme.crypto.certificate import Certificate

__all__ = ["OwnCertificate", "OwnOcsp"]

_RETRY = dt.timedelta(minutes=1)
_LONGEST = dt.timedelta(hours=1)


class OwnCertificate(NamedTuple):
    """A certificate of ours, who issued it, and where responses about it come from."""

    certificate: Certificate
    issuer: Certificate
    sources: tuple[str, ...]


class OwnOcsp:
    """Calls `tell` with a certificate and its response in DER, or None when there is none now."""

    def __init__(
        self,
        own: Sequence[OwnCertificate],
        tell: Callable[[Certificate, bytes | None], None],
        fetcher: Fetcher | None = None,
    ) -> None:
        self._own = tuple(own)
        self._tell = tell
        self._fetcher = fetcher or Fetcher()
        self._files = NewsFiles(OcspResponse.decode)
        self._fetched: dict[tuple[Certificate, str], OcspResponse] = {}
        self._ask_again: dict[tuple[Certificate, str], dt.datetime] = {}
        self._told: dict[Certificate, bytes | None] = {}

    async def refresh(self, at: dt.datetime) -> None:
        """Read and fetch what is due, and tell what changed."""
        for one in self._own:
            await self._fetch_due(one, at)
            self._tell_of(one, at)

    async def _fetch_due(self, one: OwnCertificate, at: dt.datetime) -> None:
        for url in filter(is_url, one.sources):
            key = one.certificate, url
            if at < self._ask_again.get(key, at):
                continue
            query = OcspQuery(url, public_only=False, certificate=one.certificate,
                              issuer=one.issuer)  # fmt: skip
            try:
                response = await ask_responder(self._fetcher, query)
                self._fetched[key] = response
                self._ask_again[key] = at + _pause(response, one, at)
            except (FetchFailed, PeerError) as error:
                log.warning("own_ocsp_unusable", msg=f"{url}: {error}", url=url)
                self._ask_again[key] = at + _RETRY

    def _tell_of(self, one: OwnCertificate, at: dt.datetime) -> None:
        """Tell the first response that says that our certificate is good."""
        found = self._files.read(name for name in one.sources if not is_url(name))
        for url in filter(is_url, one.sources):
            if (response := self._fetched.get((one.certificate, url))) is not None:
                found.append(response)
        best, reason = None, "no source of ocsp_own gives one"
        for response in found:
            finding = judge_by_ocsp(one.certificate, one.issuer, [response], OcspRules(), at)
            if finding.standing is Standing.GOOD:
                best = response.der
                break
            reason = finding.detail
        if self._told.get(one.certificate, b"") == best:
            return
        self._told[one.certificate] = best
        self._tell(one.certificate, best)
        if best is None:
            log.warning("own_ocsp_missing", msg=f"there is no OCSP response for peers that ask "
                        f"about {one.certificate}: {reason}")  # fmt: skip


def _pause(response: OcspResponse, one: OwnCertificate, at: dt.datetime) -> dt.timedelta:
    """Return after which time to ask again: half of what is left."""
    answer = response.answer_for(one.certificate, one.issuer)
    end = answer.next_update_utc if answer is not None else None
    return _LONGEST if end is None else min(max((end - at) / 2, _RETRY), _LONGEST)
