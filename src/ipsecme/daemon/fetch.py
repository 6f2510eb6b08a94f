"""Fetching what certificates point to, without trusting whoever answers.

Bounded in time, size, redirects and number at once. Where the URL comes from a certificate, only
public addresses are contacted: neither a certificate nor a redirect shall make us knock on doors
inside. Names are resolved once, and the addresses that pass are those that are connected to, so a
second answer of DNS changes nothing. URLs are judged in the form in which they are used, for there
are many ways to write 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from ipsecme.base import IpsecmeError

if TYPE_CHECKING:
    import socket

__all__ = ["Body", "FetchFailed", "Fetcher"]

_SECONDS = 5.0
_OCTETS = 4 << 20
_REDIRECTS = 3
_AT_ONCE = 4
_MOVED = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16
_WITH_IPV4 = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("64:ff9b::/96"))


class FetchFailed(IpsecmeError):
    """Nothing usable came from the URL; the message says why."""


class Body(NamedTuple):
    """What is sent to a URL, and its media type."""

    octets: bytes
    kind: str


class Fetcher:
    """Gets octets by HTTP, from so many URLs `at_once`; the others wait their turn.

    `seconds` bounds each fetch, the wait included, up to the last of at most so many `octets`.
    """

    def __init__(
        self, seconds: float = _SECONDS, octets: int = _OCTETS, at_once: int = _AT_ONCE
    ) -> None:
        self._seconds = seconds
        self._octets = octets
        self._turns = asyncio.Semaphore(at_once)

    async def get(self, url: str, *, public_only: bool, octets: int | None = None) -> bytes:
        """Return what the URL gives, so many octets at most; raises `FetchFailed`."""
        return await self._bounded(url, None, octets, public_only=public_only)

    async def post(
        self, url: str, body: Body, *, public_only: bool, octets: int | None = None
    ) -> bytes:
        """Return what the URL answers to a body; raises `FetchFailed`."""
        return await self._bounded(url, body, octets, public_only=public_only)

    async def _bounded(
        self, url: str, body: Body | None, octets: int | None, *, public_only: bool
    ) -> bytes:
        limit = self._octets if octets is None else min(octets, self._octets)
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                return await self._follow(URL(url), body, limit, public_only=public_only)
        except TimeoutError:
            raise FetchFailed(f"{url} gave no answer within {self._seconds:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(f"{url}: {str(error) or type(error).__name__}") from None

    async def _follow(self, url: URL, body: Body | None, limit: int, *, public_only: bool) -> bytes:
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
                async with session.request(
                    "GET" if body is None else "POST",
                    url,
                    data=None if body is None else body.octets,
                    headers=None if body is None else {"Content-Type": body.kind},
                    allow_redirects=False,
                ) as reply:
                    if reply.status not in _MOVED or body is not None:
                        return await _read(url, reply, limit)
                    url = url.join(URL(reply.headers.get("Location", "")))
        raise FetchFailed(f"{url}: more than {_REDIRECTS} redirects")


async def _read(url: URL, reply: aiohttp.ClientResponse, limit: int) -> bytes:
    if reply.status != 200:
        raise FetchFailed(f"{url} answers with status {reply.status}")
    content = bytearray()
    async for chunk in reply.content.iter_chunked(_CHUNK):
        content += chunk
        if len(content) > limit:
            raise FetchFailed(f"{url} gives more than {limit} octets")
    return bytes(content)


def _require_allowed(url: URL, *, public_only: bool) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise FetchFailed(f"{url} is no URL of HTTP")
    if public_only and _is_inside(url.host):
        raise FetchFailed(f"{url} leads to an address that is not public")


def _is_inside(host: str) -> bool:
    """Tell whether a host is an address, and not a public one. Names are for the resolver."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return not host.strip("0123456789.")  # an address in a form that only some would read
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_site_local:
            return True
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in _WITH_IPV4):  # a NAT64 may lead inside, too
            address = ipaddress.IPv4Address(address.packed[12:])
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
            raise OSError(errno.EACCES, f"{host} has no public address")
        return public

    async def close(self) -> None:
        """Close the resolver."""
        await self._inner.close()
