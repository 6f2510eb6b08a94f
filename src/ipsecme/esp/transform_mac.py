"""ESP with a separate integrity algorithm: AES-CBC (RFC 3602), AES-CTR (RFC 3686), NULL (RFC 2410).

The ICV covers the packet from the SPI to the trailer, and with ESN the upper half of the sequence
number after it (RFC 4303, section 2.2.1). It is checked before anything is deciphered.
"""

from __future__ import annotations

from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ipsecme.crypto.algorithms import INTEGRITY
from ipsecme.crypto.cipher import key_stream
from ipsecme.crypto.integrity import authenticator
from ipsecme.wire.esp import HEADER_OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.base import Rng
    from ipsecme.crypto.suite import EspSuite
    from ipsecme.esp.transform import Opener, Sealer
    from ipsecme.policy.parameters import SaHalf

__all__ = [
    "cbc_opener",
    "cbc_sealer",
    "ctr_opener",
    "ctr_sealer",
    "null_opener",
    "null_sealer",
]

_BLOCK = 16
_IVS_AT_ONCE = 256
_CTR_PAYLOAD = HEADER_OCTETS + 8  # where it starts, after the IV
_pack_sequence = Struct(">Q").pack


def cbc_sealer(suite: EspSuite, half: SaHalf, rng: Rng) -> Sealer:
    """Return a sealer with one CBC encryptor that runs on from packet to packet.

    Each packet begins with a block of fresh random octets, whose ciphertext is the packet's IV:
    as unpredictable as the random block itself, and the chain goes on from it exactly as CBC
    demands. That saves making a cipher context for each packet, which costs more than encrypting.
    """
    update = _cbc_cipher(half).encryptor().update
    icv_of = authenticator(suite.integ, half.integrity_key)
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
        return packet + icv_of(packet + number[:4] if esn else packet)

    return seal


def cbc_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return an opener with one CBC decryptor that runs on, too.

    The IV goes through it as a block: the output for that block is noise, which is cut off, and
    the chain is where the packet's first ciphertext block needs it.
    """
    update = _cbc_cipher(half).decryptor().update
    verified = _verifier(suite, half)

    def open_(packet: bytes, sequence: int) -> bytes | None:
        sealed = verified(packet, sequence)
        return None if sealed is None else update(sealed[HEADER_OCTETS:])[_BLOCK:]

    return open_


def ctr_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    """Return the sealer of AES-CTR, whose IV is the sequence number: it never repeats."""
    apply = key_stream(half.encryption_key)
    icv_of = authenticator(suite.integ, half.integrity_key)
    spi = half.spi.to_bytes(4)
    esn = suite.esn

    def seal(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        packet = spi + iv[4:] + iv + apply(iv, plain)
        return packet + icv_of(packet + iv[:4] if esn else packet)

    return seal


def ctr_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener of AES-CTR."""
    apply = key_stream(half.encryption_key)
    verified = _verifier(suite, half)

    def open_(packet: bytes, sequence: int) -> bytes | None:
        sealed = verified(packet, sequence)
        if sealed is None:
            return None
        return apply(sealed[HEADER_OCTETS:_CTR_PAYLOAD], sealed[_CTR_PAYLOAD:])

    return open_


def null_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    """Return the sealer that authenticates and hides nothing."""
    icv_of = authenticator(suite.integ, half.integrity_key)
    spi = half.spi.to_bytes(4)
    esn = suite.esn

    def seal(plain: bytes, sequence: int) -> bytes:
        number = _pack_sequence(sequence)
        packet = spi + number[4:] + plain
        return packet + icv_of(packet + number[:4] if esn else packet)

    return seal


def null_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener to `null_sealer`."""
    verified = _verifier(suite, half)

    def open_(packet: bytes, sequence: int) -> bytes | None:
        sealed = verified(packet, sequence)
        return None if sealed is None else sealed[HEADER_OCTETS:]

    return open_


def _verifier(suite: EspSuite, half: SaHalf) -> Callable[[bytes, int], bytes | None]:
    """Return what checks the ICV of a packet and cuts it off; None when it does not fit."""
    icv_of = authenticator(suite.integ, half.integrity_key)
    icv = INTEGRITY[suite.integ].icv
    esn = suite.esn

    def verified(packet: bytes, sequence: int) -> bytes | None:
        covered = packet[:-icv]
        expected = icv_of(covered + _pack_sequence(sequence)[:4] if esn else covered)
        return covered if compare_digest(expected, packet[-icv:]) else None

    return verified


def _cbc_cipher(half: SaHalf) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(half.encryption_key.reveal()), modes.CBC(bytes(_BLOCK)))
