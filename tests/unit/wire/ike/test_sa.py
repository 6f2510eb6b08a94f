"""The SA payload octet for octet, and the lies that it can tell (RFC 7296, section 3.3)."""

from __future__ import annotations

import pytest

from ipsecme.base import MalformedMessage, Reader
from ipsecme.wire.ike import Attribute, Proposal, SaPayload, Transform
from ipsecme.wire.numbers import (
    AttributeType,
    EncrId,
    EsnId,
    IntegId,
    KeId,
    PrfId,
    ProtocolId,
    TransformType,
)

T = TransformType
KEY_256 = Attribute(AttributeType.KEY_LENGTH, 256)

IKE = Proposal(
    1,
    ProtocolId.IKE,
    b"",
    (
        Transform(T.ENCR, EncrId.ENCR_AES_CBC, (KEY_256,)),
        Transform(T.PRF, PrfId.PRF_HMAC_SHA2_256),
        Transform(T.INTEG, IntegId.AUTH_HMAC_SHA2_256_128),
        Transform(T.KE, KeId.CURVE25519),
    ),
)
IKE_TEXT = (
    "00 00 002c 01 01 00 04"  # last, reserved, length, number, protocol, SPI size, transforms
    "03 00 000c 01 00 000c 800e 0100"  # more, reserved, length, type, reserved, ID, attribute
    "03 00 0008 02 00 0005"
    "03 00 0008 03 00 000c"
    "00 00 0008 04 00 001f"
)
ESP = Proposal(
    2,
    ProtocolId.ESP,
    b"\xca\xfe\xba\xbe",
    (
        Transform(T.ENCR, EncrId.ENCR_AES_GCM_16, (KEY_256,)),
        Transform(T.ESN, EsnId.ESN),
        Transform(T.ESN, EsnId.NO_ESN),
    ),
)
ESP_TEXT = (
    "00 00 0028 02 03 04 03 cafebabe"
    "03 00 000c 01 00 0014 800e 0100"
    "03 00 0008 05 00 0001"
    "00 00 0008 05 00 0000"
)


def decode(text: str) -> SaPayload:
    return SaPayload.decode(Reader(bytes.fromhex(text)))


@pytest.mark.requirement("R7296-179", "R7296-180", "R7296-184")
@pytest.mark.parametrize(("proposal", "text"), [(IKE, IKE_TEXT), (ESP, ESP_TEXT)])
def test_layout(proposal: Proposal, text: str) -> None:
    assert SaPayload((proposal,)).body() == bytes.fromhex(text)
    assert decode(text) == SaPayload((proposal,))


@pytest.mark.requirement("R7296-177", "R7296-179")
def test_proposals_are_numbered_and_the_last_is_marked() -> None:
    payload = SaPayload((IKE, ESP))
    text = f"02{IKE_TEXT[2:]}{ESP_TEXT}"
    assert payload.body() == bytes.fromhex(text)
    assert decode(text) == payload


@pytest.mark.requirement("R7296-177")
@pytest.mark.parametrize("second", [1, 3, 0, 255])
def test_numbers_that_do_not_ascend_by_one_are_refused(second: int) -> None:
    body = SaPayload((IKE, ESP._replace(number=second))).body()
    with pytest.raises(MalformedMessage, match=f"proposal {second} out of order"):
        SaPayload.decode(Reader(body))


def test_the_proposal_chosen_keeps_its_number() -> None:
    """A response holds one proposal, numbered as in the request (section 3.3.1)."""
    payload = SaPayload((IKE._replace(number=7),))
    assert SaPayload.decode(Reader(payload.body())) == payload


@pytest.mark.requirement("R7296-053")
def test_reserved_octets_are_ignored_and_sent_as_zero() -> None:
    text = (
        "00 ff 0028 02 03 04 03 cafebabe"
        "03 ff 000c 01 ff 0014 800e 0100"
        "03 ff 0008 05 ff 0001"
        "00 ff 0008 05 ff 0000"
    )
    assert decode(text).body() == bytes.fromhex(ESP_TEXT)


@pytest.mark.requirement("R7296-184")
@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        (Attribute(AttributeType.KEY_LENGTH, 128), "800e 0080"),
        (Attribute(AttributeType.of(0x7FFF), 0xFFFF), "ffff ffff"),
        (Attribute(AttributeType.of(99), b""), "0063 0000"),
        (Attribute(AttributeType.of(99), b"abc"), "0063 0003 616263"),
        # The wrong form of a known attribute survives, so that it can be refused by whoever chooses
        (Attribute(AttributeType.KEY_LENGTH, b"\0\x80"), "000e 0002 0080"),
    ],
)
def test_attributes_in_both_forms(attribute: Attribute, text: str) -> None:
    octets = bytes.fromhex(text)
    assert attribute.encode() == octets
    assert Attribute.decode(Reader(octets)) == attribute


