"""Known answers for the cryptography of ESP, from text files with their sources."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ipsecme.base import Secret
from ipsecme.crypto.suite import EspSuite
from ipsecme.esp.transform import opener, sealer
from ipsecme.policy.parameters import SaHalf
from ipsecme.wire.numbers import EncrId, IntegId
from support.esp import SeededRng
from support.vectors import read_vectors

_AEAD = [
    vector
    for name in ("gcm", "chacha20poly1305", "gmac")
    for vector in read_vectors(f"esp_{name}.txt")
]
_CBC = read_vectors("esp_cbc.txt")
_INTEGRITY_KEY = bytes(range(32))


class _OneIv:
    """Makes the first IV of a CBC sealer come out as chosen.

    The sealer's IV is the ciphertext of its first random block, chained to zeros at the start.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()
        self._block = decryptor.update(iv)

    def octets(self, count: int) -> bytes:
        return self._block * (count // 16)

    def fraction(self) -> float:
        return 0.0


def test_the_vector_files_are_complete() -> None:
    assert len(_AEAD) == 4
    assert len(_CBC) == 4


@pytest.mark.parametrize("vector", _AEAD, ids=lambda v: v["name"])
def test_aead_packets_open_to_the_published_plaintext(vector: dict[str, str]) -> None:
    key = bytes.fromhex(vector["key"] + vector["salt"])
    suite = EspSuite(
        EncrId[vector["cipher"]], 8 * (len(key) - 4), IntegId.NONE, esn=vector["esn"] == "yes"
    )
    half = SaHalf(int(vector["spi"], 16), Secret(key), Secret(b""))
    sequence = int(vector["sequence"], 16)
    low = (sequence & 0xFFFFFFFF).to_bytes(4)
    packet = bytes.fromhex(vector["spi"]) + low + bytes.fromhex(vector["iv"] + vector["sealed"])

    open_ = opener(suite, half)

    assert open_(packet, sequence) == bytes.fromhex(vector["plain"])
    for at in range(len(packet)):
        damaged = packet[:at] + bytes((packet[at] ^ 1,)) + packet[at + 1 :]
        in_unread_header = suite.esn and at < 8  # there the SA's own SPI and number are used
        assert (open_(damaged, sequence) is None) is not in_unread_header


def _cbc_parts(vector: dict[str, str]) -> tuple[EspSuite, SaHalf, bytes]:
    suite = EspSuite(EncrId.ENCR_AES_CBC, 128, IntegId.AUTH_HMAC_SHA2_256_128, esn=False)
    key = bytes.fromhex(vector["key"])
    half = SaHalf(int(vector["spi"], 16), Secret(key), Secret(_INTEGRITY_KEY))
    packet = bytes.fromhex(vector["spi"] + vector["sequence"] + vector["iv"] + vector["sealed"])
    icv = hmac.digest(_INTEGRITY_KEY, packet, hashlib.sha256)[:16]
    return suite, half, packet + icv


@pytest.mark.parametrize("vector", _CBC, ids=lambda v: v["name"])
def test_cbc_packets_open_to_the_published_plaintext(vector: dict[str, str]) -> None:
    suite, half, packet = _cbc_parts(vector)
    sequence = int(vector["sequence"], 16)

    open_ = opener(suite, half)

    assert open_(packet, sequence) == bytes.fromhex(vector["plain"])
    assert open_(packet, sequence) == bytes.fromhex(vector["plain"]), "the chain starts anew"
    for at in range(len(packet)):
        damaged = packet[:at] + bytes((packet[at] ^ 1,)) + packet[at + 1 :]
        assert open_(damaged, sequence) is None


@pytest.mark.parametrize("vector", _CBC, ids=lambda v: v["name"])
def test_cbc_seals_to_the_published_packet(vector: dict[str, str]) -> None:
    suite, half, packet = _cbc_parts(vector)
    rng = _OneIv(half.encryption_key.reveal(), bytes.fromhex(vector["iv"]))

    seal = sealer(suite, half, rng)

    sealed = seal(bytes.fromhex(vector["plain"]), int(vector["sequence"], 16))
    assert sealed == packet


def test_cbc_ivs_never_repeat_and_differ_from_the_random_octets() -> None:
    suite, half, _ = _cbc_parts(_CBC[0])
    rng = SeededRng()
    drawn: set[bytes] = set()

    class Watched:
        def octets(self, count: int) -> bytes:
            octets = rng.octets(count)
            drawn.update(octets[at : at + 16] for at in range(0, count, 16))
            return octets

        def fraction(self) -> float:
            return 0.0

    seal = sealer(suite, half, Watched())
    ivs = [seal(bytes(32), number)[8:24] for number in range(1, 1001)]

    assert len(set(ivs)) == len(ivs)
    assert not drawn & set(ivs)
    assert len(drawn) >= len(ivs)


def test_gcm_uses_the_sequence_number_as_iv() -> None:
    suite = EspSuite(EncrId.ENCR_AES_GCM_16, 128, IntegId.NONE, esn=False)
    half = SaHalf(0x4321, Secret(bytes(20)), Secret(b""))

    sealed = sealer(suite, half, SeededRng())(bytes(4), 5)

    assert sealed[:16] == bytes.fromhex("00004321 00000005 0000000000000005")
