"""The tables of algorithms: what can be computed, how it is written, and what is never there."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given, strategies as st

from ipsecme.base import ConfigError, LocalMisuse, Secret
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY, KEY_EXCHANGE, PRF
from ipsecme.crypto.algorithms_available import available
from ipsecme.crypto.protection import IntegrityFailure, Protection, protection
from ipsecme.crypto.suite import ENCR_WORDS, INTEG_WORDS, KE_WORDS, PRF_WORDS, EspSuite, IkeSuite
from ipsecme.policy.keywords import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    parse_proposal,
    parse_proposals,
)
from ipsecme.policy.proposal import choose, confirm, offer
from ipsecme.wire.numbers import EncrId, EsnId, IntegId, KeId, PrfId, ProtocolId
from support.esp import SUITES, SeededRng

_IKE_CIPHERS = [
    (EncrId.of(encr), bits, IntegId.of(integ))
    for encr, row in ENCRYPTION.items()
    if not row.esp_only
    for bits, integ in itertools.product(row.key_bits, [0] if row.is_aead else list(INTEGRITY))
]
_IKE_SUITES = [
    IkeSuite(*cipher, prf, ke)
    for cipher, prf, ke in zip(
        _IKE_CIPHERS,
        itertools.cycle(map(PrfId.of, PRF)),
        itertools.cycle(map(KeId.of, KEY_EXCHANGE)),
        strict=False,
    )
]


def _protection(suite: IkeSuite, seed: int = 1) -> Protection:
    rng = SeededRng(seed)
    key = Secret(rng.octets(suite.encryption_key_octets))
    return protection(suite, key, Secret(rng.octets(suite.integrity_key_octets)), rng)


@pytest.mark.parametrize("suite", _IKE_SUITES, ids=str)
def test_ike_messages_open_again_and_nothing_else_does(suite: IkeSuite) -> None:
    ours, theirs, stranger = _protection(suite), _protection(suite), _protection(suite, 2)
    front = bytes(range(32))
    for size in (0, 1, 14, 15, 16, 17, 500):
        plain = bytes(size)
        body = ours.seal(front, plain)
        assert len(body) == ours.sealed_octets(size)
        assert theirs.open(front, body) == plain
        with pytest.raises(IntegrityFailure):
            stranger.open(front, body)
        with pytest.raises(IntegrityFailure):
            theirs.open(front[:-1] + b"?", body)
        for at in range(0, len(body), 1 if size < 20 else 97):
            with pytest.raises(IntegrityFailure):
                theirs.open(front, body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :])
            with pytest.raises(IntegrityFailure):
                theirs.open(front, body[:at])


@given(suite=st.sampled_from(_IKE_SUITES), body=st.binary(max_size=120))
def test_any_octets_fail_and_nothing_else_is_raised(suite: IkeSuite, body: bytes) -> None:
    with pytest.raises(IntegrityFailure):
        _protection(suite).open(b"front", body)


@pytest.mark.parametrize("suite", _IKE_SUITES, ids=str)
def test_ivs_never_repeat(suite: IkeSuite) -> None:
    ours = _protection(suite)
    iv = ENCRYPTION[suite.encr].iv
    ivs = [ours.seal(b"front", b"plain")[:iv] for _ in range(300)]
    assert len(set(ivs)) == len(ivs)


@pytest.mark.parametrize("suite", _IKE_SUITES, ids=str)
def test_protections_cannot_be_copied(suite: IkeSuite) -> None:
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(LocalMisuse, match=r"twice|serialised"):
            attempt(_protection(suite))


@pytest.mark.parametrize("number", [n for n, row in ENCRYPTION.items() if row.esp_only])
def test_ike_never_goes_without_encryption(number: int) -> None:
    row = ENCRYPTION[number]
    integ = IntegId.NONE if row.is_aead else IntegId.AUTH_HMAC_SHA2_256_128
    encr, bits = EncrId.of(number), row.key_bits[0]
    suite = IkeSuite(encr, bits, integ, PrfId.PRF_HMAC_SHA2_256, KeId.CURVE25519)
    with pytest.raises(LocalMisuse, match="hides nothing"):
        _protection(suite)
    word = str(suite).removesuffix("-prfsha256-x25519")
    with pytest.raises(ConfigError, match="hides nothing, which is for ESP alone"):
        parse_proposal(f"{word}-prfsha256-x25519", ProtocolId.IKE)
    # A peer that offers it finds nobody, even where the table of ESP proposals would take it.
    careless = parse_proposal(f"{word}-noesn", ProtocolId.ESP)._replace(
        protocol=ProtocolId.IKE,
        prf=(PrfId.PRF_HMAC_SHA2_256,),
        ke=(KeId.CURVE25519,),
        esn=(),
    )
    with pytest.raises(Exception, match="no proposal of the peer's is acceptable"):
        choose(offer((careless,), b""), (careless,), 0)


@pytest.mark.parametrize("suite", _IKE_SUITES, ids=str)
def test_what_a_suite_writes_is_read_as_the_same_ike_suite(suite: IkeSuite) -> None:
    proposal = parse_proposal(str(suite), ProtocolId.IKE)
    offered = offer((proposal,), b"")
    choice = choose(offered, (proposal,), 0)
    assert choice.ike_suite() == suite
    assert confirm((choice.proposal,), offered, 0).ike_suite() == suite


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_what_a_suite_writes_is_read_as_the_same_esp_suite(suite: EspSuite) -> None:
    proposal = parse_proposal(str(suite), ProtocolId.ESP)
    offered = offer((proposal,), bytes(4))
    choice = choose(offered, (proposal,), 4)
    assert choice.esp_suite() == suite
    assert confirm((choice.proposal,), offered, 4).esp_suite() == suite


def test_every_algorithm_has_a_word_and_every_word_an_algorithm() -> None:
    assert set(ENCR_WORDS) == set(ENCRYPTION)
    assert set(INTEG_WORDS) == set(INTEGRITY)
    assert set(PRF_WORDS) == set(PRF)
    assert set(KE_WORDS) == set(KEY_EXCHANGE)


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("aes128gcm", "aes128gcm16"),
        ("aes256gcm128", "aes256gcm16"),
        ("aes256gcm64", "aes256gcm8"),
        ("aes192ccm96", "aes192ccm12"),
        ("aes128ccm", "aes128ccm16"),
        ("aes128-aescmac", "aes128cbc-aescmac"),
        ("aes128gcm16-curve448", "aes128gcm16-x448"),
        ("aes128gcm16-curve25519", "aes128gcm16-x25519"),
    ],
)
def test_other_spellings(word: str, same: str) -> None:
    assert parse_proposal(word, ProtocolId.ESP) == parse_proposal(same, ProtocolId.ESP)


@pytest.mark.requirement("CRY-09")
@pytest.mark.parametrize("word", ["3des", "sha1", "md5", "modp1024", "modp1536", "modp2048s256"])
def test_weak_algorithms_are_not_even_words(word: str) -> None:
    with pytest.raises(ConfigError, match="is not an algorithm"):
        parse_proposal(f"aes128-sha256-{word}", ProtocolId.IKE)


def test_esp_without_integrity_cannot_be_written() -> None:
    for word in ("null", "aes128", "aes256ctr"):
        with pytest.raises(ConfigError, match="lacks an integrity algorithm"):
            parse_proposal(word, ProtocolId.ESP)


def test_defaults_hold_what_the_rfcs_demand_and_nothing_that_fades() -> None:
    ike = parse_proposals(DEFAULT_IKE_PROPOSALS, ProtocolId.IKE)
    esp = parse_proposals(DEFAULT_ESP_PROPOSALS, ProtocolId.ESP)
    # RFC 8247, sections 2.1 to 2.4, and RFC 8221, sections 5 and 6: MUST, and SHOULD but for IoT.
    demanded = {EncrId.ENCR_AES_CBC, EncrId.ENCR_CHACHA20_POLY1305, EncrId.ENCR_AES_GCM_16}
    for proposals in (ike, esp):
        assert {encr for proposal in proposals for encr, _ in proposal.encr} == demanded
        integ = {integ for proposal in proposals for integ in proposal.integ}
        assert integ == {i for i in map(IntegId.of, INTEGRITY) if "SHA2" in i.name}
    assert {prf for p in ike for prf in p.prf} == {
        p for p in map(PrfId.of, PRF) if "HMAC" in p.name
    }
    groups = (KeId.CURVE25519, KeId.ECP_256, KeId.ECP_384, KeId.MODP_2048)
    assert {p.ke for p in ike} == {groups}
    assert {p.ke for p in esp} == {groups, ()}
    assert all(p.esn == (EsnId.ESN, EsnId.NO_ESN) for p in esp)


@pytest.mark.requirement("CRY-05")
def test_what_the_library_cannot_do_is_left_out() -> None:
    def fails() -> object:
        raise UnsupportedAlgorithm("not here")

    rows = {1: "one", 2: "two", 3: "three"}
    assert available(rows, {2: fails, 3: object}) == {1: "one", 3: "three"}


_WITHOUT = """
import cryptography.hazmat.primitives.asymmetric as asymmetric
import sys
sys.modules["cryptography.hazmat.primitives.asymmetric.dh"] = None  # as if it were not there
from ipsecme.base import ConfigError
from ipsecme.crypto.algorithms import KEY_EXCHANGE
from ipsecme.policy import keywords
from ipsecme.wire.numbers import KeId, ProtocolId
assert KeId.MODP_2048 not in KEY_EXCHANGE and KeId.ECP_521 in KEY_EXCHANGE
assert not any("modp" in text for text in keywords.DEFAULT_IKE_PROPOSALS)
keywords.parse_proposals(keywords.DEFAULT_IKE_PROPOSALS, ProtocolId.IKE)
try:
    keywords.parse_proposal("aes128-sha256-modp2048", ProtocolId.IKE)
except ConfigError as error:
    print(error)
"""


def test_a_library_without_finite_fields_does_no_harm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "'modp2048' in proposal 'aes128-sha256-modp2048' is not in the installed" in done.stdout
