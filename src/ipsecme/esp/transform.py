"""The cryptography of one SA half: AEAD ciphers, AES-CBC, AES-CTR and NULL with integrity.

RFC 4106 (GCM), 4309 (CCM), 4543 (GMAC), 7634 (ChaCha20-Poly1305), 3602 (CBC), 3686 (CTR), 2410
(NULL). Works on what framing left over: a sealer takes payload with trailer and a sequence number
and returns the ESP packet, an opener takes the ESP packet and its full sequence number and returns
payload with trailer. Sequence numbers, windows and trailers are decided elsewhere.

Where the IV must only be different each time it is the sequence number, which never repeats under
one key. Sealers and openers are closures over their keys, because a packet costs microseconds here:
a closure's variables are the cheapest that Python has, and it cannot be copied or pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ipsecme.base import Incompatible, LocalMisuse
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
from ipsecme.crypto.cipher import aead, key_stream
from ipsecme.crypto.integrity import authenticator
from ipsecme.wire.esp import HEADER_OCTETS, TRAILER_OCTETS
from ipsecme.wire.numbers import EncrId

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.crypto.suite import EspSuite
    from ipsecme.policy.parameters import SaHalf

__all__ = ["Opener", "Sealer", "Sizes", "opener", "sealer", "sizes"]

Sealer = Callable[[bytes, int], bytes]
"""Takes payload with trailer and the sequence number, returns the ESP packet."""

Opener = Callable[[bytes, int], "bytes | None"]
"""Takes an ESP packet of legal length and its sequence number; None when the ICV does not fit."""

_WITH_INTEGRITY = frozenset((EncrId.ENCR_AES_CBC, EncrId.ENCR_AES_CTR, EncrId.ENCR_NULL))
_BLOCK = 16
_IVS_AT_ONCE = 256
_COUNTED_IV = 8
_BODY = HEADER_OCTETS + _COUNTED_IV  # where the ciphertext starts after such an IV
_pack_sequence = Struct(">Q").pack


class Sizes(NamedTuple):
    """Sizes in octets that follow from a suite.

    `alignment` is what payload and trailer together are padded to, `least` the shortest legal ESP
    packet, `overhead` what surrounds payload and trailer.
    """

    iv: int
    icv: int
    alignment: int
    block: int
    least: int

    @property
    def overhead(self) -> int:
        """Octets of header, IV and ICV."""
        return HEADER_OCTETS + self.iv + self.icv


def sizes(suite: EspSuite) -> Sizes:
    """Return the sizes; raises `Incompatible` for a suite that ESP here cannot do."""
    row = ENCRYPTION.get(suite.encr)
    if row is None or suite.key_bits not in row.key_bits:
        raise Incompatible(f"ESP with {suite.encr.name} and a key of {suite.key_bits} bits")
    if row.is_aead:
        if suite.integ:
            raise Incompatible(f"ESP with {suite.encr.name} and {suite.integ.name} besides")
        icv = row.icv
    else:
        if suite.encr not in _WITH_INTEGRITY or suite.integ not in INTEGRITY:
            # Encryption without integrity is not protection (RFC 8221, section 4).
            raise Incompatible(f"ESP with {suite.encr.name} and integrity {suite.integ.name}")
        icv = INTEGRITY[suite.integ].icv
    least_plain = max(row.block, TRAILER_OCTETS)
    alignment = max(row.block, 4)
    return Sizes(row.iv, icv, alignment, row.block, HEADER_OCTETS + row.iv + least_plain + icv)


def sealer(suite: EspSuite, half: SaHalf, rng: Rng) -> Sealer:
    """Return the sealer for one SA half. `rng` gives CBC its unpredictable IVs."""
    _check_keys(suite, half)
    if suite.encr == EncrId.ENCR_NULL_AUTH_AES_GMAC:
        return _gmac_sealer(suite, half)
    if ENCRYPTION[suite.encr].is_aead:
        return _aead_sealer(suite, half)
    if suite.encr == EncrId.ENCR_AES_CBC:
        return _mac_sealer(suite, half, _cbc_encryption(half, rng))
    return _mac_sealer(suite, half, _counted_encryption(suite, half))


def opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener for one SA half."""
    _check_keys(suite, half)
    if suite.encr == EncrId.ENCR_NULL_AUTH_AES_GMAC:
        return _gmac_opener(suite, half)
    if ENCRYPTION[suite.encr].is_aead:
        return _aead_opener(suite, half)
    return _mac_opener(suite, half, _decryption(suite, half))


def _check_keys(suite: EspSuite, half: SaHalf) -> None:
    sizes(suite)
    if len(half.encryption_key) != suite.encryption_key_octets:
        raise LocalMisuse(
            f"{len(half.encryption_key)} octets of encryption key; {suite} takes "
            f"{suite.encryption_key_octets}"
        )
    if len(half.integrity_key) != suite.integrity_key_octets:
        raise LocalMisuse(
            f"{len(half.integrity_key)} octets of integrity key; {suite} takes "
            f"{suite.integrity_key_octets}"
        )


# Combined-mode ciphers. What they authenticate besides is SPI and sequence number, with ESN all 64
# bits of it (RFC 4106, section 5).


