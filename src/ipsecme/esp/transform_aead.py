"""Combined-mode ciphers in ESP, and AES-GMAC, which hides nothing.

AES-GCM (RFC 4106), AES-CCM (RFC 4309), ChaCha20-Poly1305 (RFC 7634) and AES-GMAC (RFC 4543) have an
IV of 8 octets, and the nonce is salt and IV. Associated data are SPI and sequence number, all 64
bits of it with ESN. The sequence number is the IV too: it never repeats under one key (RFC 4106,
section 3.1).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from ipsecme.crypto.algorithms import ENCRYPTION
from ipsecme.crypto.cipher import aead

if TYPE_CHECKING:
    from ipsecme.crypto.suite import EspSuite
    from ipsecme.esp.transform import Opener, Sealer
    from ipsecme.policy.parameters import SaHalf

__all__ = ["aead_opener", "aead_sealer", "gmac_opener", "gmac_sealer"]

_pack_sequence = Struct(">Q").pack


def aead_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    """Return the sealer of a combined-mode cipher."""
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


def aead_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener of a combined-mode cipher."""
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


def gmac_sealer(suite: EspSuite, half: SaHalf) -> Sealer:
    """Return the sealer that only authenticates: SPI, sequence number, IV and payload.

    That is AES-GCM of nothing with all of them as associated data (RFC 4543, sections 3 and 4).
    """
    encrypt, _, salt = aead(suite.encr, half.encryption_key)
    spi = half.spi.to_bytes(4)
    esn = suite.esn

    def seal(plain: bytes, sequence: int) -> bytes:
        iv = _pack_sequence(sequence)
        header, body = spi + iv[4:], iv + plain
        return header + body + encrypt(salt + iv, b"", (spi + iv if esn else header) + body)

    return seal


def gmac_opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener to `gmac_sealer`."""
    _, decrypt, salt = aead(suite.encr, half.encryption_key)
    spi = half.spi.to_bytes(4)
    icv = ENCRYPTION[suite.encr].icv
    esn = suite.esn

    def open_(packet: bytes, sequence: int) -> bytes | None:
        header = spi + _pack_sequence(sequence) if esn else packet[:8]
        try:
            decrypt(salt + packet[8:16], packet[-icv:], header + packet[8:-icv])
        except InvalidTag:
            return None
        return packet[16:-icv]

    return open_
