"""Known answers for ciphers, integrity algorithms and pseudorandom functions."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag

from ipsecme.base import LocalMisuse, Secret
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY, PRF
from ipsecme.crypto.cipher import aead, key_stream
from ipsecme.crypto.integrity import authenticator, mac
from ipsecme.crypto.keymat import skeyseed
from ipsecme.crypto.prf import prf, prf_plus
from ipsecme.crypto.protection import IntegrityFailure, protection
from ipsecme.crypto.suite import IkeSuite
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId
from support.esp import SeededRng
from support.vectors import read_vectors

_AEAD = read_vectors("aead.txt")
_CTR = read_vectors("ctr.txt")
_INTEGRITY = read_vectors("integrity.txt")
_PRF = read_vectors("prf.txt")
_IKE = read_vectors("ike_chacha20poly1305.txt")
_AES_PRFS = [PrfId.PRF_AES128_XCBC, PrfId.PRF_AES128_CMAC]


def _octets(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)


def test_the_vector_files_are_complete() -> None:
    assert [len(file) for file in (_AEAD, _CTR, _INTEGRITY, _PRF, _IKE)] == [18, 9, 11, 6, 1]


@pytest.mark.parametrize("vector", _AEAD, ids=lambda v: v["name"])
def test_aead(vector: dict[str, str]) -> None:
    number = EncrId[vector["cipher"]]
    salt = b"salt"[: ENCRYPTION[number].salt]
    cipher = aead(number, Secret(bytes.fromhex(vector["key"]) + salt))
    nonce, associated, plain, sealed = (
        bytes.fromhex(vector[name]) for name in ("nonce", "associated", "plain", "sealed")
    )
    assert cipher.salt == salt
    assert cipher.encrypt(nonce, plain, associated) == sealed
    assert cipher.decrypt(nonce, sealed, associated) == plain
    assert len(sealed) - len(plain) == ENCRYPTION[number].icv
    for at in range(len(sealed)):
        damaged = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        with pytest.raises(InvalidTag):
            cipher.decrypt(nonce, damaged, associated)
    with pytest.raises(InvalidTag):
        cipher.decrypt(nonce, sealed, associated[:-1])


@pytest.mark.parametrize("vector", _CTR, ids=lambda v: v["name"])
def test_ctr(vector: dict[str, str]) -> None:
    apply = key_stream(Secret(bytes.fromhex(vector["key"] + vector["nonce"])))
    iv, plain, sealed = (bytes.fromhex(vector[name]) for name in ("iv", "plain", "sealed"))
    for _ in range(2):  # the key stream starts anew, in the middle of a block too
        assert apply(iv, plain) == sealed
        assert apply(iv, sealed) == plain
        assert apply(iv, plain[:5]) == sealed[:5]


def test_what_is_not_an_aead_cipher_is_not_used_as_one() -> None:
    with pytest.raises(LocalMisuse, match="not an AEAD cipher"):
        aead(EncrId.ENCR_AES_CTR, Secret(bytes(20)))


@pytest.mark.parametrize("vector", _INTEGRITY, ids=lambda v: v["name"])
def test_integrity(vector: dict[str, str]) -> None:
    number = IntegId[vector["integrity"]]
    key, message = bytes.fromhex(vector["key"]), _octets(vector["message"])
    icv_of = authenticator(number, Secret(key))
    for _ in range(2):
        assert icv_of(message).hex() == vector["mac"][:24]
    assert mac(INTEGRITY[number].mac, key)(message).hex() == vector["mac"]


@pytest.mark.parametrize("number", list(INTEGRITY))
def test_integrity_keys_have_one_size(number: int) -> None:
    row = INTEGRITY[number]
    assert len(authenticator(IntegId.of(number), Secret(bytes(row.key)))(b"")) == row.icv
    for size in (0, row.key - 1, row.key + 1):
        with pytest.raises(LocalMisuse, match=f"takes a key of {row.key} octets, not {size}"):
            authenticator(IntegId.of(number), Secret(bytes(size)))


@pytest.mark.parametrize("vector", _PRF, ids=lambda v: f"{v['prf']}-{len(v['key']) // 2}")
def test_prf(vector: dict[str, str]) -> None:
    key, message = bytes.fromhex(vector["key"]), bytes.fromhex(vector["message"])
    assert prf(PrfId[vector["prf"]], key, message).hex() == vector["output"]


@pytest.mark.parametrize("number", [PrfId.of(number) for number in PRF], ids=lambda n: n.name)
@pytest.mark.parametrize("key_octets", [1, 16, 32, 100])
def test_prf_plus_is_a_chain_of_prf(number: PrfId, key_octets: int) -> None:
    key, seed = SeededRng().octets(key_octets), b"seed"
    block, material = b"", b""
    for count in range(1, 256):
        block = prf(number, key, block + seed + bytes((count,)))
        material += block
    for octets in (0, 1, PRF[number].output, PRF[number].output + 1, len(material)):
        assert prf_plus(number, key, seed, octets) == material[:octets]
    with pytest.raises(LocalMisuse, match="at most 255 blocks"):
        prf_plus(number, key, seed, len(material) + 1)


@pytest.mark.parametrize("number", _AES_PRFS, ids=lambda n: n.name)
def test_aes_prfs_key_skeyseed_with_half_a_key_of_each_nonce(number: PrfId) -> None:
    """RFC 7296, section 2.14."""
    ni, nr = bytes(range(32)), bytes(range(100, 120))
    shared = Secret(b"shared")
    assert skeyseed(number, ni, nr, shared) == prf(number, ni[:8] + nr[:8], b"shared")
    assert skeyseed(number, ni[:8] + bytes(24), nr[:8] + bytes(9), shared) == skeyseed(
        number, ni, nr, shared
    )
    hmac = PrfId.PRF_HMAC_SHA2_256
    assert skeyseed(hmac, ni, nr, shared) == prf(hmac, ni + nr, b"shared")


def test_ike_message_with_chacha20_poly1305() -> None:
    (vector,) = _IKE
    message, payloads = bytes.fromhex(vector["message"]), bytes.fromhex(vector["payloads"])
    front, body = message[:32], message[32:]
    suite = IkeSuite(
        EncrId.ENCR_CHACHA20_POLY1305,
        256,
        IntegId.NONE,
        PrfId.PRF_HMAC_SHA2_256,
        KeId.CURVE25519,
    )
    ours = protection(suite, Secret(bytes.fromhex(vector["key"])), Secret(b""), SeededRng())
    ours._iv._count = int(vector["iv"], 16) - 1  # type: ignore[attr-defined]

    assert ours.sealed_octets(len(payloads)) == len(body)
    assert ours.seal(front, payloads) == body
    assert ours.open(front, body) == payloads
    for at in range(len(body)):
        with pytest.raises(IntegrityFailure):
            ours.open(front, body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :])
