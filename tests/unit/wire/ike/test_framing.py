"""The header, and the framing of what is encrypted (RFC 7296, 3.1, 3.2, 3.14; RFC 7383, 2.5)."""

from __future__ import annotations

import pytest

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    HEADER_OCTETS,
    EncryptedFragmentPayload,
    EncryptedPayload,
    Header,
    Message,
    Payload,
    VendorIdPayload,
    decode_chain,
    encode_chain,
)
from ipsecme.wire.numbers import ExchangeType, PayloadType

HEADER = Header(
    bytes.fromhex("0102030405060708"),
    bytes.fromhex("1112131415161718"),
    PayloadType.SK,
    0x20,
    ExchangeType.INFORMATIONAL,
    FLAG_INITIATOR | FLAG_RESPONSE,
    0x01020304,
    HEADER_OCTETS,
)
HEADER_TEXT = "0102030405060708 1112131415161718 2e 20 25 28 01020304 0000001c"


@pytest.mark.requirement("R7296-170", "R7296-171")
def test_the_header() -> None:
    assert HEADER.encode() == bytes.fromhex(HEADER_TEXT)
    assert Header.decode(bytes.fromhex(HEADER_TEXT)) == HEADER


@pytest.mark.requirement("R7296-171")
def test_flags_are_two_bits() -> None:
    """The V flag and the reserved bits say nothing."""
    for flags in range(256):
        header = Header.decode(HEADER._replace(flags=flags).encode())
        assert header.is_response == bool(flags & 0x20)
        assert header.from_original_initiator == bool(flags & 0x08)


@pytest.mark.requirement("R7296-051")
def test_versions_are_read_whatever_they_are() -> None:
    for version in (0x10, 0x20, 0x2F, 0x30):
        header = Header.decode(HEADER._replace(version=version).encode())
        assert header.major_version == version >> 4
    assert Message(HEADER.spi_i, HEADER.spi_r, HEADER.exchange, 0, 0).encode()[17] == 0x20


def test_unknown_exchanges_are_read() -> None:
    header = Header.decode(HEADER._replace(exchange=ExchangeType.of(240)).encode())
    assert header.exchange == 240
    assert not header.exchange.is_known


@pytest.mark.requirement("PAR-05")
@pytest.mark.parametrize("octets", range(HEADER_OCTETS))
def test_a_header_needs_its_octets(octets: int) -> None:
    with pytest.raises(MalformedMessage, match=f"{octets} octets are too few"):
        Header.decode(HEADER.encode()[:octets])


@pytest.mark.requirement("R7296-170", "PAR-05")
@pytest.mark.parametrize("length", [0, 27, 29, 0xFFFF_FFFF])
def test_the_length_is_that_of_the_datagram(length: int) -> None:
    with pytest.raises(MalformedMessage, match=f"length {length} in a datagram of 28"):
        Header.decode(HEADER._replace(length=length).encode())


@pytest.mark.requirement("R7296-175")
@pytest.mark.parametrize(
    "text",
    [
        "",  # a payload is announced and missing
        "00 00 00",  # half a header
        "00 00 0003 ff",  # shorter than its header
        "00 00 0006 ff",  # longer than the message
        "00 00 ffff ff",
        "2b 00 0005 ff",  # another is announced and missing
        "00 00 0005 ff 00",  # octets after the last
        "00 00 0005 ff 00 00 0004",  # a payload after the last
    ],
)
def test_the_chain_ends_where_it_says(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_chain(PayloadType.VENDOR_ID, bytes.fromhex(text))


def test_a_chain_may_start_later() -> None:
    assert decode_chain(43, bytes.fromhex("ffffff 00 00 0005 aa"), 3) == [VendorIdPayload(b"\xaa")]


@pytest.mark.requirement("R7296-173", "R7296-215")
def test_sk_announces_what_is_inside_and_ends_the_chain() -> None:
    octets = bytes.fromhex("2e 00 0005 aa 23 00 0007 010203")
    payloads: list[Payload] = [
        VendorIdPayload(b"\xaa"),
        EncryptedPayload(PayloadType.IDi, b"\1\2\3"),
    ]
    assert decode_chain(PayloadType.VENDOR_ID, octets) == payloads
    assert encode_chain(payloads) == (PayloadType.VENDOR_ID, octets)
    empty = [EncryptedPayload(PayloadType.NONE, b"\1\2\3")]
    assert decode_chain(PayloadType.SK, bytes.fromhex("00 00 0007 010203")) == empty


@pytest.mark.requirement("R7296-173")
@pytest.mark.parametrize("kind", [PayloadType.SK, PayloadType.SKF])
def test_nothing_follows_what_is_encrypted(kind: PayloadType) -> None:
    body = bytes.fromhex("00010001 aabb")
    chain = bytes((PayloadType.VENDOR_ID, 0)) + (4 + len(body)).to_bytes(2) + body
    assert len(decode_chain(kind, chain)) == 1
    with pytest.raises(MalformedMessage, match="5 octets left over"):
        decode_chain(kind, chain + bytes.fromhex("00 00 0005 aa"))


def test_fragments_are_numbered() -> None:
    octets = bytes.fromhex("23 00 000b 0001 0003 aabbcc")  # number, total
    payloads = [EncryptedFragmentPayload(PayloadType.IDi, 1, 3, b"\xaa\xbb\xcc")]
    assert decode_chain(PayloadType.SKF, octets) == payloads
    assert encode_chain(payloads) == (PayloadType.SKF, octets)


@pytest.mark.parametrize(("number", "total"), [(0, 0), (0, 1), (2, 1), (1, 0), (65535, 65534)])
def test_fragments_out_of_their_total_are_refused(number: int, total: int) -> None:
    chain = bytes.fromhex("00 00 0009") + number.to_bytes(2) + total.to_bytes(2) + b"\xaa"
    with pytest.raises(MalformedMessage, match=f"fragment {number} of {total}"):
        decode_chain(PayloadType.SKF, chain)


@pytest.mark.parametrize("body", ["", "00", "0001", "000100"])
def test_a_fragment_needs_its_numbers(body: str) -> None:
    octets = bytes.fromhex(body)
    with pytest.raises(MalformedMessage):
        decode_chain(PayloadType.SKF, b"\0\0" + (4 + len(octets)).to_bytes(2) + octets)
