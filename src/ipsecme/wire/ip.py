"""IPv4 and IPv6 headers as IPsec sees them: addresses, next layer protocol, ports, lengths.

Reads the fields that RFC 4301, section 4.4.1.1 calls selectors, walking IPv6 extension headers
with a bound. Knows nothing of policies.
"""

from __future__ import annotations

from typing import NamedTuple

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import IpProtocol

__all__ = [
    "ABSENT",
    "HIDDEN",
    "IPV4_OCTETS",
    "IPV6_OCTETS",
    "PORT_PROTOCOLS",
    "IpHeaders",
    "checksum",
    "encode_ipv4",
    "encode_ipv6",
    "read_headers",
]

IPV4_OCTETS = 20
IPV6_OCTETS = 40
MAX_EXTENSION_HEADERS = 8

HIDDEN = -1
"""A port that cannot be seen: the packet is a later fragment, too short, or knows no ports."""

ABSENT = -2
"""The second port of a protocol that has one number only: ICMP type and code, MH type."""

PORT_PROTOCOLS = frozenset((6, 17, 33, 132, 136))
"""TCP, UDP, DCCP, SCTP and UDP-Lite begin with source and destination port."""

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS = 0, 43, 44, 60
_EXTENSIONS = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS))
_MORE_FRAGMENTS, _OFFSET_MASK = 0x2000, 0x1FFF


class IpHeaders(NamedTuple):
    """What the headers of one packet say.

    `source` and `destination` have 4 or 16 octets. For ICMP and the mobility header,
    `source_port` holds the type in its high octet (and the ICMP code in the low one) and
    `destination_port` is ABSENT. `upper` is where the next layer starts, `end` the packet's size
    as the headers state it; octets after it are not part of the packet.
    """

    source: bytes
    destination: bytes
    protocol: int
    source_port: int
    destination_port: int
    upper: int
    end: int
    is_fragment: bool


def read_headers(packet: bytes, *, is_whole: bool = True) -> IpHeaders:
    """Read the headers of `packet`; raises `MalformedMessage` when its lengths contradict it.

    With `is_whole` false the packet may be cut off after its first octets, as inside an ICMP error
    message; the headers themselves must be there.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _read_ipv4(packet, is_whole)
    if version == 6:
        return _read_ipv6(packet, is_whole)
    raise MalformedMessage(f"IP version {version}")


def _read_ipv4(packet: bytes, is_whole: bool) -> IpHeaders:
    if len(packet) < IPV4_OCTETS:
        raise MalformedMessage(f"IPv4 packet of {len(packet)} octets")
    upper = (packet[0] & 0x0F) * 4
    end = int.from_bytes(packet[2:4])
    if upper < IPV4_OCTETS or upper > end or upper > len(packet):
        raise MalformedMessage(f"IPv4 header length {upper} in a packet of {end} octets")
    if is_whole and end > len(packet):
        raise MalformedMessage(f"IPv4 total length {end} where {len(packet)} octets are left")
    fragment = int.from_bytes(packet[6:8])
    protocol = packet[9]
    ports = _ports(packet[:end], protocol, upper, is_later=bool(fragment & _OFFSET_MASK))
    is_fragment = bool(fragment & (_MORE_FRAGMENTS | _OFFSET_MASK))
    return IpHeaders(packet[12:16], packet[16:20], protocol, *ports, upper, end, is_fragment)


def _read_ipv6(packet: bytes, is_whole: bool) -> IpHeaders:
    if len(packet) < IPV6_OCTETS:
        raise MalformedMessage(f"IPv6 packet of {len(packet)} octets")
    end = IPV6_OCTETS + int.from_bytes(packet[4:6])
    if is_whole and end > len(packet):
        raise MalformedMessage(f"IPv6 packet length {end} where {len(packet)} octets are left")
    body = packet[:end]
    protocol, upper, is_fragment, is_later = _walk_extensions(body)
    ports = _ports(body, protocol, upper, is_later=is_later)
    return IpHeaders(packet[8:24], packet[24:40], protocol, *ports, upper, end, is_fragment)


def _walk_extensions(packet: bytes) -> tuple[int, int, bool, bool]:
    """Return next layer protocol, its offset, whether this is a fragment, and a later one.

    In a later fragment the walk ends at the fragment header: what follows is data.
    """
    protocol, offset, is_fragment = packet[6], IPV6_OCTETS, False
    for _ in range(MAX_EXTENSION_HEADERS):
        if offset + 8 * (protocol in _EXTENSIONS) > len(packet):
            raise MalformedMessage(f"IPv6 header {protocol} past the packet's end")
        if protocol not in _EXTENSIONS:
            return protocol, offset, is_fragment, False
        following = packet[offset]
        if protocol == _FRAGMENT:
            is_fragment = True
            if int.from_bytes(packet[offset + 2 : offset + 4]) & 0xFFF8:
                return following, offset + 8, True, True
            offset += 8
        else:
            offset += 8 * (packet[offset + 1] + 1)
        protocol = following
    raise MalformedMessage(f"more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")


def _ports(packet: bytes, protocol: int, upper: int, *, is_later: bool) -> tuple[int, int]:
    visible = b"" if is_later else packet[upper : upper + 4]
    if protocol in PORT_PROTOCOLS:
        if len(visible) < 4:
            return HIDDEN, HIDDEN
        return int.from_bytes(visible[:2]), int.from_bytes(visible[2:])
    if protocol in {IpProtocol.ICMP, IpProtocol.IPV6_ICMP}:
        return (int.from_bytes(visible[:2]) if len(visible) >= 2 else HIDDEN), ABSENT
    if protocol == IpProtocol.MIPV6:
        return (visible[2] << 8 if len(visible) >= 3 else HIDDEN), ABSENT
    return HIDDEN, HIDDEN


def checksum(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of octets whose checksum field is zero."""
    total = int.from_bytes(octets + b"\x00" * (len(octets) % 2))
    # 2^16 is 1 modulo 65535, so the remainder is the ones' complement sum of the 16-bit words.
    folded = total % 0xFFFF if total else 0
    return 0xFFFF - (folded or (0xFFFF if total else 0))


def encode_ipv4(
    source: bytes, destination: bytes, protocol: int, payload: bytes, *, ttl: int = 64, tos: int = 0
) -> bytes:
    """Return an IPv4 packet without options."""
    total = IPV4_OCTETS + len(payload)
    front = bytes((0x45, tos)) + total.to_bytes(2) + bytes(4) + bytes((ttl, protocol))
    addresses = source + destination
    return front + checksum(front + addresses).to_bytes(2) + addresses + payload


def encode_ipv6(
    source: bytes,
    destination: bytes,
    next_header: int,
    payload: bytes,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
) -> bytes:
    """Return an IPv6 packet whose payload starts with the header that `next_header` names."""
    first = (0x60000000 | traffic_class << 20).to_bytes(4)
    front = first + len(payload).to_bytes(2) + bytes((next_header, hop_limit))
    return front + source + destination + payload
