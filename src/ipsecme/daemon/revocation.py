"""CRLs and OCSP responses: from files, read anew when they change, and fetched and kept a while.

What cannot be used counts as no news; `strict` connections then refuse, and the log says why.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_ocsp import LARGEST_RESPONSE, OcspResponse, encode_request
from ipsecme.crypto.certificate_revocation import Crl
from ipsecme.daemon.fetch import Body, Fetcher, FetchFailed
from ipsecme.daemon.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipsecme.crypto.certificate import Certificate

__all__ = ["NewsFiles", "NewsUrls", "OcspQuery", "Url", "ask_responder", "is_url"]

T = TypeVar("T", Crl, OcspResponse)

_LARGEST = 16 << 20
_KEPT_SECONDS = 3600.0
_OCSP_KEPT_SECONDS = 300.0
_FAILURE_KEPT_SECONDS = 60.0
_MOST_URLS = 64
_NONCE_OCTETS = 16


class _Known(NamedTuple, Generic[T]):
    stamp: tuple[int, int]
    news: T | None


@dataclass(slots=True, frozen=True)
class Url:
    """Where a CRL is; `public_only` for what a certificate says and the configuration does not."""

    text: str
    public_only: bool


@dataclass(slots=True, frozen=True)
class OcspQuery:
    """A question to the OCSP responder at a URL, about a certificate and its issuer."""

    text: str
    public_only: bool
    certificate: Certificate = field(repr=False)
    issuer: Certificate = field(repr=False)


Wanted = Url | OcspQuery


class _Fetched(NamedTuple):
    until: float
    news: Crl | OcspResponse | None


def is_url(name: str) -> bool:
    """Tell a URL from the name of a file."""
    return "://" in name


class NewsFiles(Generic[T]):
    """Files of one kind of all connections, each parsed once for each of its versions."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode: Callable[[bytes], T] = decode
        self._known: dict[str, _Known[T]] = {}
        self._unreadable: set[str] = set()

    def read(self, names: Iterable[str]) -> list[T]:
        """Return what the files hold now."""
        found = (self._current(name) for name in names)
        return [news for news in found if news is not None]

    def _current(self, name: str) -> T | None:
        path = Path(name)
        news: T | None
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._known.get(name)
            if known is not None and known.stamp == stamp:
                return known.news
            news = self._decode(_load(path))
        except OSError as error:
            self._known.pop(name, None)
            if name not in self._unreadable:
                _complain(f"{name} cannot be read: {error.strerror}", file=name)
            self._unreadable.add(name)
            return None
        except PeerError as error:
            _complain(f"{name}: {error}", file=name)
            news = None
        self._unreadable.discard(name)
        self._known[name] = _Known(stamp, news)
        return news


class NewsUrls:
    """What was fetched; `now` is monotonic. At most so much is kept, the oldest goes."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher or Fetcher()
        self._known: dict[Wanted, _Fetched] = {}

    def missing(self, wanted: Iterable[Wanted], now: float) -> list[Wanted]:
        """Return those that should be fetched: never tried, or too long ago."""
        return [one for one in dict.fromkeys(wanted) if not self._is_fresh(one, now)]

    def read(self, wanted: Iterable[Wanted]) -> list[Crl | OcspResponse]:
        """Return what is known from these."""
        found = (self._known.get(one) for one in wanted)
        return [entry.news for entry in found if entry is not None and entry.news is not None]

    async def fetch(self, wanted: Iterable[Wanted], now: float) -> None:
        """Fetch them all at once; what fails is not tried again for a minute."""
        await asyncio.gather(*(self._fetch(one, now) for one in wanted))

    def _is_fresh(self, one: Wanted, now: float) -> bool:
        known = self._known.get(one)
        return known is not None and now < known.until

    async def _fetch(self, one: Wanted, now: float) -> None:
        news: Crl | OcspResponse | None
        try:
            if isinstance(one, OcspQuery):
                news, kept = await ask_responder(self._fetcher, one), _OCSP_KEPT_SECONDS
            else:
                octets = await self._fetcher.get(one.text, public_only=one.public_only)
                news, kept = Crl.decode(octets), _KEPT_SECONDS
        except (FetchFailed, PeerError) as error:
            _complain(f"{one.text}: {error}", url=one.text)
            known = self._known.get(one)
            news, kept = known.news if known is not None else None, _FAILURE_KEPT_SECONDS
        self._known.pop(one, None)
        while len(self._known) >= _MOST_URLS:
            del self._known[next(iter(self._known))]
        self._known[one] = _Fetched(now + kept, news)


async def ask_responder(fetcher: Fetcher, query: OcspQuery) -> OcspResponse:
    """Return what a responder answers; raises `FetchFailed` or `OcspUnfit`. Nobody judged it."""
    nonce = os.urandom(_NONCE_OCTETS)
    request = encode_request(query.certificate, query.issuer, nonce)
    octets = await fetcher.post(
        query.text,
        Body(request, "application/ocsp-request"),
        public_only=query.public_only,
        octets=LARGEST_RESPONSE,
    )
    response = OcspResponse.decode(octets)
    response.require_nonce(nonce)
    return response


def _complain(text: str, **fields: str) -> None:
    log.warning("revocation_news_unusable", msg=text, **fields)


def _load(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise PeerError(f"it is larger than {_LARGEST >> 20} MiB")
    return content
