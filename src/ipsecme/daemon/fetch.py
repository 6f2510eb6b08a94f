"""Fetching what certificates point to, without trusting whoever answers.

Bounded in time, size, redirects and number at once. Where the URL comes from a certificate, only
public addresses are contacted: neither a certificate nor a redirect shall make us knock on doors
inside. Addresses are judged when the connection is made, so a second answer of DNS changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from ipsecme.base import IpsecmeError

if TYPE_CHECKING:
    import socket

__all__ = ["FetchFailed", "Fetcher"]

_SECONDS = 5.0
_OCTETS = 4 << 20
_REDIRECTS = 3
_AT_ONCE = 4
_MOVED = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16


class FetchFailed(IpsecmeError):
    """Nothing usable came from the URL; the message says why."""


class Fetcher:
    """Gets octets by HTTP. `seconds` bounds each fetch from name resolution to the last octet."""

    def __init__(self, seconds: float = _SECONDS, octets: int = _OCTETS) -> None:
        self._seconds = seconds
        self._octets = octets
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def get(self, url: str, *, public_only: bool) -> bytes:
        """Return what the URL gives; raises `FetchFailed`."""
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                return await self._follow(url, public_only=public_only)
        except TimeoutError:
            raise FetchFailed(f"{url} gave no answer within {self._seconds:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(f"{url}: {str(error) or type(error).__name__}") from None

    async def _follow(self, url: str, *, public_only: bool) -> bytes:
        resolver = _PublicResolver() if public_only else ThreadedResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            for _ in range(_REDIRECTS + 1):
                _require_allowed(url, public_only=public_only)
                async with session.get(url, allow_redirects=False) as reply:
                    if reply.status not in _MOVED:
                        return await self._read(url, reply)
                    url = urljoin(url, reply.headers.get("Location", ""))
        raise FetchFailed(f"{url}: more than {_REDIRECTS} redirects")

    async def _read(self, url: str, reply: aiohttp.ClientResponse) -> bytes:
        if reply.status != 200:
            raise FetchFailed(f"{url} answers with status {reply.status}")
        content = bytearray()
        async for chunk in reply.content.iter_chunked(_CHUNK):
            content += chunk
            if len(content) > self._octets:
                raise FetchFailed(f"{url} gives more than {self._octets} octets")
        return bytes(content)


def _require_allowed(url: str, *, public_only: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchFailed(f"{url} is no URL of HTTP")
    if public_only and _is_inside(parts.hostname):
        raise FetchFailed(f"{url} leads to an address that is not public")


def _is_inside(host: str) -> bool:
    """Tell whether a host is an address, and not a public one. Names are for the resolver."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global or address.is_multicast


class _PublicResolver(AbstractResolver):
    """Gives public addresses and no others."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily | int = 0
    ) -> list[ResolveResult]:
        """Resolve a name; raises `OSError` when nothing public is left."""
        found = await self._inner.resolve(host, port, family)  # type: ignore[arg-type]
        public = [result for result in found if not _is_inside(result["host"])]
        if not public:
            raise OSError(f"{host} has no public address")
        return public

    async def close(self) -> None:
        """Close the resolver."""
        await self._inner.close()
