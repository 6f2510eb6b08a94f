"""Two sites with a network each and a way between them: where most scenarios happen.

Owns the addresses and routes of the usual pictures; daemons come from `strongswan` and `ipsecme`.
Protected addresses are put on the loopback of each host, which stands for the network behind it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.lab.firewall import masquerade
from ipsecme.lab.peer import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.lab.host import Interface
    from ipsecme.lab.network import Lab

__all__ = ["two_hosts", "two_hosts_across_nat", "two_sites", "two_sites_across_nat"]

# West's and east's, documentation and private prefixes (RFC 5737, RFC 3849, RFC 1918).
OUTER_IPV4 = ("192.0.2.1/24", "192.0.2.2/24")
OUTER_IPV6 = ("2001:db8::1/64", "2001:db8::2/64")
INNER_IPV4 = ("10.1.0.1/24", "10.2.0.1/24")
INNER_IPV6 = ("2001:db8:1::1/64", "2001:db8:2::1/64")


def two_sites(
    lab: Lab,
    *,
    outer: tuple[str, str] = OUTER_IPV4,
    inner: Sequence[tuple[str, str]] = (INNER_IPV4,),
    mtu: int = 1500,
) -> tuple[Site, Site]:
    """Make the hosts `west` and `east` on one link."""
    west, east = lab.host("west"), lab.host("east")
    ends = lab.link(west, east, outer, mtu=mtu)
    return (
        _site(ends[0], outer[0], [pair[0] for pair in inner]),
        _site(ends[1], outer[1], [pair[1] for pair in inner]),
    )


def two_sites_across_nat(
    lab: Lab, *, inner: Sequence[tuple[str, str]] = (INNER_IPV4,)
) -> tuple[Site, Site]:
    """Make `west` behind a router that translates its addresses and ports, and `east` outside."""
    west, router, east = lab.host("west"), lab.host("router"), lab.host("east")
    home, _ = lab.link(west, router, ("172.16.0.2/24", "172.16.0.1/24"))
    outside, far = lab.link(router, east, ("192.0.2.254/24", "192.0.2.2/24"))
    west.add_route("default", "172.16.0.1")
    router.forward()
    masquerade(outside)
    return (
        _site(home, "172.16.0.2/24", [pair[0] for pair in inner], hidden=True),
        _site(far, "192.0.2.2/24", [pair[1] for pair in inner]),
    )


def two_hosts(lab: Lab, *, outer: tuple[str, str] = OUTER_IPV4) -> tuple[Site, Site]:
    """Make the hosts `west` and `east` on one link, with nothing behind them to protect."""
    west, east = two_sites(lab, outer=outer, inner=())
    return _lone(west), _lone(east)


def two_hosts_across_nat(lab: Lab) -> tuple[Site, Site]:
    """Make `west` behind a translating router, and `east` outside, with nothing behind them."""
    west, east = two_sites_across_nat(lab, inner=())
    return _lone(west), _lone(east)


def _lone(site: Site) -> Site:
    """Return a site that consists of its host."""
    return replace(site, inner=(site.address,), networks=(str(ipaddress.ip_network(site.address)),))


def _site(outside: Interface, outer: str, inner: Sequence[str], *, hidden: bool = False) -> Site:
    host = outside.host
    for address in inner:
        host.add_address("lo", address)
    address = _bare(outer)
    return Site(
        host=host,
        outside=outside,
        address=address,
        reachable_as=None if hidden else address,
        identity=f"{host.name}.example",
        networks=tuple(str(ipaddress.ip_interface(one).network) for one in inner),
        inner=tuple(map(_bare, inner)),
    )


def _bare(address: str) -> str:
    return str(ipaddress.ip_interface(address).ip)
