"""Classic pcap files: packets with their times, to bytes and back.

Owns the file format alone (the one of libpcap, draft-ietf-opsawg-pcap); what is inside a packet
belongs to the other modules of this folder, and opening files or sockets to others still. The
decoder takes bytes in pieces of any size, so that a capture of any length is read in bounded
memory.

File header, 24 octets: magic (4), major and minor version (2 + 2), reserved (4 + 4), snapshot
length (4), link type (4). Each packet: seconds (4), fraction (4), captured length (4), original
length (4), octets. The magic tells the byte order of the writer and whether fractions are micro- or
nanoseconds.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from ipsecme.base import MalformedMessage, Truncated

__all__ = [
    "LINKTYPE_ETHERNET",
    "LINKTYPE_RAW",
    "MAX_PACKET_OCTETS",
    "PcapDecoder",
    "PcapPacket",
    "decode_pcap",
    "encode_pcap_header",
    "encode_pcap_packet",
]

LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101  # packets begin with an IPv4 or IPv6 header

MAX_PACKET_OCTETS: Final = 262_144  # libpcap's own bound; more is taken for a damaged file

_NANOSECOND_MAGIC: Final = 0xA1B23C4D
_MICROSECOND_MAGIC: Final = 0xA1B2C3D4
_FILE_HEADER_OCTETS: Final = 24
_PACKET_HEADER_OCTETS: Final = 16
_SECOND: Final = 1_000_000_000

# magic as written -> (struct byte order, nanoseconds in one unit of the fraction)
_VARIANTS: Final = {
    struct.pack(order + "I", magic): (order, unit)
    for order in "<>"
    for magic, unit in ((_NANOSECOND_MAGIC, 1), (_MICROSECOND_MAGIC, 1000))
}


class PcapPacket(NamedTuple):
    """One captured packet.

    `time_nanoseconds` counts from 1970 (UTC); `data` may be shorter than the packet was on the
    wire, whose length is `original_octets`.
    """

    time_nanoseconds: int
    data: bytes
    original_octets: int


def encode_pcap_header(link_type: int, snapshot_octets: int = MAX_PACKET_OCTETS) -> bytes:
    """Return the 24 octets that start a file with nanosecond times."""
    return struct.pack("<IHHIIII", _NANOSECOND_MAGIC, 2, 4, 0, 0, snapshot_octets, link_type)


def encode_pcap_packet(packet: PcapPacket) -> bytes:
    """Return one packet as it follows `encode_pcap_header` or another packet."""
    seconds, fraction = divmod(packet.time_nanoseconds, _SECOND)
    size = len(packet.data)
    return struct.pack("<IIII", seconds, fraction, size, packet.original_octets) + packet.data


def decode_pcap(data: bytes) -> tuple[int, list[PcapPacket]]:
    """Read a whole file: its link type and its packets.

    Raises `MalformedMessage` for bytes that are no pcap file and `Truncated` for one that ends
    early.
    """
    decoder = PcapDecoder()
    packets = decoder.feed(data)
    decoder.finish()
    return decoder.link_type, packets


class PcapDecoder:
    """Turns a pcap file, fed in pieces, into packets. Holds at most one unfinished packet."""

    __slots__ = ("_buffer", "_order", "_unit", "link_type")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._order = ""  # empty until the file header was read
        self._unit = 0
        self.link_type = -1

    def feed(self, data: bytes) -> list[PcapPacket]:
        """Take the next octets of the file and return the packets that they complete.

        Raises `MalformedMessage` when the file is not classic pcap or a length in it is absurd.
        """
        self._buffer += data
        if not self._order and not self._read_file_header():
            return []
        packets: list[PcapPacket] = []
        start = 0
        while (end := self._packet_end(start)) is not None:
            packets.append(self._packet(start, end))
            start = end
        del self._buffer[:start]
        return packets

    def finish(self) -> None:
        """Raise `Truncated` if the file ended inside a header or a packet."""
        left = len(self._buffer)
        if not self._order:
            raise Truncated(_FILE_HEADER_OCTETS, left)
        if 0 < left < _PACKET_HEADER_OCTETS:
            raise Truncated(_PACKET_HEADER_OCTETS, left)
        if left:
            captured = self._fields(0)[2]
            raise Truncated(captured, left - _PACKET_HEADER_OCTETS)

    def _read_file_header(self) -> bool:
        magic = bytes(self._buffer[:4])
        if len(magic) == 4 and magic not in _VARIANTS:
            raise MalformedMessage(
                f"not a classic pcap file: it starts with {magic.hex()}; "
                "convert pcapng with 'editcap -F pcap IN OUT'"
            )
        if len(self._buffer) < _FILE_HEADER_OCTETS:
            return False
        order, self._unit = _VARIANTS[magic]
        major, _minor, _, _, _, link = struct.unpack_from(order + "HHIIII", self._buffer, 4)
        if major != 2:
            raise MalformedMessage(f"pcap version {major} is not known; version 2 is")
        self.link_type = link & 0xFFFF  # the upper bits tell the length of a frame check sequence
        self._order = order
        del self._buffer[:_FILE_HEADER_OCTETS]
        return True

    def _fields(self, start: int) -> tuple[int, int, int, int]:
        seconds, fraction, captured, original = struct.unpack_from(
            self._order + "IIII", self._buffer, start
        )
        return seconds, fraction, captured, original

    def _packet_end(self, start: int) -> int | None:
        if len(self._buffer) - start < _PACKET_HEADER_OCTETS:
            return None
        captured = self._fields(start)[2]
        if captured > MAX_PACKET_OCTETS:
            raise MalformedMessage(f"a packet of {captured} octets: the pcap file is damaged")
        end = start + _PACKET_HEADER_OCTETS + captured
        return end if end <= len(self._buffer) else None

    def _packet(self, start: int, end: int) -> PcapPacket:
        seconds, fraction, _, original = self._fields(start)
        data = bytes(self._buffer[start + _PACKET_HEADER_OCTETS : end])
        return PcapPacket(seconds * _SECOND + fraction * self._unit, data, original)
