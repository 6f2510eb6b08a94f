from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage, Truncated
from ipsecme.wire.pcap import (
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    MAX_PACKET_OCTETS,
    PcapDecoder,
    PcapPacket,
    decode_pcap,
    encode_pcap_header,
    encode_pcap_packet,
)

# What `tcpdump -w` writes: microseconds, little-endian, Ethernet, one packet of 6 octets cut to 4.
TCPDUMP = bytes.fromhex(
    "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000"
    "00e1f505 40e20100 04000000 06000000 deadbeef"
)

packets = st.builds(
    PcapPacket,
    st.integers(0, (2**32 - 1) * 10**9 + 999_999_999),
    st.binary(max_size=80),
    st.integers(0, 2**32 - 1),
)


def test_file_of_tcpdump_is_read() -> None:
    link_type, read = decode_pcap(TCPDUMP)
    assert link_type == LINKTYPE_ETHERNET
    assert read == [PcapPacket(100_000_000_123_456_000, bytes.fromhex("deadbeef"), 6)]


@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_big_endian_files_are_read(magic: int, unit: int) -> None:
    header = struct.pack(">IHHIIII", magic, 2, 4, 0, 0, 65535, LINKTYPE_RAW)
    packet = struct.pack(">IIII", 7, 9, 3, 3) + b"abc"
    assert decode_pcap(header + packet) == (
        LINKTYPE_RAW,
        [PcapPacket(7_000_000_000 + 9 * unit, b"abc", 3)],
    )


def test_length_of_frame_check_sequence_is_no_part_of_the_link_type() -> None:
    header = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 0x4400_0001)
    assert decode_pcap(header) == (LINKTYPE_ETHERNET, [])


@given(st.lists(packets, max_size=8), st.lists(st.integers(1, 40), max_size=20))
def test_packets_survive_a_file_cut_into_any_pieces(
    written: list[PcapPacket], cuts: list[int]
) -> None:
    data = encode_pcap_header(LINKTYPE_RAW) + b"".join(map(encode_pcap_packet, written))
    decoder = PcapDecoder()
    read: list[PcapPacket] = []
    for size in cuts:
        read += decoder.feed(data[:size])
        data = data[size:]
    read += decoder.feed(data)
    decoder.finish()
    assert read == written
    assert decoder.link_type == LINKTYPE_RAW


@given(st.integers(0, len(TCPDUMP) - 1))
def test_file_that_ends_early_is_told(size: int) -> None:
    if size == 24:  # a header alone is a file without packets
        assert decode_pcap(TCPDUMP[:size]) == (LINKTYPE_ETHERNET, [])
        return
    with pytest.raises(Truncated):
        decode_pcap(TCPDUMP[:size])


@given(st.binary(max_size=200))
def test_foreign_bytes_raise_the_documented_error_only(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_pcap(data)


def test_pcapng_is_refused_with_a_remedy() -> None:
    with pytest.raises(MalformedMessage, match="editcap"):
        decode_pcap(bytes.fromhex("0a0d0d0a1c000000"))


def test_absurd_length_is_refused_before_it_is_awaited() -> None:
    packet = struct.pack("<IIII", 0, 0, MAX_PACKET_OCTETS + 1, 0)
    decoder = PcapDecoder()
    with pytest.raises(MalformedMessage, match="damaged"):
        decoder.feed(encode_pcap_header(LINKTYPE_RAW) + packet)


def test_other_version_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="version 3"):
        decode_pcap(struct.pack("<IHHIIII", 0xA1B2C3D4, 3, 0, 0, 0, 65535, 1))
