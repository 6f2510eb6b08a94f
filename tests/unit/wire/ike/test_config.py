"""Configuration payloads octet for octet (RFC 7296, section 3.15; RFC 5739, section 5)."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage, Reader
from ipsecme.wire.ike import ConfigPayload
from ipsecme.wire.numbers import ConfigAttributeType, ConfigType

T = ConfigAttributeType
# What RFC 7296, section 3.15.1 and RFC 5739, section 5 allow, size by size up to 40 octets.
SIZES = {
    T.INTERNAL_IP4_ADDRESS: {0, 4},
    T.INTERNAL_IP4_NETMASK: {0, 4},
    T.INTERNAL_IP4_DNS: {0, 4},
    T.INTERNAL_IP4_NBNS: {0, 4},
    T.INTERNAL_IP4_DHCP: {0, 4},
    T.APPLICATION_VERSION: set(range(41)),
    T.INTERNAL_IP6_ADDRESS: {0, 17},
    T.INTERNAL_IP6_DNS: {0, 16},
    T.INTERNAL_IP6_DHCP: {0, 16},
    T.INTERNAL_IP4_SUBNET: {0, 8},
    T.SUPPORTED_ATTRIBUTES: set(range(0, 41, 2)),
    T.INTERNAL_IP6_SUBNET: {0, 17},
    T.INTERNAL_IP6_LINK: set(range(8, 41)),
    T.INTERNAL_IP6_PREFIX: {17},
    T.of(5): set(range(41)),  # INTERNAL_ADDRESS_EXPIRY, which is no more
    T.of(0x7FFF): set(range(41)),
}


def decode(octets: bytes) -> ConfigPayload:
    return ConfigPayload.decode(Reader(octets))


def body(kind: int, value: bytes) -> bytes:
    return b"\x01\0\0\0" + kind.to_bytes(2) + len(value).to_bytes(2) + value


@pytest.mark.requirement("R7296-219")
@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.name)
def test_an_attribute_has_a_size_of_its_type(kind: ConfigAttributeType) -> None:
    for size in range(41):
        octets = body(kind, b"\x07" * size)
        if size in SIZES[kind]:
            (attribute,) = decode(octets).attributes
            assert (attribute.type, attribute.value) == (kind, b"\x07" * size)
            assert decode(octets).body() == octets
        else:
            with pytest.raises(MalformedMessage, match=f"of {size} octets"):
                decode(octets)


@pytest.mark.requirement("R7296-219")
def test_the_reserved_bit_and_octets_are_ignored_and_never_sent() -> None:
    payload = decode(bytes.fromhex("02 ffffff 8001 0004 0a090001 8005 0003 000000"))
    assert payload.type == ConfigType.CFG_REPLY
    assert [attribute.type for attribute in payload.attributes] == [T.INTERNAL_IP4_ADDRESS, T.of(5)]
    assert payload.body() == bytes.fromhex("02 000000 0001 0004 0a090001 0005 0003 000000")


@pytest.mark.requirement("R7296-219")
@given(st.binary(max_size=80))
def test_whatever_the_octets_are_they_decode_or_are_malformed(octets: bytes) -> None:
    try:
        payload = decode(octets)
    except MalformedMessage:
        return
    again = decode(payload.body())
    assert (again.type, again.attributes) == (payload.type, payload.attributes)
