"""Choosing among proposals (RFC 7296, 2.7, 3.3.3, 3.3.5, 3.3.6; RFC 5282, section 8)."""

from __future__ import annotations

import pytest

from ipsecme.base import Incompatible
from ipsecme.policy.proposal import Proposal, choose, confirm, offer
from ipsecme.wire.ike import Attribute, Proposal as WireProposal, Transform
from ipsecme.wire.numbers import (
    AttributeType,
    EncrId,
    IntegId,
    KeId,
    ProtocolId,
)
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
    PRF_512,
    SHA_256,
    SHA_512,
    SPI,
    X25519,
    T,
    bits,
    esp,
    ike,
    ours,
    ours_esp,
)


def refuse(offered: WireProposal, *accepted: Proposal) -> None:
    with pytest.raises(Incompatible, match="no proposal"):
        choose([offered], accepted, len(offered.spi))


@pytest.mark.requirement("R7296-066")
def test_one_transform_of_each_type_is_chosen_by_our_preference() -> None:
    offered = ike(CBC_128, CBC_256, PRF_256, PRF_512, SHA_256, SHA_512, ECP_256, X25519, number=3)
    choice = choose([offered], ours("aes256-aes128-sha512-sha256-x25519-ecp256"), 0)
    assert choice.proposal == ike(CBC_256, PRF_512, SHA_512, X25519, number=3)
    assert str(choice.ike_suite()) == "aes256cbc-sha512-prfsha512-x25519"


@pytest.mark.requirement("R7296-066")
def test_the_first_offered_proposal_that_fits_is_chosen() -> None:
    offered = [
        ike(GCM_256, PRF_256, ECP_256),
        ike(CBC_256, PRF_256, SHA_256, X25519, number=2),
        ike(GCM_256, PRF_256, X25519, number=3),
    ]
    accepted = ours("aes256gcm16-prfsha256-x25519", "aes256-sha256-x25519")
    assert choose(offered, accepted, 0).proposal == offered[1]


@pytest.mark.requirement("R7296-187")
def test_what_is_chosen_is_returned_as_it_was_offered() -> None:
    offered = esp(NO_ESN, GCM_256, ESN, number=9)
    choice = choose([offered], ours_esp("aes256gcm16"), 4)
    assert choice.proposal.spi == SPI
    assert choice.proposal.number == 9
    assert choice.proposal.transforms == (GCM_256, ESN)
    assert choice.esn


@pytest.mark.requirement("R7296-071")
def test_key_lengths_are_transforms_of_their_own() -> None:
    (proposal,) = offer(ours("aes256gcm16-aes128gcm16-prfsha256-x25519"), b"")
    assert proposal.of_type(T.ENCR) == [GCM_256, GCM_128]
    choice = choose(
        [ike(GCM_128, PRF_256, X25519)], ours("aes256gcm16-aes128gcm16-prfsha256-x25519"), 0
    )
    assert choice.key_bits == 128
    refuse(ike(GCM_128, PRF_256, X25519), *ours("aes256gcm16-prfsha256-x25519"))


@pytest.mark.requirement("R7296-177", "R7296-069")
def test_an_offer_is_numbered_from_one_and_carries_the_spi() -> None:
    proposals = offer(ours_esp("aes256gcm16-x25519", "aes128-sha256"), SPI)
    assert proposals == (
        esp(GCM_256, X25519, ESN, NO_ESN),
        esp(CBC_128, SHA_256, ESN, NO_ESN, number=2),
    )


@pytest.mark.requirement("R7296-181", "CRY-04")
@pytest.mark.parametrize("missing", range(4))
def test_an_ike_proposal_needs_each_of_its_types(missing: int) -> None:
    transforms = [CBC_256, PRF_256, SHA_256, X25519]
    choose([ike(*transforms)], ours("aes256-sha256-x25519"), 0)
    del transforms[missing]
    refuse(ike(*transforms), *ours("aes256-sha256-x25519"))


@pytest.mark.requirement("R7296-181")
def test_an_esp_proposal_needs_cipher_and_sequence_numbers() -> None:
    accepted = ours_esp("aes256-sha256")
    choose([esp(CBC_256, SHA_256, NO_ESN)], accepted, 4)
    refuse(esp(CBC_256, SHA_256), *accepted)
    refuse(esp(SHA_256, NO_ESN), *accepted)
    refuse(esp(CBC_256, NO_ESN), *accepted)


# AEAD and integrity


