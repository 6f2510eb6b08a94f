"""The inside of SK: its layout, and what it refuses (RFC 7296, section 3.14; RFC 5282).

Known answers of the ciphers are elsewhere; here is what all suites have in common.
"""

from __future__ import annotations

import copy
import hmac
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, strategies as st

from ipsecme.base import LocalMisuse, Secret
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
from ipsecme.crypto.protection import IntegrityFailure, Protection, protection
from ipsecme.crypto.suite import IkeSuite
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId
from support.pair import SeededRng

FRONT = bytes(range(32))
PLAIN = b"payloads, one after the other"


def suite(encr: EncrId, bits: int, integ: IntegId = IntegId.NONE) -> IkeSuite:
    return IkeSuite(encr, bits, integ, PrfId.PRF_HMAC_SHA2_256, KeId.CURVE25519)


SUITES = [
    suite(EncrId.of(encr), bits, IntegId.of(integ))
    for encr, row in ENCRYPTION.items()
    if not row.esp_only
    for bits in row.key_bits
    for integ in ([IntegId.NONE] if row.is_aead else INTEGRITY)
]
CBC = suite(EncrId.ENCR_AES_CBC, 256, IntegId.AUTH_HMAC_SHA2_384_192)
GCM = suite(EncrId.ENCR_AES_GCM_16, 128)
BOTH = pytest.mark.parametrize("chosen", [CBC, GCM], ids=str)
ALL = pytest.mark.parametrize("chosen", SUITES, ids=str)


def keys_of(chosen: IkeSuite) -> tuple[bytes, bytes]:
    octets = bytes((7 * n + 1) % 256 for n in range(200))
    return octets[: chosen.encryption_key_octets], octets[100:][: chosen.integrity_key_octets]


def make(chosen: IkeSuite, seed: int = 1) -> Protection:
    encryption, integrity = keys_of(chosen)
    return protection(chosen, Secret(encryption), Secret(integrity), SeededRng(seed))


def cbc_hmac(padded: bytes, front: bytes = FRONT, iv: bytes = bytes(range(16))) -> bytes:
    """Seal octets that bring their own padding, with CBC."""
    encryption, integrity = keys_of(CBC)
    encryptor = Cipher(algorithms.AES(encryption), modes.CBC(iv)).encryptor()
    sealed = iv + encryptor.update(padded) + encryptor.finalize()
    return sealed + hmac.digest(integrity, front + sealed, "sha384")[:24]


def gcm(padded: bytes, front: bytes = FRONT, iv: bytes = bytes(range(8))) -> bytes:
    """Seal octets that bring their own padding, with GCM."""
    key, _ = keys_of(GCM)
    return iv + AESGCM(key[:-4]).encrypt(key[-4:] + iv, padded, front)


@ALL
def test_what_is_sealed_opens_and_has_the_foretold_size(chosen: IkeSuite) -> None:
    sender, receiver = make(chosen), make(chosen, 2)
    for octets in (0, 1, 15, 16, 17, 255, 1400):
        plain = bytes(n % 251 for n in range(octets))
        body = sender.seal(FRONT, plain)
        assert len(body) == sender.sealed_octets(octets)
        assert receiver.open(FRONT, body) == plain


@ALL
@pytest.mark.requirement("R7296-214")
def test_the_icv_covers_all_that_is_before_it(chosen: IkeSuite) -> None:
    body = make(chosen).seal(FRONT, PLAIN)
    whole = FRONT + body
    receiver = make(chosen)
    for at in range(len(whole)):
        damaged = whole[:at] + bytes((whole[at] ^ 0x80,)) + whole[at + 1 :]
        with pytest.raises(IntegrityFailure):
            receiver.open(damaged[: len(FRONT)], damaged[len(FRONT) :])
    with pytest.raises(IntegrityFailure):
        receiver.open(FRONT[:-1], body)
    assert receiver.open(FRONT, body) == PLAIN


@ALL
@pytest.mark.requirement("R7296-216")
def test_a_body_too_short_or_too_long_is_refused(chosen: IkeSuite) -> None:
    body = make(chosen).seal(FRONT, PLAIN)
    receiver = make(chosen)
    for size in range(len(body)):
        with pytest.raises(IntegrityFailure):
            receiver.open(FRONT, body[:size])
        with pytest.raises(IntegrityFailure):
            receiver.open(FRONT, body[size + 1 :])
    with pytest.raises(IntegrityFailure):
        receiver.open(FRONT, body + b"\0")


@BOTH
@given(body=st.binary(max_size=200), front=st.binary(max_size=40))
def test_what_nobody_sealed_never_opens(chosen: IkeSuite, body: bytes, front: bytes) -> None:
    with pytest.raises(IntegrityFailure):
        make(chosen).open(front, body)


