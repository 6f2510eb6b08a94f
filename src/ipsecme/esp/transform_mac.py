"""ESP with a separate integrity algorithm: AES-CBC (RFC 3602), AES-CTR (RFC 3686), NULL (RFC 2410).

Encryption comes first, then integrity over all that will be sent, with ESN followed by the upper
half of the sequence number, which is not sent (RFC 4303, section 3.3.2.1). The ICV is checked
before anything is deciphered.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ipsecme.crypto.algorithms import INTEGRITY
from ipsecme.crypto.cipher import key_stream
from ipsecme.crypto.integrity import authenticator
from ipsecme.wire.esp import HEADER_OCTETS
from ipsecme.wire.numbers import EncrId

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.crypto.suite import EspSuite
    from ipsecme.esp.transform import Opener, Sealer
    from ipsecme.policy.parameters import SaHalf

__all__ = ["mac_opener", "mac_sealer"]

_BLOCK = 16
_IVS_AT_ONCE = 256
_COUNTED_IV = 8
_pack_sequence = Struct(">Q").pack

_Encryption = Callable[[bytes, bytes], bytes]
"""Takes payload with trailer and the 8 octets of the sequence number, returns IV and ciphertext."""

_Decryption = Callable[[bytes], bytes]
"""Takes IV and ciphertext, returns payload with trailer."""


def mac_sealer(suite: EspSuite, half: SaHalf, rng: Rng) -> Sealer:
    """Return the sealer of a cipher, or none, with an integrity algorithm."""
    encrypt = _encryption(suite, half, rng)
    icv_of = authenticator(suite.integ, half.integrity_key)
    spi = half.spi.to_bytes(4)
    esn = suite.esn

    def seal(plain: bytes, sequence: int) -> bytes:
        number = _pack_sequence(sequence)
        packet = spi + number[4:] + encrypt(plain, number)
        return packet + icv_of(packet + number[:4] if esn else packet)

    return seal


def mac_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener of a cipher, or none, with an integrity algorithm."""
    decrypt = _decryption(suite, half)
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


def _encryption(suite: EspSuite, half: SaHalf, rng: Rng) -> _Encryption:
    if suite.encr == EncrId.ENCR_NULL:
        return lambda plain, _number: plain
    if suite.encr == EncrId.ENCR_AES_CTR:
        apply = key_stream(half.encryption_key)
        return lambda plain, number: number + apply(number, plain)
    return _cbc_encryption(half, rng)


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