@pytest.mark.requirement("R7296-072")
def test_ciphers_of_both_kinds_in_one_proposal_are_never_aead_with_integrity() -> None:
    mixed = ike(GCM_256, CBC_256, PRF_256, SHA_256, X25519)
    aead, plain = ours("aes256gcm16-prfsha256-x25519"), ours("aes256-sha256-x25519")
    refuse(mixed, *aead)
    choice = choose([mixed], aead + plain, 0)
    assert choice.proposal == ike(CBC_256, PRF_256, SHA_256, X25519)


def test_aead_with_integrity_is_refused_and_with_none_it_is_not() -> None:
    accepted = ours("aes256gcm16-prfsha256-x25519")
    refuse(ike(GCM_256, PRF_256, SHA_256, X25519), *accepted)
    with_none = ike(GCM_256, PRF_256, NO_INTEG, X25519)
    assert choose([with_none], accepted, 0).proposal == with_none
    both = ike(GCM_256, PRF_256, SHA_256, NO_INTEG, NO_INTEG, X25519)
    assert choose([both], accepted, 0).proposal == with_none


def test_a_cipher_alone_is_never_without_integrity() -> None:
    accepted = ours_esp("aes256-sha256")
    refuse(esp(CBC_256, NO_INTEG, NO_ESN), *accepted)
    both = esp(CBC_256, NO_INTEG, SHA_256, NO_ESN)
    assert choose([both], accepted, 4).integ == IntegId.AUTH_HMAC_SHA2_256_128


# Key Length and other attributes


@pytest.mark.requirement("R7296-185", "CRY-06")
@pytest.mark.parametrize(
    "attributes",
    [
        (),
        (bits(0),),
        (bits(255),),
        (bits(512),),
        (Attribute(AttributeType.KEY_LENGTH, b"\1\0"),),
    ],
)
def test_aes_needs_a_key_length_that_it_has(attributes: tuple[Attribute, ...]) -> None:
    cipher = GCM_256._replace(attributes=attributes)
    refuse(ike(cipher, PRF_256, X25519), *ours("aes256gcm16-aes128gcm16-prfsha256-x25519"))


@pytest.mark.requirement("R7296-185", "CRY-06")
@pytest.mark.parametrize("place", range(1, 4))
def test_what_has_one_key_size_must_not_have_a_key_length(place: int) -> None:
    transforms = [CBC_256, PRF_256, SHA_256, X25519]
    transforms[place] = transforms[place]._replace(attributes=(bits(256),))
    refuse(ike(*transforms), *ours("aes256-sha256-x25519"))
    choice = choose(
        [ike(*transforms, CBC_256, PRF_256, SHA_256, X25519)], ours("aes256-sha256-x25519"), 0
    )
    assert choice.proposal == ike(CBC_256, PRF_256, SHA_256, X25519)


@pytest.mark.requirement("R7296-178", "R7296-186")
@pytest.mark.parametrize("second", [bits(256), bits(128), Attribute(AttributeType.of(99), 1)])
def test_another_attribute_makes_only_its_transform_unacceptable(second: Attribute) -> None:
    strange = GCM_256._replace(attributes=(bits(256), second))
    accepted = ours("aes256gcm16-aes128gcm16-prfsha256-x25519")
    refuse(ike(strange, PRF_256, X25519), *accepted)
    choice = choose([ike(strange, GCM_128, PRF_256, X25519)], accepted, 0)
    assert choice.proposal == ike(GCM_128, PRF_256, X25519)


@pytest.mark.requirement("R7296-186")
def test_an_unknown_transform_type_makes_its_proposal_unacceptable() -> None:
    strange = Transform(T.of(200), 1)
    accepted = ours("aes256gcm16-prfsha256-x25519")
    refuse(ike(GCM_256, PRF_256, X25519, strange), *accepted)
    offered = [
        ike(GCM_256, PRF_256, X25519, strange),
        ike(GCM_256, PRF_256, X25519, number=2),
    ]
    assert choose(offered, accepted, 0).proposal == offered[1]


@pytest.mark.requirement("R7296-186")
def test_a_type_of_another_protocol_makes_its_proposal_unacceptable() -> None:
    refuse(ike(GCM_256, PRF_256, X25519, NO_ESN), *ours("aes256gcm16-prfsha256-x25519"))
    refuse(esp(GCM_256, PRF_256, NO_ESN), *ours_esp("aes256gcm16"))


