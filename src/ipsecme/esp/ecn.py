"""Congestion marks of the outer header, handed to the inner one (RFC 6040, section 4.2).

This end marks its own outer packets "not ECN-capable", so that routers drop instead of marking;
a peer that copies the mark outwards expects it to come back inwards here.
"""

from __future__ import annotations

from ipsecme.wire.ip import IPV4_OCTETS, checksum

__all__ = ["CONGESTION_EXPERIENCED", "with_congestion"]

CONGESTION_EXPERIENCED = 3
"""The value of the two ECN bits, in the low end of the traffic class."""


def with_congestion(packet: bytes) -> bytes | None:
    """Return a well-formed packet with the mark set; None when its sender does not know ECN.

    Such a packet is dropped, as the router would have done.
    """
    if packet[0] >> 4 == 4:
        return _mark_ipv4(packet)
    return _mark_ipv6(packet)


def _mark_ipv4(packet: bytes) -> bytes | None:
    if not packet[1] & CONGESTION_EXPERIENCED:
        return None
    octets = (packet[0] & 0x0F) * 4
    header = bytearray(packet[: max(octets, IPV4_OCTETS)])
    header[1] |= CONGESTION_EXPERIENCED
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2)
    return bytes(header) + packet[octets:]


def _mark_ipv6(packet: bytes) -> bytes | None:
    # The traffic class lies across the octets: its low half is the high half of the second one.
    if not packet[1] >> 4 & CONGESTION_EXPERIENCED:
        return None
    return bytes((packet[0], packet[1] | CONGESTION_EXPERIENCED << 4)) + packet[2:]
