"""What holds for every IKE message and for any octets at all (RFC 7296, section 3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    HEADER_OCTETS,
    MAX_PAYLOADS,
    NO_SPI,
    VERSION,
    Header,
    Message,
    Payload,
    VendorIdPayload,
    decode_chain,
    encode_chain,
)
from ipsecme.wire.numbers import ExchangeType, PayloadType
from support.strategies import PAYLOADS, encrypted_payloads, messages, payloads


def datagram(first: int, chain: bytes) -> bytes:
    """Put a header in front of a chain of payloads."""
    exchange, size = ExchangeType.IKE_SA_INIT, HEADER_OCTETS + len(chain)
    header = Header(bytes(range(8)), NO_SPI, first, VERSION, exchange, FLAG_INITIATOR, 0, size)
    return header.encode() + chain


@given(messages())
def test_messages_survive_the_wire(message: Message) -> None:
    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize("name", PAYLOADS)
@given(data=st.data())
@settings(max_examples=40)
def test_payloads_of_each_kind_survive_the_wire(name: str, data: st.DataObject) -> None:
    payload = data.draw(PAYLOADS[name])
    first, chain = encode_chain([payload])
    assert first == payload.payload_type
    assert decode_chain(first, chain) == [payload]


@given(encrypted_payloads(), payloads())
def test_what_is_encrypted_ends_the_chain(last: Payload, other: Payload) -> None:
    first, chain = encode_chain([other, last])
    assert decode_chain(first, chain) == [other, last]
    with pytest.raises(MalformedMessage, match="left over"):
        decode_chain(first, chain + b"\0")


@pytest.mark.requirement("PAR-12")
@given(st.binary(max_size=200))
def test_any_octets_are_a_message_or_malformed(octets: bytes) -> None:
    try:
        Message.decode(octets)
    except MalformedMessage:
        return


@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_chain_is_payloads_or_malformed(first: int, chain: bytes) -> None:
    try:
        decoded = Message.decode(datagram(first, chain))
    except MalformedMessage:
        return
    assert Message.decode(decoded.encode()) == decoded


@given(st.sampled_from(PayloadType), st.binary(max_size=120))
def test_any_body_is_a_payload_or_malformed(kind: PayloadType, body: bytes) -> None:
    """A generic header that fits lets the fuzzed octets reach the payload's own decoder."""
    chain = b"\0\0" + (4 + len(body)).to_bytes(2) + body
    try:
        decoded = Message.decode(datagram(kind, chain))
    except MalformedMessage:
        return
    assert Message.decode(decoded.encode()) == decoded


@settings(max_examples=50)
@given(messages(), st.data())
def test_one_changed_octet_is_a_message_or_malformed(message: Message, data: st.DataObject) -> None:
    octets = bytearray(message.encode())
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = Message.decode(bytes(octets))
    except MalformedMessage:
        return
    assert Message.decode(decoded.encode()) == decoded


@pytest.mark.requirement("PAR-02")
def test_a_chain_ends_after_the_last_payload_allowed() -> None:
    most: list[Payload] = [VendorIdPayload(b"v")] * MAX_PAYLOADS
    first, chain = encode_chain(most)
    assert decode_chain(first, chain) == most
    first, chain = encode_chain([*most, VendorIdPayload(b"v")])
    with pytest.raises(MalformedMessage, match=f"more than {MAX_PAYLOADS}"):
        decode_chain(first, chain)


@pytest.mark.requirement("PAR-01")
@pytest.mark.requirement("R7296-175")
@pytest.mark.parametrize("length", range(4))
@pytest.mark.parametrize("kind", PayloadType)
def test_a_payload_shorter_than_its_header_ends_the_reading(kind: int, length: int) -> None:
    """A length of zero must not make the decoder look at the same payload for ever."""
    if not kind:
        with pytest.raises(MalformedMessage, match="left over"):
            decode_chain(kind, bytes((33, 0, 0, length)))
        return
    for following in (0, kind):
        with pytest.raises(MalformedMessage, match=f"a payload of {length} octets"):
            decode_chain(kind, bytes((following, 0, 0, length)) * 8)
