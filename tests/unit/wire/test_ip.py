"""IPv4 and IPv6 headers: what is read, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage
from ipsecme.wire.ip import (
    ABSENT,
    HIDDEN,
    MAX_EXTENSION_HEADERS,
    checksum,
    encode_ipv4,
    encode_ipv6,
    read_headers,
)

_A4, _B4 = bytes((10, 1, 0, 1)), bytes((10, 2, 0, 1))
_A6, _B6 = bytes(15) + b"\x01", bytes(15) + b"\x02"
_PORTS = b"\x04\x00\x00\x35"
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60


def _extension(following: int, units: int = 0) -> bytes:
    return bytes((following, units)) + bytes(6 + 8 * units)


@pytest.mark.parametrize("protocol", [6, 17, 33, 132, 136])
def test_ports_of_protocols_that_have_them(protocol: int) -> None:
    for packet in (
        encode_ipv4(_A4, _B4, protocol, _PORTS),
        encode_ipv6(_A6, _B6, protocol, _PORTS),
    ):
        headers = read_headers(packet)
        assert (headers.source_port, headers.destination_port) == (1024, 53)
        assert headers.protocol == protocol
        assert headers.end == len(packet)
        assert not headers.is_fragment


@pytest.mark.parametrize(
    ("protocol", "payload", "ports"),
    [
        (1, b"\x08\x00rest", (0x0800, ABSENT)),
        (58, b"\x01\x04rest", (0x0104, ABSENT)),
        (135, b"\x3b\x00\x05\x00", (0x0500, ABSENT)),
        (1, b"\x08", (HIDDEN, ABSENT)),
        (135, b"\x3b\x00", (HIDDEN, ABSENT)),
        (17, b"\x04\x00\x00", (HIDDEN, HIDDEN)),
        (47, _PORTS, (HIDDEN, HIDDEN)),
        (50, _PORTS, (HIDDEN, HIDDEN)),
    ],
)
def test_other_numbers(protocol: int, payload: bytes, ports: tuple[int, int]) -> None:
    headers = read_headers(encode_ipv6(_A6, _B6, protocol, payload))
    assert (headers.source_port, headers.destination_port) == ports


def test_ipv4_options_are_skipped() -> None:
    packet = bytearray(encode_ipv4(_A4, _B4, 17, bytes(4) + _PORTS))
    packet[0] = 0x46
    headers = read_headers(bytes(packet))
    assert headers.upper == 24
    assert headers.destination_port == 53


def test_extension_headers_are_walked_in_any_order() -> None:
    chain = _extension(_ROUTING) + _extension(_DESTINATION, 2) + _extension(_FRAGMENT)
    chain += bytes((_HOP_BY_HOP, 0, 0, 1)) + bytes(4) + _extension(17)
    headers = read_headers(encode_ipv6(_A6, _B6, _HOP_BY_HOP, chain + _PORTS))
    assert headers.protocol == 17
    assert headers.destination_port == 53
    assert headers.is_fragment


def test_a_later_ipv6_fragment_hides_its_ports() -> None:
    header = bytes((17, 0)) + (8).to_bytes(2) + bytes(4)
    headers = read_headers(encode_ipv6(_A6, _B6, _FRAGMENT, header + _PORTS))
    assert headers.protocol == 17
    assert headers.source_port == HIDDEN
    assert headers.is_fragment


@pytest.mark.parametrize(("field", "hidden"), [(0x2000, False), (0x0001, True), (0x2001, True)])
def test_ipv4_fragments(field: int, *, hidden: bool) -> None:
    packet = bytearray(encode_ipv4(_A4, _B4, 17, _PORTS))
    packet[6:8] = field.to_bytes(2)
    headers = read_headers(bytes(packet))
    assert headers.is_fragment
    assert (headers.source_port == HIDDEN) == hidden


def test_do_not_fragment_makes_no_fragment() -> None:
    packet = bytearray(encode_ipv4(_A4, _B4, 17, _PORTS))
    packet[6:8] = b"\x40\x00"
    assert not read_headers(bytes(packet)).is_fragment


def test_too_many_extension_headers_are_refused() -> None:
    chain = _extension(_DESTINATION) * MAX_EXTENSION_HEADERS
    with pytest.raises(MalformedMessage, match="extension headers"):
        read_headers(encode_ipv6(_A6, _B6, _DESTINATION, chain))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        b"\x00" * 60,
        b"\x75" + bytes(60),
        encode_ipv4(_A4, _B4, 17, _PORTS)[:19],
        encode_ipv4(_A4, _B4, 17, _PORTS)[:-1],
        encode_ipv6(_A6, _B6, 17, _PORTS)[:39],
        encode_ipv6(_A6, _B6, 17, _PORTS)[:-1],
        encode_ipv6(_A6, _B6, _HOP_BY_HOP, b"\x11\x00"),
        encode_ipv6(_A6, _B6, _ROUTING, _extension(17)[:1] + b"\xff" + bytes(6)),
    ],
    ids=range(10),
)
def test_packets_that_contradict_themselves_are_refused(packet: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_headers(packet)


@pytest.mark.parametrize("first", [0x40, 0x41, 0x42, 0x43, 0x44, 0x4F])
def test_bad_ipv4_header_lengths_are_refused(first: int) -> None:
    packet = bytes((first,)) + encode_ipv4(_A4, _B4, 17, _PORTS)[1:]
    with pytest.raises(MalformedMessage, match="header length"):
        read_headers(packet)


@pytest.mark.parametrize("total", [0, 1, 19, 25, 65535])
def test_bad_ipv4_total_lengths_are_refused(total: int) -> None:
    packet = bytearray(encode_ipv4(_A4, _B4, 17, _PORTS))
    packet[2:4] = total.to_bytes(2)
    with pytest.raises(MalformedMessage):
        read_headers(bytes(packet))


def test_octets_after_the_packet_are_not_part_of_it() -> None:
    packet = encode_ipv4(_A4, _B4, 17, b"\x04\x00") + b"\x00\x35"
    headers = read_headers(packet)
    assert headers.end == 22
    assert headers.source_port == HIDDEN


def test_a_cut_off_packet_is_readable_when_asked_for() -> None:
    packet = encode_ipv4(_A4, _B4, 17, _PORTS + bytes(100))[:28]
    assert read_headers(packet, is_whole=False).destination_port == 53


@given(octets=st.binary(max_size=200), is_whole=st.booleans())
def test_any_octets_are_read_or_refused(octets: bytes, *, is_whole: bool) -> None:
    for first in (b"", b"\x45", b"\x60"):
        packet = first + octets
        try:
            headers = read_headers(packet, is_whole=is_whole)
        except MalformedMessage:
            continue
        assert headers.upper <= len(packet)
        if is_whole:
            assert headers.upper <= headers.end <= len(packet)


@given(st.binary(max_size=100))
def test_a_packet_with_its_checksum_sums_to_zero(payload: bytes) -> None:
    packet = encode_ipv4(_A4, _B4, 17, payload)
    assert checksum(packet[:20]) == 0


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", 0xFFFF),
        (bytes(8), 0xFFFF),
        (b"\xff\xff", 0),
        # RFC 1071, section 3: the words sum to ddf2.
        (bytes.fromhex("0001f203f4f5f6f7"), 0xFFFF - 0xDDF2),
        (b"\x01", 0xFEFF),
    ],
)
def test_checksums(octets: bytes, expected: int) -> None:
    assert checksum(octets) == expected
