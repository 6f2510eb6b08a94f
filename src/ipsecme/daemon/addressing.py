"""Settings about internal addresses: what a client asks for, and what a gateway lends.

Owns the word ``dynamic`` in `local_ts` and `remote_ts`, which stands for the addresses that an IKE
SA brings, and the checks of everything that goes with it. (RFC 7296, section 2.19.)
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ipsecme.ike.config import AddressConfig
from ipsecme.policy.address_pool import AddressRange
from ipsecme.policy.selector import parse_selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.daemon.schema import ConnectionTable
    from ipsecme.wire.ike import TrafficSelector

__all__ = [
    "DYNAMIC",
    "address_config",
    "families_differ",
    "request_families",
    "selectors_of",
    "static_selectors",
    "wrong_addresses",
]

DYNAMIC = "dynamic"
_ANYBODY = ("0.0.0.0/0", "::/0")
_OCTETS = {"ipv4": 4, "ipv6": 16}


def selectors_of(table: ConnectionTable) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Return local_ts and remote_ts of a connection.

    What is left out of them may be dynamic; in transport mode it is whoever the two hosts are.
    """
    local, remote = table.local_ts, table.remote_ts
    if table.mode != "tunnel" and local is None and remote is None and not table.children:
        return _ANYBODY, _ANYBODY
    if local is None and remote is not None and table.request_addresses:
        local = [DYNAMIC]
    if remote is None and local is not None and table.pool:
        remote = [DYNAMIC]
    return local, remote


def static_selectors(texts: Sequence[str]) -> tuple[TrafficSelector, ...]:
    """Return the selectors that are known before there is an IKE SA."""
    return tuple(parse_selector(text) for text in texts if text != DYNAMIC)


def request_families(table: ConnectionTable) -> tuple[int, ...]:
    """Return the sizes of the addresses that the peer is asked for."""
    return tuple(dict.fromkeys(_OCTETS[family] for family in table.request_addresses or ()))


def address_config(table: ConnectionTable) -> AddressConfig | None:
    """Return what the peer may have from us."""
    if table.pool is None:
        return None
    return AddressConfig(
        tuple(map(AddressRange.parse, table.pool)),
        tuple(ipaddress.ip_address(text).packed for text in table.dns or ()),
        table.addresses_per_peer,
    )


def families_differ(
    local: Sequence[str], remote: Sequence[str], table: ConnectionTable | None = None
) -> bool:
    """Tell whether both sides have no address family in common.

    Without its connection what is dynamic may be of any family.
    """
    ours = {len(selector.start) for selector in static_selectors(local)}
    theirs = {len(selector.start) for selector in static_selectors(remote)}
    if DYNAMIC in local:
        ours |= set(request_families(table)) if table else {4, 16}
    if DYNAMIC in remote:
        lends = address_config(table) if table else None
        theirs |= {one.octets for one in lends.ranges} if lends else {4, 16}
    return not ours & theirs


def wrong_addresses(table: ConnectionTable) -> str | None:
    """Say what is wrong with the settings about internal addresses."""
    sides = [selectors_of(table), *((c.local_ts, c.remote_ts) for c in table.children.values())]
    modes = [table.mode, *(child.mode for child in table.children.values())]
    is_local = any(DYNAMIC in (local or ()) for local, _ in sides)
    is_remote = any(DYNAMIC in (remote or ()) for _, remote in sides)
    if (is_local or is_remote) and any(mode not in (None, "tunnel") for mode in modes):
        return '"dynamic" addresses are inside a tunnel; transport mode has the hosts\' own ones'
    if is_local and not table.request_addresses:
        return 'local_ts is "dynamic", but no address is asked for; add request_addresses'
    if is_remote and not table.pool:
        return 'remote_ts is "dynamic", but no address is lent; add pool'
    if table.request_addresses and not is_local:
        return 'request_addresses is for nothing; write local_ts = ["dynamic"], or leave it out'
    if table.pool and not is_remote:
        return 'pool is for nothing; write remote_ts = ["dynamic"], or leave it out'
    if table.request_addresses and table.is_remote_any:
        return "request_addresses asks the peer that remote names; add its address"
    if table.dns and not table.pool:
        return "dns is told to those who have an address of pool; add it"
    return None
