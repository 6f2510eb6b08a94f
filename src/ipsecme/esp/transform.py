"""The cryptography of one SA half: AES-GCM (RFC 4106), AES-CBC with HMAC (RFC 3602, 4868).

Works on what framing left over: a sealer takes payload with trailer and a sequence number and
returns the ESP packet, an opener takes the ESP packet and its full sequence number and returns
payload with trailer. Sequence numbers, windows and trailers are decided elsewhere.

Sealers and openers are closures over their keys, because a packet costs microseconds here: a
closure's variables are the cheapest that Python has, and it cannot be copied or pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ipsecme.base import Incompatible, LocalMisuse
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
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

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_BLOCK = 16
_IVS_AT_ONCE = 256
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
        if suite.integ not in INTEGRITY:
            # Encryption without integrity is not protection (RFC 8221, section 4).
            raise Incompatible(f"ESP with {suite.encr.name} and integrity {suite.integ.name}")
        icv = INTEGRITY[suite.integ].icv
    least_plain = max(row.block, TRAILER_OCTETS)
    alignment = max(row.block, 4)
    return Sizes(row.iv, icv, alignment, row.block, HEADER_OCTETS + row.iv + least_plain + icv)


def sealer(suite: EspSuite, half: SaHalf, rng: Rng) -> Sealer:
    """Return the sealer for one SA half. `rng` gives CBC its unpredictable IVs."""
    _check_keys(suite, half)
    if suite.encr == EncrId.ENCR_AES_GCM_16:
        return _gcm_sealer(suite, half)
    return _cbc_sealer(suite, half, rng)


def opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener for one SA half."""
    _check_keys(suite, half)
    if suite.encr == EncrId.ENCR_AES_GCM_16:
        return _gcm_opener(suite, half)
    return _cbc_opener(suite, half)


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


def _gcm_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    octets = half.encryption_key.reveal()
    encrypt, salt = AESGCM(octets[:-4]).encrypt, octets[-4:]
    spi = half.spi.to_bytes(4)

    # The sequence number is the IV: it never repeats under one key (RFC 4106, section 3.1).
    def seal(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        header = spi + iv[4:]
        return header + iv + encrypt(salt + iv, plain, header)

    def seal_esn(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        return spi + iv[4:] + iv + encrypt(salt + iv, plain, spi + iv)

    return seal_esn if suite.esn else seal


def _gcm_opener(suite: EspSuite, half: SaHalf) -> Opener:
    octets = half.encryption_key.reveal()
    decrypt, salt = AESGCM(octets[:-4]).decrypt, octets[-4:]
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


def _cbc_sealer(suite: EspSuite, half: SaHalf, rng: Rng) -> Sealer:
    """One CBC encryptor runs on from packet to packet.

    Each packet begins with a block of fresh random octets, whose ciphertext is the packet's IV:
    as unpredictable as the random block itself, and the chain goes on from it exactly as CBC
    demands. That saves making a cipher context for each packet, which costs more than encrypting.
    """
    update = _cbc_cipher(half, bytes(_BLOCK)).encryptor().update
    authenticator, icv = _authenticator(suite, half)
    spi = half.spi.to_bytes(4)
    esn = suite.esn
    seeds: list[bytes] = []

    def refill() -> bytes:
        octets = rng.octets(_BLOCK * _IVS_AT_ONCE)
        seeds.extend(octets[at : at + _BLOCK] for at in range(0, len(octets), _BLOCK))
        return seeds.pop()

    def seal(plain: bytes, sequence: int) -> bytes:
        number = _pack_sequence(sequence)
        packet = spi + number[4:] + update((seeds.pop() if seeds else refill()) + plain)
        mac = authenticator.copy()
        mac.update(packet + number[:4] if esn else packet)
        return packet + mac.finalize()[:icv]

    return seal


def _cbc_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """One CBC decryptor runs on, too.

    The IV goes through it as a block: the output for that block is noise, which is cut off, and
    the chain is where the packet's first ciphertext block needs it.
    """
    update = _cbc_cipher(half, bytes(_BLOCK)).decryptor().update
    authenticator, icv = _authenticator(suite, half)
    esn = suite.esn

    def open_(packet: bytes, sequence: int) -> bytes | None:
        sealed = packet[:-icv]
        mac = authenticator.copy()
        mac.update(sealed + _pack_sequence(sequence)[:4] if esn else sealed)
        if not compare_digest(mac.finalize()[:icv], packet[-icv:]):
            return None
        return update(sealed[HEADER_OCTETS:])[_BLOCK:]

    return open_


def _cbc_cipher(half: SaHalf, iv: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(half.encryption_key.reveal()), modes.CBC(iv))


def _authenticator(suite: EspSuite, half: SaHalf) -> tuple[hmac.HMAC, int]:
    row = INTEGRITY[suite.integ]
    return hmac.HMAC(half.integrity_key.reveal(), _HASHES[row.hash_name]()), row.icv
