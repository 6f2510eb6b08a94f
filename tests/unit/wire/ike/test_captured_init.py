"""IKE_SA_INIT as strongSwan sent it: what it says, and that it comes out as it went in."""

from __future__ import annotations

import pytest

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import (
    HEADER_OCTETS,
    NO_SPI,
    KePayload,
    Message,
    NoncePayload,
    NotifyPayload,
    SaPayload,
)
from ipsecme.wire.numbers import (
    EncrId,
    ExchangeType,
    IntegId,
    KeId,
    NotifyType,
    PrfId,
    TransformType,
)
from support.vectors import read_vectors

INIT = {
    block["name"]: bytes.fromhex(block["datagram"])
    for block in read_vectors("captures/ike_sa_init.txt")
}


def notifies(message: Message) -> dict[NotifyType, bytes]:
    return {p.type: p.data for p in message.payloads if isinstance(p, NotifyPayload)}


@pytest.mark.parametrize("name", INIT)
def test_a_datagram_comes_out_as_it_went_in(name: str) -> None:
    assert Message.decode(INIT[name]).encode() == INIT[name]


@pytest.mark.requirement("PAR-05")
@pytest.mark.parametrize("name", INIT)
def test_no_part_of_a_datagram_is_a_message(name: str) -> None:
    """Neither as it is cut nor when the header's length tells of the cut."""
    whole = INIT[name]
    for size in range(len(whole)):
        with pytest.raises(MalformedMessage):
            Message.decode(whole[:size])
        if size > HEADER_OCTETS:
            with pytest.raises(MalformedMessage):
                Message.decode(whole[:24] + size.to_bytes(4) + whole[28:size])


@pytest.mark.parametrize("name", INIT)
@pytest.mark.parametrize("change", [-1, 1])
def test_the_length_is_that_of_the_datagram(name: str, change: int) -> None:
    whole = INIT[name]
    with pytest.raises(MalformedMessage, match=f"in a datagram of {len(whole)} octets"):
        Message.decode(whole[:24] + (len(whole) + change).to_bytes(4) + whole[28:])


def test_a_request_is_read() -> None:
    message = Message.decode(INIT["AES-GCM, request"])
    assert message.exchange == ExchangeType.IKE_SA_INIT
    assert (message.spi_r, message.flags, message.message_id) == (NO_SPI, 0x08, 0)
    sa, key, nonce, *rest = message.payloads
    assert isinstance(sa, SaPayload)
    (proposal,) = sa.proposals
    assert [(t.type, t.id, t.key_length) for t in proposal.transforms] == [
        (TransformType.ENCR, EncrId.ENCR_AES_GCM_16, 256),
        (TransformType.PRF, PrfId.PRF_HMAC_SHA2_256, None),
        (TransformType.KE, KeId.CURVE25519, None),
    ]
    assert isinstance(key, KePayload)
    assert (key.method, len(key.data)) == (KeId.CURVE25519, 32)
    assert isinstance(nonce, NoncePayload)
    assert len(nonce.data) == 32
    assert [p.type for p in rest if isinstance(p, NotifyPayload)] == [
        NotifyType.NAT_DETECTION_SOURCE_IP,
        NotifyType.NAT_DETECTION_DESTINATION_IP,
        NotifyType.IKEV2_FRAGMENTATION_SUPPORTED,
        NotifyType.SIGNATURE_HASH_ALGORITHMS,
        NotifyType.REDIRECT_SUPPORTED,
    ]


def test_two_proposals_are_read() -> None:
    sa = Message.decode(INIT["two proposals over IPv6, request"]).payloads[0]
    assert isinstance(sa, SaPayload)
    first, second = sa.proposals
    assert (first.number, second.number) == (1, 2)
    assert [(t.id, t.key_length) for t in first.of_type(TransformType.ENCR)] == [
        (EncrId.ENCR_AES_GCM_16, 256),
        (EncrId.ENCR_AES_GCM_16, 128),
    ]
    assert not first.of_type(TransformType.INTEG)
    assert [t.id for t in second.of_type(TransformType.INTEG)] == [
        IntegId.AUTH_HMAC_SHA2_256_128,
        IntegId.AUTH_HMAC_SHA2_512_256,
    ]


def test_refusals_are_read() -> None:
    wrong_key = Message.decode(INIT["INVALID_KE_PAYLOAD"])
    assert notifies(wrong_key) == {NotifyType.INVALID_KE_PAYLOAD: KeId.CURVE25519.to_bytes(2)}
    nothing = Message.decode(INIT["NO_PROPOSAL_CHOSEN"])
    assert notifies(nothing) == {NotifyType.NO_PROPOSAL_CHOSEN: b""}
    assert nothing.flags == 0x20
    cookie = notifies(Message.decode(INIT["COOKIE"]))[NotifyType.COOKIE]
    again = Message.decode(INIT["the request again with the cookie"])
    assert again.payloads[0] == NotifyPayload(NotifyType.COOKIE, cookie)
