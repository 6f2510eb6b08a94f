"""What a router does to packets: address translation and loss, as nftables rules.

Owns the rules only; each call adds a table of its own to the host. Needs the program `nft`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.lab.host import Host, Interface

__all__ = ["drop_share", "masquerade", "publish"]

_numbers: Final = itertools.count(1)


def masquerade(outside: Interface, *, ports: str = "20000-29999") -> None:
    """Translate source addresses of what leaves by `outside`, as a home router does.

    UDP source ports are mapped into `ports`, so that neither 500 nor 4500 is seen outside.
    """
    chain = f"""
      type nat hook postrouting priority srcnat
      oifname "{outside.name}" meta l4proto udp masquerade to :{ports}
      oifname "{outside.name}" masquerade
    """
    _add_table(outside.host, "ip", "postrouting", chain)


def publish(outside: Interface, inside_address: str, ports: Sequence[int] = (500, 4500)) -> None:
    """Pass UDP that arrives for `ports` at `outside` on to an IPv4 address inside."""
    listed = ", ".join(map(str, ports))
    chain = f"""
      type nat hook prerouting priority dstnat
      iifname "{outside.name}" udp dport {{ {listed} }} dnat to {inside_address}
    """
    _add_table(outside.host, "ip", "prerouting", chain)


def drop_share(inbound: Interface, percent: int) -> None:
    """Lose about `percent` of all packets that arrive at `inbound`, by chance."""
    chain = f"""
      type filter hook prerouting priority raw
      iifname "{inbound.name}" numgen random mod 100 < {percent} counter drop
    """
    _add_table(inbound.host, "inet", "prerouting", chain)


def _add_table(host: Host, family: str, name: str, chain: str) -> None:
    table = f"lab{next(_numbers)}"
    rules = host.folder / f"{table}.nft"
    rules.write_text(f"table {family} {table} {{\n  chain {name} {{{chain}  }}\n}}\n")
    host.run(["nft", "-f", str(rules)])
