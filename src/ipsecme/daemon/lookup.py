"""Fetches the certificates that peers only name by SHA-1 and URL (RFC 7296, section 3.6).

The peers are not authenticated yet, so little is done for them: few URLs for each, few lookups at
once altogether and for one network, nothing large, nothing slow, and no visits to inner addresses
unless the connection allows that. What was fetched is kept under its SHA-1.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_bundle import (
    LARGEST_BUNDLE,
    LARGEST_CERTIFICATE,
    LocationUnfit,
)
from ipsecme.daemon.fetch import Fetcher, FetchFailed
from ipsecme.ike.half_open import prefix_of

if TYPE_CHECKING:
    from ipsecme.crypto.certificate_bundle import Location
    from ipsecme.ike.commands import FetchCertificates

__all__ = ["Lookup"]

_AT_ONCE = 16
_AT_ONCE_FOR_ONE = 2
_MOST_LOCATIONS = 4
_MOST_KEPT = 128
_LARGEST_KEPT = 2 << 20


class Lookup:
    """Answers `FetchCertificates`."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        # Enough turns for all, lest servers that keep quiet hold up the peers of others.
        self._fetcher = fetcher or Fetcher(at_once=_AT_ONCE * _MOST_LOCATIONS)
        self._kept: dict[bytes, bytes] = {}
        self._under_way: Counter[bytes] = Counter()

    def known(self, question: FetchCertificates) -> tuple[bytes, ...] | None:
        """Return the answer, if all of it is at hand."""
        found = tuple(self._kept.get(location.digest, b"") for location in question.locations)
        return found if all(found) else None

    async def find(self, question: FetchCertificates) -> tuple[bytes, ...] | LocationUnfit:
        """Return what the locations lead to, in their order, or why that was not to be had."""
        remote = prefix_of(question.remote)
        if self._under_way.total() >= _AT_ONCE or self._under_way[remote] >= _AT_ONCE_FOR_ONE:
            return LocationUnfit("too many lookups are under way; the peer may try again")
        self._under_way[remote] += 1
        try:
            wanted = [
                self._one(location, public_only=question.reach != "any")
                for location in question.locations
            ]
            found = await asyncio.gather(*wanted, return_exceptions=True)
        finally:
            self._under_way[remote] -= 1
            if not self._under_way[remote]:
                del self._under_way[remote]
        for one in found:
            if isinstance(one, (FetchFailed, LocationUnfit)):
                return LocationUnfit(str(one))
            if isinstance(one, BaseException):
                raise one
        return tuple(one for one in found if isinstance(one, bytes))

    async def _one(self, location: Location, *, public_only: bool) -> bytes:
        if (kept := self._kept.get(location.digest)) is not None:
            return kept
        limit = LARGEST_BUNDLE if location.is_bundle else LARGEST_CERTIFICATE
        content = await self._fetcher.get(location.url, public_only=public_only, octets=limit)
        location.require_match(content)
        self._keep(location.digest, content)
        return content

    def _keep(self, digest: bytes, content: bytes) -> None:
        self._kept.pop(digest, None)
        self._kept[digest] = content
        while len(self._kept) > _MOST_KEPT or sum(map(len, self._kept.values())) > _LARGEST_KEPT:
            del self._kept[next(iter(self._kept))]
