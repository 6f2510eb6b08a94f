"""Proposals as text: what the words mean, and what is said about those that mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import ConfigError
from ipsecme.policy import keywords
from ipsecme.policy.keywords import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    parse_proposal,
    parse_proposals,
)
from ipsecme.policy.proposal import Proposal, choose, offer
from ipsecme.wire.numbers import EncrId, EsnId, IntegId, KeId, PrfId, ProtocolId

if TYPE_CHECKING:
    from collections.abc import Iterable

IKE, ESP = ProtocolId.IKE, ProtocolId.ESP
BOTH_ESN = (EsnId.ESN, EsnId.NO_ESN)


def some_of(words: Iterable[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(list(words)), max_size=2)


def test_an_ike_proposal() -> None:
    assert parse_proposal("aes256gcm16-aes128gcm16-prfsha384-x25519-ecp256", IKE) == Proposal(
        IKE,
        ((EncrId.ENCR_AES_GCM_16, 256), (EncrId.ENCR_AES_GCM_16, 128)),
        (),
        (PrfId.PRF_HMAC_SHA2_384,),
        (KeId.CURVE25519, KeId.ECP_256),
    )


def test_the_prf_follows_the_integrity_algorithm() -> None:
    proposal = parse_proposal("aes192-sha512-sha256-ecp256", IKE)
    assert proposal.encr == ((EncrId.ENCR_AES_CBC, 192),)
    assert proposal.integ == (IntegId.AUTH_HMAC_SHA2_512_256, IntegId.AUTH_HMAC_SHA2_256_128)
    assert proposal.prf == (PrfId.PRF_HMAC_SHA2_512, PrfId.PRF_HMAC_SHA2_256)
    proposal = parse_proposal("aes192-sha512-prfsha256-ecp256", IKE)
    assert proposal.prf == (PrfId.PRF_HMAC_SHA2_256,)


def test_an_esp_proposal() -> None:
    assert parse_proposal("aes128-sha256", ESP) == Proposal(
        ESP,
        ((EncrId.ENCR_AES_CBC, 128),),
        (IntegId.AUTH_HMAC_SHA2_256_128,),
        esn=BOTH_ESN,
    )
    proposal = parse_proposal("aes256gcm16-x25519-noesn", ESP)
    assert (proposal.ke, proposal.esn) == ((KeId.CURVE25519,), (EsnId.NO_ESN,))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (" AES256GCM16-PRFSHA256-X25519\n", "aes256gcm16-prfsha256-x25519"),
        ("aes256gcm-prfsha256-curve25519", "aes256gcm16-prfsha256-x25519"),
        ("aes256gcm128-prfsha256-x25519", "aes256gcm16-prfsha256-x25519"),
        ("aes256cbc-sha256-ecp256", "aes256-sha256-ecp256"),
        ("x25519-prfsha256-aes256gcm16", "aes256gcm16-prfsha256-x25519"),
        # what is said twice is offered once
        ("aes256-aes256cbc-sha256-sha256-ecp256-ecp256", "aes256-sha256-ecp256"),
    ],
)
def test_other_spellings(text: str, same: str) -> None:
    assert parse_proposal(text, IKE) == parse_proposal(same, IKE)


@pytest.mark.parametrize(
    ("text", "protocol", "advice"),
    [
        ("aes256gcm16-prfsha256-x25591", IKE, "'x25591' .* did you mean 'x25519'?"),
        ("aes265-sha256-ecp256", IKE, "'aes265' .* did you mean 'aes256'?"),
        ("aes256-sha265-ecp256", IKE, "'sha265' .* did you mean 'sha256'?"),
        ("aes256-sha256-epc256", IKE, "'epc256' .* did you mean 'ecp256'?"),
        ("aes256 sha256 ecp256", IKE, "'aes256 sha256 ecp256' .* is not an algorithm"),
        ("rot13", IKE, "'rot13' in proposal 'rot13' is not an algorithm; known are .*x25519"),
        ("", IKE, "'' in proposal '' is not an algorithm; known are aes"),
        ("aes256--sha256", ESP, "'' in proposal .* is not an algorithm"),
        ("3des-sha256-ecp256", IKE, "'3des' .* to rely on .* write aes256gcm16, for one"),
        ("aes256-sha1-ecp256", IKE, "'sha1' .* to rely on .* write sha256, for one"),
        ("aes256-md5-ecp256", IKE, "'md5' .* to rely on .* write sha256, for one"),
        ("aes256gcm16-prfsha1-ecp256", IKE, "'prfsha1' .* to rely on .* write prfsha256, for one"),
        ("aes256-sha256-modp1024", IKE, "'modp1024' .* to rely on .* write ecp256, for one"),
        ("sha256-ecp256", IKE, "names no cipher; add one such as aes256gcm16"),
        ("x25519", ESP, "names no cipher"),
        ("aes256gcm16-aes256-sha256-ecp256", IKE, "mixes ciphers .* write two proposals"),
        ("aes256gcm16-sha256-x25519", IKE, "leave it out, or write prfsha256 if the PRF is meant"),
        ("aes256gcm16-sha512", ESP, "leave it out, or write prfsha512"),
        ("aes256-prfsha256-x25519", IKE, "lacks an integrity algorithm; add one such as sha256"),
        ("aes256", ESP, "lacks an integrity algorithm"),
        ("null", ESP, "lacks an integrity algorithm"),
        ("aes256gcm16-x25519", IKE, "names no PRF; add one such as prfsha256"),
        ("aes256gcm16-prfsha256", IKE, "names no key exchange; add one such as x25519"),
        ("aes256-sha256", IKE, "names no key exchange"),
        ("aes256gcm16-prfsha256-x25519-esn", IKE, "esn or noesn, which belong to ESP; remove it"),
        ("aes256gcm16-prfsha256", ESP, "names a PRF, which belongs to IKE; remove it"),
        ("null-sha256-x25519", IKE, "hides nothing, .* take one such as aes256gcm16"),
        ("aes128gmac-prfsha256-x25519", IKE, "hides nothing"),
    ],
)
def test_advice(text: str, protocol: ProtocolId, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        parse_proposal(text, protocol)


@given(st.text(max_size=30), st.sampled_from([IKE, ESP]))
def test_any_text_is_a_proposal_or_refused(text: str, protocol: ProtocolId) -> None:
    try:
        parse_proposal(text, protocol)
    except ConfigError:
        return


@pytest.mark.requirement("R7296-072", "R7296-183")
@given(
    some_of(keywords._ENCR),
    some_of(keywords._INTEG),
    some_of(keywords._PRF),
    some_of(keywords._KE),
    st.sampled_from([IKE, ESP]),
)
def test_what_is_read_can_be_offered_and_chosen(
    encr: list[str], integ: list[str], prf: list[str], ke: list[str], protocol: ProtocolId
) -> None:
    """Whatever passes as a proposal is one that this end, as its own peer, agrees with."""
    text = "-".join(encr + integ + prf + ke)
    try:
        proposal = parse_proposal(text, protocol)
    except ConfigError:
        return
    spi = b"" if protocol == IKE else b"\0\0\1\0"
    choice = choose(offer([proposal], spi), [proposal], len(spi))
    suite = choice.ike_suite() if protocol == IKE else choice.esp_suite()
    assert parse_proposal(str(suite), protocol).encr == ((choice.encr, choice.key_bits),)


@pytest.mark.parametrize(
    ("texts", "protocol"), [(DEFAULT_IKE_PROPOSALS, IKE), (DEFAULT_ESP_PROPOSALS, ESP)]
)
def test_the_defaults_agree_with_themselves(texts: tuple[str, ...], protocol: ProtocolId) -> None:
    proposals = parse_proposals(texts, protocol)
    assert choose(offer(proposals, b""), proposals, 0).proposal.number == 1
    for proposal in proposals:
        assert choose(offer([proposal], b""), proposals, 0).proposal.protocol == protocol