@pytest.mark.requirement("R7296-214")
def test_cbc_is_iv_ciphertext_with_padding_and_icv() -> None:
    encryption, integrity = keys_of(CBC)
    rng = SeededRng(1)
    rng.script = [b"an IV by a script"[:16]]
    sealed = protection(CBC, Secret(encryption), Secret(integrity), rng).seal(FRONT, PLAIN)
    pad = 15 - len(PLAIN) % 16
    assert sealed == cbc_hmac(PLAIN + bytes(pad) + bytes((pad,)), iv=b"an IV by a script"[:16])


def test_gcm_is_iv_ciphertext_with_pad_length_and_icv() -> None:
    sealed = make(GCM).seal(FRONT, PLAIN)
    assert sealed == gcm(PLAIN + b"\0", iv=sealed[:8])
    assert len(sealed) == 8 + len(PLAIN) + 1 + 16


@pytest.mark.requirement("R7296-215")
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\x05"], ids=["zeros", "ones", "fives"])
@pytest.mark.parametrize("blocks", [0, 1, 7, 15])
def test_padding_of_any_content_and_up_to_255_octets_is_taken_off(
    filling: bytes, blocks: int
) -> None:
    pad = 15 - len(PLAIN) % 16 + 16 * blocks
    assert make(CBC).open(FRONT, cbc_hmac(PLAIN + filling * pad + bytes((pad,)))) == PLAIN
    assert make(GCM).open(FRONT, gcm(PLAIN + filling * pad + bytes((pad,)))) == PLAIN


def test_padding_longer_than_all_there_is_is_refused() -> None:
    for pad in (16, 255):
        with pytest.raises(IntegrityFailure, match="longer than the payloads"):
            make(CBC).open(FRONT, cbc_hmac(bytes(15) + bytes((pad,))))
        with pytest.raises(IntegrityFailure, match="longer than the payloads"):
            make(GCM).open(FRONT, gcm(bytes(15) + bytes((pad,))))
    assert make(CBC).open(FRONT, cbc_hmac(bytes(15) + b"\x0f")) == b""


@ALL
def test_no_iv_comes_twice(chosen: IkeSuite) -> None:
    sender = make(chosen)
    octets = ENCRYPTION[chosen.encr].iv
    ivs = {sender.seal(FRONT, PLAIN)[:octets] for _ in range(200)}
    assert len(ivs) == 200


@pytest.mark.requirement("R7296-214")
def test_ivs_of_cbc_are_as_the_random_generator_makes_them() -> None:
    """Not a counter and not the last block of the message before (RFC 7296, section 3.14)."""
    encryption, integrity = keys_of(CBC)
    rng = SeededRng(3)
    twin = SeededRng(3)
    sender = protection(CBC, Secret(encryption), Secret(integrity), rng)
    for _ in range(5):
        assert sender.seal(FRONT, PLAIN)[:16] == twin.octets(16)


def test_a_counter_that_is_used_up_seals_nothing_more() -> None:
    sender = make(GCM)
    sender._iv._count = (1 << 64) - 2  # type: ignore[attr-defined]
    assert sender.seal(FRONT, PLAIN)[:8] == b"\xff" * 8
    with pytest.raises(LocalMisuse, match="used up"):
        sender.seal(FRONT, PLAIN)


@ALL
def test_keys_with_a_counter_are_not_duplicated(chosen: IkeSuite) -> None:
    with pytest.raises(LocalMisuse, match="same key and IV twice"):
        copy.copy(make(chosen))
    with pytest.raises(LocalMisuse, match="same key and IV twice"):
        copy.deepcopy(make(chosen))
    with pytest.raises(LocalMisuse, match="not serialised"):
        pickle.dumps(make(chosen))


@ALL
def test_other_keys_open_nothing(chosen: IkeSuite) -> None:
    body = make(chosen).seal(FRONT, PLAIN)
    encryption, integrity = keys_of(chosen)
    if integrity:
        integrity = integrity[:-1] + bytes((integrity[-1] ^ 1,))
    else:
        encryption = encryption[:-1] + bytes((encryption[-1] ^ 1,))  # the salt
    other = protection(chosen, Secret(encryption), Secret(integrity), SeededRng(1))
    with pytest.raises(IntegrityFailure):
        other.open(FRONT, body)


@pytest.mark.parametrize(
    "number", [number for number, row in ENCRYPTION.items() if row.esp_only], ids=str
)
def test_ciphers_that_hide_nothing_protect_no_ike_message(number: int) -> None:
    encr = EncrId.of(number)
    chosen = suite(encr, ENCRYPTION[encr].key_bits[0], IntegId.AUTH_HMAC_SHA2_256_128)
    with pytest.raises(LocalMisuse, match="hides nothing"):
        make(chosen)
