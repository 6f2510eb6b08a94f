"""Checksums inside transport mode packets that NATs made wrong (RFC 3948, section 3.1.2).

TCP and UDP sum up the addresses, too. What the peer sends was summed with the addresses that it
sees; here the sum is changed by the difference to those that this host sees (RFC 1624). A packet
that was damaged before it was sealed so stays damaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.ip import checksum, read_headers
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
    from ipsecme.policy.parameters import OriginalAddresses
    from ipsecme.wire.ip import IpHeaders

__all__ = ["Correction"]

_DCCP, _UDP_LITE = 33, 136
_OFFSETS: dict[int, int] = {
    IpProtocol.TCP: 16,
    IpProtocol.UDP: 6,
    _UDP_LITE: 6,
    _DCCP: 6,
    IpProtocol.IPV6_ICMP: 2,
}
_ICMP_HEADER_OCTETS = 8
_ICMP_ERRORS: dict[int, frozenset[int]] = {
    IpProtocol.ICMP: frozenset((3, 4, 5, 11, 12)),
    IpProtocol.IPV6_ICMP: frozenset(range(128)),
}
_ADDRESSES = {4: 12, 6: 8}  # where they begin, by IP version


class Correction:
    """Corrects the packets of one SA: `original` is what the peer wrote, the others what is seen.

    All addresses have 4 octets, or all have 16.
    """

    __slots__ = ("_difference", "_here", "_original", "_there")

    def __init__(self, original: OriginalAddresses, there: bytes, here: bytes) -> None:
        self._original = original
        self._there, self._here = there, here
        self._difference = (_sum(there + here) - _sum(b"".join(original))) % 0xFFFF

    def apply(self, packet: bytes, headers: IpHeaders) -> bytes:
        """Return a packet whose header names the addresses seen here, with sums to match.

        A UDP checksum of zero says that there is none, and stays.
        """
        protocol, upper = headers.protocol, headers.upper
        if headers.source_port >> 8 in _ICMP_ERRORS.get(protocol, ()):
            packet = self._correct_cause(packet, headers)
        offset = _OFFSETS.get(protocol)
        if offset is None or upper + offset + 2 > headers.end:
            return packet
        at = upper + offset
        old = int.from_bytes(packet[at : at + 2])
        if not old and protocol == IpProtocol.UDP:
            return packet
        total = (0xFFFF - old) + self._difference
        new = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
        if not new and protocol == IpProtocol.UDP:
            new = 0xFFFF
        return packet[:at] + new.to_bytes(2) + packet[at + 2 :]

    def _correct_cause(self, packet: bytes, headers: IpHeaders) -> bytes:
        """Put the addresses of this host's view into the packet that an ICMP error complains of.

        Without them nobody here would know it. The ICMP checksum is changed by what changes.
        """
        start = headers.upper + _ICMP_HEADER_OCTETS
        try:
            cause = read_headers(packet[start : headers.end], is_whole=False)
        except MalformedMessage:
            return packet
        # The peer complains of what it received, so its own address is the destination there.
        if (cause.destination, cause.source) != self._original:
            return packet
        at = start + _ADDRESSES[packet[start] >> 4]
        end = at + 2 * len(self._here)
        header = bytearray(packet[start:at] + self._here + self._there)
        if packet[start] >> 4 == 4:
            options = packet[end : headers.upper + _ICMP_HEADER_OCTETS + (packet[start] & 0x0F) * 4]
            header[10:12] = bytes(2)
            header[10:12] = checksum(bytes(header) + options).to_bytes(2)
        place = headers.upper + 2
        difference = _sum(bytes(header)) - _sum(packet[start:end])
        total = 0xFFFF - int.from_bytes(packet[place : place + 2]) + difference
        new = 0xFFFF - total % 0xFFFF
        front = packet[:place] + new.to_bytes(2) + packet[place + 2 : start]
        return front + bytes(header) + packet[end:]


def _sum(octets: bytes) -> int:
    """Return the ones' complement sum of 16-bit words: 2^16 is 1 modulo 65535."""
    return int.from_bytes(octets) % 0xFFFF