@pytest.mark.requirement("R7296-186", "R7296-058")
def test_an_unknown_transform_makes_only_itself_unacceptable() -> None:
    unknown = [
        Transform(T.ENCR, 999, (bits(256),)),
        Transform(T.PRF, 999),
        Transform(T.KE, 999),
    ]
    offered = ike(*unknown, GCM_256, PRF_256, X25519)
    accepted = ours("aes256gcm16-prfsha256-x25519")
    assert choose([offered], accepted, 0).proposal == ike(GCM_256, PRF_256, X25519)
    refuse(ike(*unknown), *accepted)


@pytest.mark.requirement("R7296-181")
def test_proposals_of_other_protocols_and_spi_sizes_are_passed_over() -> None:
    accepted = ours_esp("aes256gcm16")
    authentication_header = WireProposal(1, ProtocolId.AH, SPI, (SHA_256, NO_ESN))
    refuse(authentication_header._replace(transforms=(GCM_256, NO_ESN)), *accepted)
    wrong_size = esp(GCM_256, NO_ESN, number=2, spi=bytes(8))
    right = esp(GCM_256, NO_ESN, number=3)
    assert choose([authentication_header, wrong_size, right], accepted, 4).proposal == right
    with pytest.raises(Incompatible):
        choose([authentication_header, wrong_size], accepted, 4)
    with pytest.raises(Incompatible):
        choose([], accepted, 4)
    refuse(right, *ours("aes256gcm16-prfsha256-x25519"))


def test_ciphers_that_hide_nothing_are_for_esp_alone() -> None:
    gmac = Transform(T.ENCR, EncrId.ENCR_NULL_AUTH_AES_GMAC, (bits(256),))
    (accepted,) = ours_esp("aes256gmac")
    assert choose([esp(gmac, ESN)], [accepted], 4).encr == EncrId.ENCR_NULL_AUTH_AES_GMAC
    misused = ours("aes256gcm16-prfsha256-x25519")[0]._replace(encr=accepted.encr)
    refuse(ike(gmac, PRF_256, X25519), misused)


# Key exchange in ESP


@pytest.mark.requirement("R7296-182")
def test_key_exchange_is_optional_in_esp() -> None:
    with_ke, without = ours_esp("aes256gcm16-x25519"), ours_esp("aes256gcm16")
    plain = esp(GCM_256, NO_ESN)
    none = esp(GCM_256, NO_KE, NO_ESN)
    either = esp(GCM_256, NO_KE, X25519, NO_ESN)
    only = esp(GCM_256, X25519, NO_ESN)
    assert choose([only], with_ke, 4).ke == KeId.CURVE25519
    assert choose([either], with_ke, 4).proposal == only
    refuse(plain, *with_ke)
    refuse(none, *with_ke)
    assert choose([plain], without, 4).ke == KeId.NONE
    assert choose([none], without, 4).proposal == none
    assert choose([either], without, 4).proposal == none
    refuse(only, *without)


@pytest.mark.requirement("R7296-182")
def test_whoever_accepts_none_accepts_its_omission() -> None:
    accepted = ours_esp("aes256gcm16-x25519")[0]._replace(ke=(KeId.CURVE25519, KeId.NONE))
    assert choose([esp(GCM_256, NO_ESN)], [accepted], 4).proposal == esp(GCM_256, NO_ESN)
    assert choose([esp(GCM_256, X25519, NO_ESN)], [accepted], 4).ke == KeId.CURVE25519
    refuse(esp(GCM_256, ECP_256, NO_ESN), accepted)


@pytest.mark.requirement("R7296-125", "CRY-04")
def test_an_ike_sa_is_never_without_key_exchange() -> None:
    accepted = ours("aes256gcm16-prfsha256-x25519")[0]
    refuse(ike(GCM_256, PRF_256, NO_KE), accepted)
    refuse(ike(GCM_256, PRF_256, NO_KE), accepted._replace(ke=(KeId.NONE,)))
    offered = offer([accepted._replace(ke=(KeId.CURVE25519, KeId.NONE))], b"")
    with pytest.raises(Incompatible, match="incomplete"):
        confirm([ike(GCM_256, PRF_256, NO_KE)], offered, 0)


def test_an_esp_choice_is_no_suite_for_ike() -> None:
    with pytest.raises(Incompatible, match="no pseudorandom function"):
        choose([esp(GCM_256, ESN)], ours_esp("aes256gcm16"), 4).ike_suite()