def _aead_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    encrypt, _, salt = aead(suite.encr, half.encryption_key)
    spi = half.spi.to_bytes(4)

    def seal(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        header = spi + iv[4:]
        return header + iv + encrypt(salt + iv, plain, header)

    def seal_esn(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        return spi + iv[4:] + iv + encrypt(salt + iv, plain, spi + iv)

    return seal_esn if suite.esn else seal


def _aead_opener(suite: EspSuite, half: SaHalf) -> Opener:
    _, decrypt, salt = aead(suite.encr, half.encryption_key)
    spi = half.spi.to_bytes(4)

    def open_(packet: bytes, sequence: int) -> bytes | None:
        del sequence
        try:
            return decrypt(salt + packet[8:16], packet[16:], packet[:8])
        except InvalidTag:
            return None

    def open_esn(packet: bytes, sequence: int) -> bytes | None:
        try:
            return decrypt(salt + packet[8:16], packet[16:], spi + _pack_sequence(sequence))
        except InvalidTag:
            return None

    return open_esn if suite.esn else open_


# GMAC encrypts nothing and authenticates the IV and everything after it, too (RFC 4543, section 3).


def _gmac_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    encrypt, _, salt = aead(suite.encr, half.encryption_key)
    spi = half.spi.to_bytes(4)
    esn = suite.esn

    def seal(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        body = iv + plain
        number = iv if esn else iv[4:]
        return spi + iv[4:] + body + encrypt(salt + iv, b"", spi + number + body)

    return seal


def _gmac_opener(suite: EspSuite, half: SaHalf) -> Opener:
    _, decrypt, salt = aead(suite.encr, half.encryption_key)
    spi = half.spi.to_bytes(4)
    icv = ENCRYPTION[suite.encr].icv
    esn = suite.esn

    def open_(packet: bytes, sequence: int) -> bytes | None:
        number = _pack_sequence(sequence) if esn else packet[4:8]
        covered = spi + number + packet[8:-icv]
        try:
            decrypt(salt + packet[8:16], packet[-icv:], covered)
        except InvalidTag:
            return None
        return packet[_BODY:-icv]

    return open_


# Encryption first, then integrity over all that will be sent, with ESN followed by the upper half
# of the sequence number, which is not sent (RFC 4303, section 3.3.2.1).

_Encryption = Callable[[bytes, bytes], bytes]
"""Takes payload with trailer and the 8 octets of the sequence number, returns IV and ciphertext."""

_Decryption = Callable[[bytes], bytes]
"""Takes IV and ciphertext, returns payload with trailer."""


def _mac_sealer(suite: EspSuite, half: SaHalf, encrypt: _Encryption) -> Sealer:
    icv_of = authenticator(suite.integ, half.integrity_key)
    spi = half.spi.to_bytes(4)
    esn = suite.esn

    def seal(plain: bytes, sequence: int) -> bytes:
        number = _pack_sequence(sequence)
        packet = spi + number[4:] + encrypt(plain, number)
        return packet + icv_of(packet + number[:4] if esn else packet)

    return seal


def _mac_opener(suite: EspSuite, half: SaHalf, decrypt: _Decryption) -> Opener:
    icv_of = authenticator(suite.integ, half.integrity_key)
    icv = INTEGRITY[suite.integ].icv
    esn = suite.esn

    def open_(packet: bytes, sequence: int) -> bytes | None:
        sealed = packet[:-icv]
        expected = icv_of(sealed + _pack_sequence(sequence)[:4] if esn else sealed)
        if not compare_digest(expected, packet[-icv:]):
            return None
        return decrypt(sealed[HEADER_OCTETS:])

    return open_


def _cbc_encryption(half: SaHalf, rng: Rng) -> _Encryption:
    """One CBC encryptor runs on from packet to packet.

    Each packet begins with a block of fresh random octets, whose ciphertext is the packet's IV:
    as unpredictable as the random block itself, and the chain goes on from it exactly as CBC
    demands. That saves making a cipher context for each packet, which costs more than encrypting.
    """
    update = _cbc(half).encryptor().update
    seeds: list[bytes] = []

    def refill() -> bytes:
        octets = rng.octets(_BLOCK * _IVS_AT_ONCE)
        seeds.extend(octets[at : at + _BLOCK] for at in range(0, len(octets), _BLOCK))
        return seeds.pop()

    def encrypt(plain: bytes, number: bytes) -> bytes:
        del number
        return update((seeds.pop() if seeds else refill()) + plain)

    return encrypt


def _counted_encryption(suite: EspSuite, half: SaHalf) -> _Encryption:
    if suite.encr == EncrId.ENCR_NULL:
        return lambda plain, _number: plain
    apply = key_stream(half.encryption_key)
    return lambda plain, number: number + apply(number, plain)


def _decryption(suite: EspSuite, half: SaHalf) -> _Decryption:
    if suite.encr == EncrId.ENCR_NULL:
        return lambda sealed: sealed
    if suite.encr == EncrId.ENCR_AES_CTR:
        apply = key_stream(half.encryption_key)
        return lambda sealed: apply(sealed[:_COUNTED_IV], sealed[_COUNTED_IV:])
    # One CBC decryptor runs on, too. The IV goes through it as a block: the output for that block
    # is noise, which is cut off, and the chain is where the first ciphertext block needs it.
    update = _cbc(half).decryptor().update
    return lambda sealed: update(sealed)[_BLOCK:]


def _cbc(half: SaHalf) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(half.encryption_key.reveal()), modes.CBC(bytes(_BLOCK)))
