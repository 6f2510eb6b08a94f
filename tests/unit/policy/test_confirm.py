"""What an initiator checks in the answer to its proposals (RFC 7296, sections 2.7 and 3.3.6)."""

from __future__ import annotations

import pytest

from ipsecme.base import Incompatible
from ipsecme.policy.keywords import parse_proposal
from ipsecme.policy.proposal import confirm, offer
from ipsecme.wire.ike import Proposal as WireProposal, Transform
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId, ProtocolId
from support.proposals import (
    CBC_128,
    CBC_256,
    ECP_256,
    ESN,
    GCM_128,
    GCM_256,
    NO_ESN,
    NO_INTEG,
    NO_KE,
    PRF_256,
    SHA_256,
    SHA_512,
    SPI,
    X25519,
    T,
    bits,
    esp,
    ike,
    ours_esp,
)

OFFER = offer(
    ours_esp("aes256gcm16-aes128gcm16-x25519-ecp256", "aes256-aes128-sha256-sha512"), b"\0\0\1\0"
)


def test_the_answer_is_one_of_what_was_offered() -> None:
    choice = confirm([esp(GCM_128, ECP_256, NO_ESN)], OFFER, 4)
    assert choice.proposal.spi == SPI
    assert str(choice.esp_suite()) == "aes128gcm16-ecp256-noesn"
    choice = confirm([esp(CBC_128, SHA_512, ESN, number=2)], OFFER, 4)
    assert str(choice.esp_suite()) == "aes128cbc-sha512-esn"


def test_the_answer_may_spell_out_none() -> None:
    assert confirm([esp(GCM_128, NO_INTEG, X25519, NO_ESN)], OFFER, 4).integ == IntegId.NONE
    assert confirm([esp(CBC_256, SHA_256, NO_KE, NO_ESN, number=2)], OFFER, 4).ke == KeId.NONE


@pytest.mark.requirement("R7296-066", "R7296-187", "CRY-07")
@pytest.mark.parametrize(
    ("answered", "complaint"),
    [
        ([], "0 proposals instead of one"),
        ([esp(GCM_256, X25519, ESN), esp(GCM_256, X25519, ESN, number=2)], "2 proposals"),
        ([esp(GCM_256, X25519, ESN, number=3)], "was not offered"),
        ([esp(GCM_256, X25519, ESN, number=0)], "was not offered"),
        ([esp(GCM_256, X25519, ESN, spi=bytes(8))], "was not offered"),
        ([esp(GCM_256, X25519, ESN, spi=b"")], "was not offered"),
        ([ike(GCM_256, X25519, ESN, spi=SPI)], "was not offered"),
        # a transform of the other proposal, or of none
        ([esp(CBC_256, X25519, ESN)], "a transform that was not offered"),
        ([esp(GCM_256, SHA_256, X25519, ESN)], "a transform that was not offered"),
        ([esp(GCM_256, X25519, PRF_256, ESN)], "a transform that was not offered"),
        ([esp(GCM_256._replace(attributes=()), X25519, ESN)], "a transform that was not offered"),
        ([esp(GCM_256, X25519._replace(attributes=(bits(1),)), ESN)], "a transform that was not"),
        ([esp(GCM_256, GCM_128, X25519, ESN)], "two alike"),
        ([esp(GCM_256, X25519, NO_KE, ESN)], "two alike"),
        ([esp(GCM_256, X25519, ESN, NO_ESN)], "two alike"),
        ([esp(GCM_256, X25519)], "incomplete"),
        ([esp(X25519, ESN)], "incomplete"),
        ([esp(CBC_256, ESN, number=2)], "incomplete"),
        ([esp(CBC_256, NO_INTEG, ESN, number=2)], "incomplete"),
        ([esp(number=2)], "incomplete"),
        # forward secrecy was asked for
        ([esp(GCM_256, ESN)], "key exchange"),
        ([esp(GCM_256, NO_KE, ESN)], "key exchange"),
    ],
)
def test_an_answer_that_does_not_fit_the_offer(
    answered: list[WireProposal], complaint: str
) -> None:
    with pytest.raises(Incompatible, match=complaint):
        confirm(answered, OFFER, 4)


@pytest.mark.requirement("R7296-072")
def test_combined_mode_beside_integrity_is_not_confirmed_even_if_offered() -> None:
    mixed = [esp(GCM_256, CBC_256, SHA_256, ESN)]
    assert confirm([esp(CBC_256, SHA_256, ESN)], mixed, 4).integ == IntegId.AUTH_HMAC_SHA2_256_128
    for answer in (esp(GCM_256, SHA_256, ESN), esp(CBC_256, ESN)):
        with pytest.raises(Incompatible, match="incomplete"):
            confirm([answer], mixed, 4)


def test_forward_secrecy_may_be_declined_where_none_was_offered() -> None:
    proposal = parse_proposal("aes256gcm16-x25519", ProtocolId.ESP)
    offered = offer([proposal._replace(ke=(KeId.CURVE25519, KeId.NONE))], b"\0\0\1\0")
    for answer in (esp(GCM_256, ESN), esp(GCM_256, NO_KE, ESN)):
        assert confirm([answer], offered, 4).ke == KeId.NONE


@pytest.mark.requirement("R7296-183")
@pytest.mark.parametrize(
    "strange",
    [
        Transform(T.ENCR, EncrId.ENCR_3DES),
        Transform(T.PRF, PrfId.PRF_HMAC_MD5),
        Transform(T.INTEG, IntegId.AUTH_HMAC_MD5_96),
        Transform(T.KE, KeId.MODP_1024),
    ],
)
def test_what_cannot_be_computed_is_not_confirmed_even_if_offered(strange: Transform) -> None:
    usual = (CBC_256, PRF_256, SHA_256, X25519)
    transforms = [strange if t.type == strange.type else t for t in usual]
    with pytest.raises(Incompatible, match="incomplete"):
        confirm([ike(*transforms)], [ike(*transforms)], 0)
