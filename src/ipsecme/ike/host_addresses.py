"""HostAddresses: which addresses this host has, and from which it reaches others.

The engine is told by `Endpoint.handle_addresses` and asks nobody. Which of the addresses a peer may
hear of is decided here, too (RFC 4555, section 5.5).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import LocalMisuse, packed_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipsecme.base import Path
    from ipsecme.ike.config import PeerConfig
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["HostAddresses", "is_plausible"]

_MOST_ANNOUNCED = 8


class HostAddresses(NamedTuple):
    """`addresses` are all that the host has now, `gone` those that it had; none while unknown.

    `route` returns the address from which the host would send to another, or None where no way
    leads; without it any address of the same IP version serves.
    """

    addresses: tuple[str, ...] = ()
    route: Callable[[str], str | None] | None = None
    gone: frozenset[str] = frozenset()

    def replaced_by(
        self, addresses: Sequence[str], route: Callable[[str], str | None] | None
    ) -> HostAddresses:
        """Return what is true from now on."""
        gone = (self.gone | set(self.addresses)) - set(addresses)
        return HostAddresses(tuple(addresses), route, gone)

    def usable(self, peer: PeerConfig, remote: str) -> list[str]:
        """Return the addresses from which a peer's address may be called, in the host's order."""
        version = _version(remote)
        return [
            address
            for address in self.addresses
            if _version(address) == version
            and peer.listen_address in (None, address)
            and (peer.listen_address == address or is_plausible(address, beside=remote))
        ]

    def source(self, peer: PeerConfig, remote: str, current: str) -> str | None:
        """Return the best address to call a peer's address from, or None where there is none."""
        usable = self.usable(peer, remote)
        if self.route is not None:
            best = self.route(remote)
            if best is not None and peer.listen_address is not None:
                best = peer.listen_address
            return best if best in usable else None
        if current in usable:
            return current
        outer = [address for address in usable if not _is_inner(address, peer)]
        return next(iter(outer), None)

    def caller(self, peer: PeerConfig) -> str:
        """Return the address to call a peer from: today's best, or the configured one."""
        remote, local = peer.remote_address, peer.local_address
        if remote is None or local is None:
            raise LocalMisuse(f"connection {peer.name} has no address to call")
        if not peer.mobike or not self.addresses:
            return local
        return self.source(peer, remote, local) or local

    def announced(self, peer: PeerConfig, path: Path) -> tuple[str, ...]:
        """Return what a peer may know besides the address in use: nothing that is protected."""
        if peer.listen_address is not None:
            return ()
        local, remote = path.local.address, path.remote.address
        others = (
            address
            for address in self.addresses
            if address != local
            and is_plausible(address, beside=remote)
            and not _is_inner(address, peer)
        )
        return tuple(others)[:_MOST_ANNOUNCED]


def is_plausible(address: str, *, beside: str) -> bool:
    """Tell whether a host can have an address; a loopback one only beside another such."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback:
        return ipaddress.ip_address(beside).is_loopback
    return not (
        parsed.is_multicast
        or parsed.is_unspecified
        or parsed.is_link_local
        or (parsed.version == 4 and parsed.is_reserved)
    )


def _is_inner(address: str, peer: PeerConfig) -> bool:
    """Tell whether an address belongs to a network that one of the Child SAs protects."""
    octets = packed_address(address)
    return any(_covers(selector, octets) for child in peer.children for selector in child.local_ts)


def _covers(selector: TrafficSelector, octets: bytes) -> bool:
    start, end = selector.start, selector.end
    if len(start) != len(octets) or (not any(start) and end == b"\xff" * len(end)):
        return False  # a selector of every address says nothing about where they are
    return start <= octets <= end


def _version(address: str) -> int:
    return 6 if ":" in address else 4
