"""Internal addresses of an IKE SA, lent or borrowed (RFC 7296, sections 2.19 and 3.15.1).

They belong to the IKE SA that asked for them and to its successors by rekeying, and end with the
last of these. Owns what follows from them for traffic selectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.policy.selector import ANY_PORTS
from ipsecme.wire.ike import TrafficSelector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsecme.ike.config import ChildConfig

__all__ = [
    "InternalAddresses",
    "every_address",
    "host_selectors",
    "local_selectors",
    "own_addresses",
    "remote_selectors",
]

Selectors = tuple[TrafficSelector, ...]


@dataclass(slots=True, frozen=True)
class InternalAddresses:
    """What the configuration payloads of an IKE SA have brought; addresses of 4 or 16 octets.

    The peer has `leased` from us. It has `assigned` to us, and told us of name servers, of the
    networks that it protects (address and bits), and of its software.
    """

    leased: tuple[bytes, ...] = ()
    assigned: tuple[bytes, ...] = ()
    dns: tuple[bytes, ...] = ()
    subnets: tuple[tuple[bytes, int], ...] = ()
    peer_version: str = ""


def local_selectors(config: ChildConfig, internal: InternalAddresses) -> Selectors:
    """Return our side of a Child SA, with the addresses that were assigned to us."""
    own = host_selectors(internal.assigned) if config.local_assigned else ()
    return (*own, *config.local_ts)


def remote_selectors(config: ChildConfig, internal: InternalAddresses) -> Selectors:
    """Return the peer's side of a Child SA, with the addresses that it has from us."""
    leased = host_selectors(internal.leased) if config.remote_leased else ()
    return (*leased, *config.remote_ts)


def host_selectors(addresses: Iterable[bytes]) -> Selectors:
    """Return a selector for each address."""
    return tuple(TrafficSelector(0, *ANY_PORTS, address, address) for address in addresses)


def every_address(families: Iterable[int]) -> Selectors:
    """Return what is asked for while the address is not known, for each size of an address."""
    return tuple(
        TrafficSelector(0, *ANY_PORTS, bytes(octets), b"\xff" * octets) for octets in families
    )


def own_addresses(selectors: Selectors, internal: InternalAddresses) -> tuple[bytes, ...]:
    """Return which of the addresses assigned to us stand by themselves in these selectors."""
    return tuple(
        address
        for address in internal.assigned
        if any(one.start == one.end == address for one in selectors)
    )
