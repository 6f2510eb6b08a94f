"""Which flow a packet belongs to, as a key for caches, read without taking the headers apart.

Only packets with plain headers and visible ports have such a key; all others are looked at in full
each time. Keys hold every field that selectors speak about, so that two packets with one key always
meet the same decision.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from ipsecme.wire.ip import PORT_PROTOCOLS

if TYPE_CHECKING:
    from ipsecme.wire.ip import IpHeaders

__all__ = ["MAX_FLOWS", "FlowKey", "flow_key_ipv4", "flow_key_ipv6", "is_cacheable"]

MAX_FLOWS = 8192
"""Entries of a flow cache. A full cache starts again empty: attackers must not make it grow."""

FlowKey = tuple[object, ...]

flow_key_ipv4 = Struct(">B5xHxB2x12s").unpack_from
"""(version and header length, fragment field, protocol, addresses and ports)."""

flow_key_ipv6 = Struct(">B5xBx36s").unpack_from
"""(version and half the traffic class, next header, addresses and ports)."""


def is_cacheable(packet: bytes, headers: IpHeaders) -> bool:
    """Tell whether the fields in a packet's flow key mean what their places say."""
    if headers.protocol not in PORT_PROTOCOLS or headers.is_fragment or headers.source_port < 0:
        return False
    return packet[0] == 0x45 or (packet[0] >> 4 == 6 and packet[6] == headers.protocol)