def test_the_key_length_is_that_of_one_attribute_in_its_form() -> None:
    wrong_form = Attribute(AttributeType.KEY_LENGTH, b"\1\0")
    other = Attribute(AttributeType.of(99), 256)
    encr = Transform(T.ENCR, EncrId.ENCR_AES_CBC)
    assert encr._replace(attributes=(KEY_256,)).key_length == 256
    for attributes in ((), (KEY_256, KEY_256), (KEY_256, other), (other,), (wrong_form,)):
        assert encr._replace(attributes=attributes).key_length is None


@pytest.mark.requirement("R7296-178")
def test_duplicate_attributes_survive_for_whoever_chooses_to_refuse() -> None:
    transform = Transform(T.ENCR, EncrId.ENCR_AES_CBC, (KEY_256, KEY_256))
    payload = SaPayload((IKE._replace(transforms=(transform,)),))
    assert SaPayload.decode(Reader(payload.body())) == payload


@pytest.mark.requirement("R7296-058")
def test_unknown_numbers_survive() -> None:
    text = (
        "00 00 0024 05 c8 02 02 abcd"
        "03 00 000d fa 00 ffff 7fff 0001 aa"
        "00 00 000d 01 00 03e7 0001 0001 bb"
    )
    payload = decode(text)
    assert payload.body() == bytes.fromhex(text)
    (proposal,) = payload.proposals
    assert not proposal.protocol.is_known
    assert not proposal.transforms[0].type.is_known
    assert proposal.transforms[1].id == 999


LIES = {
    "nothing": "",
    "no transform where one is counted": "00 00 0008 01 01 00 01",
    "a transform that is not counted": "00 00 0010 01 01 00 00 00 00 0008 02 00 0005",
    "more transforms than there are": "00 00 0010 01 01 00 02 03 00 0008 02 00 0005",
    "a transform marked last before the last": (
        "00 00 0018 01 01 00 02 00 00 0008 02 00 0005 00 00 0008 04 00 001f"
    ),
    "a last transform marked otherwise": "00 00 0010 01 01 00 01 03 00 0008 02 00 0005",
    "a marker that there is not": "00 00 0010 01 01 00 01 02 00 0008 02 00 0005",
    "a last proposal marked otherwise": "02 00 0010 01 01 00 01 00 00 0008 02 00 0005",
    "a proposal's marker that there is not": "03 00 0010 01 01 00 01 00 00 0008 02 00 0005",
    "octets after the last proposal": "00 00 0010 01 01 00 01 00 00 0008 02 00 0005 00",
    "a proposal too short for its fields": "00 00 0007 01 01 00",
    "a proposal of no length": "00 00 0000 01 01 00 00",
    "a proposal shorter than its start": "00 00 0003 01 01 00 00",
    "an SPI longer than the proposal": "00 00 000a 01 03 04 00 cafe",
    "a transform too short for its fields": "00 00 000f 01 01 00 01 00 00 0007 02 00 00",
    "a transform of no length": "00 00 0010 01 01 00 01 00 00 0000 02 00 0005",
    "a transform past the proposal": "00 00 0010 01 01 00 01 00 00 0009 02 00 0005",
    "half an attribute": "00 00 0012 01 01 00 01 00 00 000a 01 00 000c 800e",
    "an attribute past the transform": (
        "00 00 0015 01 01 00 01 00 00 000d 01 00 000c 000e 0002 00"
    ),
}


@pytest.mark.requirement("R7296-176")
@pytest.mark.parametrize("name", LIES)
def test_what_does_not_add_up_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(LIES[name])


@pytest.mark.requirement("R7296-176")
@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("offset", [2, 10, 22, 30, 38])  # the proposal, then its transforms
def test_each_length_off_by_one_is_refused(offset: int, change: int) -> None:
    body = bytearray(SaPayload((IKE,)).body())
    length = int.from_bytes(body[offset : offset + 2]) + change
    body[offset : offset + 2] = length.to_bytes(2)
    with pytest.raises(MalformedMessage):
        SaPayload.decode(Reader(bytes(body)))


@pytest.mark.requirement("R7296-176")
@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("offset", [6, 7], ids=["SPI size", "transforms"])
def test_each_count_off_by_one_is_refused(offset: int, change: int) -> None:
    body = bytearray(SaPayload((ESP,)).body())
    body[offset] += change
    with pytest.raises(MalformedMessage):
        SaPayload.decode(Reader(bytes(body)))


def test_many_transforms_are_read() -> None:
    """255 fit the counter, and lists that are too long to be remembered are read all the same."""
    many = tuple(Transform(T.KE, KeId.of(number)) for number in range(1000, 1255))
    payload = SaPayload((IKE._replace(transforms=many),))
    assert SaPayload.decode(Reader(payload.body())) == payload
    assert SaPayload.decode(Reader(payload.body())) == payload
