"""CRLs: from files, read anew when they change, and from URLs, fetched and kept for a while.

What cannot be used counts as no news; `strict` connections then refuse, and the log says why.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.crypto.certificate_revocation import Crl, CrlUnfit
from ipsecme.daemon.fetch import Fetcher, FetchFailed
from ipsecme.daemon.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CrlFiles", "CrlUrls", "Url", "is_url"]

_LARGEST = 16 << 20
_KEPT_SECONDS = 3600.0
_FAILURE_KEPT_SECONDS = 60.0
_MOST_URLS = 64


class _Known(NamedTuple):
    stamp: tuple[int, int]
    crl: Crl | None


class _Fetched(NamedTuple):
    until: float
    crl: Crl | None


class Url(NamedTuple):
    """Where a CRL is; `public_only` for what a certificate says and the configuration does not."""

    text: str
    public_only: bool


def is_url(name: str) -> bool:
    """Tell a URL from the name of a file."""
    return "://" in name


class CrlFiles:
    """The CRL files of all connections, each parsed once for each of its versions."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def read(self, names: Iterable[str]) -> list[Crl]:
        """Return what the files hold now."""
        found = (self._current(name) for name in names)
        return [crl for crl in found if crl is not None]

    def _current(self, name: str) -> Crl | None:
        path = Path(name)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._known.get(name)
            if known is not None and known.stamp == stamp:
                return known.crl
            crl = _load(path)
        except OSError as error:
            self._known.pop(name, None)
            log.warning("crl_unusable", msg=f"{name} cannot be read: {error.strerror}", file=name)
            return None
        except CrlUnfit as error:
            log.warning("crl_unusable", msg=f"{name}: {error}", file=name)
            crl = None
        self._known[name] = _Known(stamp, crl)
        return crl


class CrlUrls:
    """CRLs that were fetched; `now` is monotonic. At most so many are kept, the oldest goes."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher or Fetcher()
        self._known: dict[Url, _Fetched] = {}

    def missing(self, urls: Iterable[Url], now: float) -> list[Url]:
        """Return those that should be fetched: never tried, or too long ago."""
        return [url for url in dict.fromkeys(urls) if not self._is_fresh(url, now)]

    def read(self, urls: Iterable[Url]) -> list[Crl]:
        """Return what is known from these URLs."""
        found = (self._known.get(url) for url in urls)
        return [entry.crl for entry in found if entry is not None and entry.crl is not None]

    async def fetch(self, urls: Iterable[Url], now: float) -> None:
        """Fetch them all at once; what fails is not tried again for a minute."""
        await asyncio.gather(*(self._fetch(url, now) for url in urls))

    def _is_fresh(self, url: Url, now: float) -> bool:
        known = self._known.get(url)
        return known is not None and now < known.until

    async def _fetch(self, url: Url, now: float) -> None:
        crl, kept = None, _FAILURE_KEPT_SECONDS
        try:
            octets = await self._fetcher.get(url.text, public_only=url.public_only)
            crl, kept = Crl.decode(octets), _KEPT_SECONDS
        except (FetchFailed, CrlUnfit) as error:
            log.warning("crl_unusable", msg=f"{url.text}: {error}", url=url.text)
            known = self._known.get(url)
            crl = known.crl if known is not None else None
        self._known.pop(url, None)
        while len(self._known) >= _MOST_URLS:
            del self._known[next(iter(self._known))]
        self._known[url] = _Fetched(now + kept, crl)


def _load(path: Path) -> Crl:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise CrlUnfit(f"the CRL is larger than {_LARGEST >> 20} MiB")
    return Crl.decode(content)
