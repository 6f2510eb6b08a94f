"""Traffic Selector payloads octet for octet (RFC 7296, section 3.13)."""

from __future__ import annotations

import pytest

from ipsecme.base import MalformedMessage, Reader
from ipsecme.wire.ike import OPAQUE_PORTS, TrafficSelector, TsPayload, UnknownSelector
from ipsecme.wire.numbers import PayloadType, TsType

V4 = TrafficSelector(0, 0, 65535, b"\x0a\1\0\0", b"\x0a\1\xff\xff")
V4_TEXT = "07 00 0010 0000 ffff 0a010000 0a01ffff"  # type, protocol, length, ports, addresses
V6 = TrafficSelector(6, 443, 443, bytes.fromhex("20010db8" + "0" * 24), b"\xff" * 16)
V6_TEXT = f"08 06 0028 01bb 01bb 20010db8{'0' * 24} {'f' * 32}"
ECHO = TrafficSelector(1, 0x0800, 0x0800, b"\x0a\1\0\1", b"\x0a\1\0\1")  # ICMP type 8, code 0
ECHO_TEXT = "07 01 0010 0800 0800 0a010001 0a010001"
OPAQUE = TrafficSelector(6, *OPAQUE_PORTS, b"\x0a\1\0\1", b"\x0a\1\0\1")
OPAQUE_TEXT = "07 06 0010 ffff 0000 0a010001 0a010001"
LABEL = UnknownSelector(TsType.TS_SECLABEL, 0, b"system_u")
LABEL_TEXT = "0a 00 000c 73797374656d5f75"
HEAD = "01 000000"


def decode(text: str) -> TsPayload:
    return TsPayload.decode(Reader(bytes.fromhex(text)), PayloadType.TSi)


@pytest.mark.requirement("R7296-210", "R7296-211", "R7296-212")
@pytest.mark.parametrize(
    ("selector", "text"),
    [(V4, V4_TEXT), (V6, V6_TEXT), (ECHO, ECHO_TEXT), (OPAQUE, OPAQUE_TEXT), (LABEL, LABEL_TEXT)],
    ids=["IPv4", "IPv6", "ICMP", "OPAQUE", "unknown"],
)
def test_layout(selector: TrafficSelector | UnknownSelector, text: str) -> None:
    payload = TsPayload(PayloadType.TSi, (selector,))
    assert payload.body() == bytes.fromhex(HEAD + text)
    assert decode(HEAD + text) == payload


@pytest.mark.requirement("R7296-211")
def test_unknown_selectors_are_kept_apart() -> None:
    payload = decode(f"03 000000 {V4_TEXT} {LABEL_TEXT} {V6_TEXT}")
    assert payload.selectors == (V4, LABEL, V6)
    assert payload.ranges() == [V4, V6]


def test_the_role_is_the_type_of_the_payload() -> None:
    for role in (PayloadType.TSi, PayloadType.TSr):
        assert TsPayload(role, (V4,)).payload_type == role


@pytest.mark.requirement("R7296-053")
def test_reserved_octets_are_ignored_and_sent_as_zero() -> None:
    assert decode("01 ffffff" + V4_TEXT).body() == bytes.fromhex(HEAD + V4_TEXT)


def test_255_selectors_are_read() -> None:
    payload = TsPayload(PayloadType.TSr, (V4,) * 255)
    assert TsPayload.decode(Reader(payload.body()), PayloadType.TSr) == payload


LIES = {
    "nothing": "",
    "no selector": "00 000000",
    "a selector that is not counted": "00 000000" + V4_TEXT,
    "one selector for two": "02 000000" + V4_TEXT,
    "two selectors for one": HEAD + V4_TEXT + V4_TEXT,
    "a length of zero": HEAD + "07 00 0000 0000 ffff 0a010000 0a01ffff",
    "a length below the start": HEAD + "07 00 0003 0000 ffff 0a010000 0a01ffff",
    "IPv4 too short": HEAD + "07 00 000f 0000 ffff 0a010000 0a01ff",
    "IPv4 too long": HEAD + "07 00 0011 0000 ffff 0a010000 0a01ffff 00",
    "IPv6 in IPv4's size": HEAD + "08" + V4_TEXT[2:],
    "IPv4 in IPv6's size": HEAD + "07" + V6_TEXT[2:],
    "past the payload": HEAD + "07 00 0011 0000 ffff 0a010000 0a01ffff",
    "unknown past the payload": HEAD + "0a 00 000d 73797374656d5f75",
    "addresses backwards": HEAD + "07 00 0010 0000 ffff 0a020000 0a01ffff",
    "ports backwards": HEAD + "07 06 0010 0051 0050 0a010000 0a01ffff",
    "nearly OPAQUE": HEAD + "07 06 0010 ffff 0001 0a010000 0a01ffff",
}


@pytest.mark.requirement("R7296-213", "PAR-06")
@pytest.mark.parametrize("name", LIES)
def test_what_does_not_add_up_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(LIES[name])


def test_every_prefix_is_refused() -> None:
    whole = bytes.fromhex(f"03 000000 {V4_TEXT} {LABEL_TEXT} {V6_TEXT}")
    for size in range(len(whole)):
        with pytest.raises(MalformedMessage):
            TsPayload.decode(Reader(whole[:size]), PayloadType.TSi)
