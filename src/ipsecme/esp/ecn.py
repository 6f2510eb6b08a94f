"""Congestion marks between the inner and the outer header of a tunnel (RFC 6040, section 4).

What leaves has the traffic class of its inner packet outside, too: the mark, because RFC 6040 says
so, and the DSCP as in RFC 4301, section 5.1.2.1. What comes keeps its inner DSCP, and its mark is
changed as routers changed the outer one.
"""

from __future__ import annotations

from ipsecme.wire.ip import IPV4_OCTETS, checksum

__all__ = [
    "CAPABLE_0",
    "CAPABLE_1",
    "CONGESTION_EXPERIENCED",
    "MARK_MASK",
    "traffic_class",
    "with_mark",
]

MARK_MASK = 3
"""The two ECN bits, at the low end of the traffic class."""

CAPABLE_1, CAPABLE_0, CONGESTION_EXPERIENCED = 1, 2, 3
"""ECT(1), ECT(0) and CE; zero is "not ECN-capable"."""


def traffic_class(packet: bytes) -> int:
    """Return the traffic class of a packet, which IPv4 calls type of service."""
    if packet[0] < 0x60:
        return packet[1]
    return (packet[0] & 0x0F) << 4 | packet[1] >> 4


def with_mark(packet: bytes, outer: int) -> bytes | None:
    """Return a well-formed inner packet with the mark that follows from the outer one.

    None when it has to be dropped: congestion was met and its sender does not know ECN, so it would
    not hear of it. An outer ECT(1) is a weaker sign of congestion and raises ECT(0) (section 4.2).
    """
    inner = traffic_class(packet) & MARK_MASK
    if outer == CONGESTION_EXPERIENCED:
        if not inner:
            return None
        return _marked(packet, inner, CONGESTION_EXPERIENCED)
    if outer == CAPABLE_1 and inner == CAPABLE_0:
        return _marked(packet, inner, CAPABLE_1)
    return packet


def _marked(packet: bytes, old: int, new: int) -> bytes:
    if old == new:
        return packet
    if packet[0] >> 4 == 6:
        # The traffic class lies across the octets: its low half is the high one of the second.
        return bytes((packet[0], packet[1] ^ (old ^ new) << 4)) + packet[2:]
    octets = max((packet[0] & 0x0F) * 4, IPV4_OCTETS)
    header = bytearray(packet[:octets])
    header[1] ^= old ^ new
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2)
    return bytes(header) + packet[octets:]
