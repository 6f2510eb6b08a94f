"""Ciphers that need a nonce of salt and IV: AEAD ones and AES-CTR, for IKE and ESP alike.

AES-GCM (RFC 4106, 5282), AES-CCM (RFC 4309, 5282), ChaCha20-Poly1305 (RFC 7634) and AES-CTR
(RFC 3686, 5930). The salt ends the key material; the caller sees that an IV of 8 octets is never
used twice under one key. AES-CBC, which wants random IVs, is where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from ipsecme.base import LocalMisuse
from ipsecme.crypto.algorithms import ENCRYPTION
from ipsecme.wire.numbers import EncrId

if TYPE_CHECKING:
    from ipsecme.base import Secret

__all__ = ["Aead", "KeyStream", "aead", "key_stream"]

_FIRST_BLOCK = (1).to_bytes(4)  # RFC 3686, section 4

Transform = Callable[[bytes, bytes, bytes], bytes]
KeyStream = Callable[[bytes, bytes], bytes]
"""Takes IV and octets, and returns them with the key stream added: both ways are the same."""


class Aead(NamedTuple):
    """A keyed AEAD cipher. The nonce is `salt` and IV.

    `encrypt(nonce, plain, associated)` returns ciphertext and ICV; `decrypt(nonce, sealed,
    associated)` takes both together and raises `cryptography.exceptions.InvalidTag`.
    """

    encrypt: Transform
    decrypt: Transform
    salt: bytes


def aead(number: EncrId, key: Secret) -> Aead:
    """Return the cipher for key material that ends in the salt."""
    octets = key.reveal()
    row = ENCRYPTION[number]
    key_octets, salt = octets[: -row.salt], octets[-row.salt :]
    if number == EncrId.ENCR_CHACHA20_POLY1305:
        chacha = ChaCha20Poly1305(key_octets)
        return Aead(chacha.encrypt, chacha.decrypt, salt)
    if number in {EncrId.ENCR_AES_CCM_8, EncrId.ENCR_AES_CCM_12, EncrId.ENCR_AES_CCM_16}:
        ccm = AESCCM(key_octets, tag_length=row.icv)
        return Aead(ccm.encrypt, ccm.decrypt, salt)
    if number in {EncrId.ENCR_AES_GCM_8, EncrId.ENCR_AES_GCM_12}:
        return Aead(*_short_gcm(key_octets, row.icv), salt)
    if number in {EncrId.ENCR_AES_GCM_16, EncrId.ENCR_NULL_AUTH_AES_GMAC}:
        gcm = AESGCM(key_octets)
        return Aead(gcm.encrypt, gcm.decrypt, salt)
    raise LocalMisuse(f"{number.name} is not an AEAD cipher")


def _short_gcm(key: bytes, icv: int) -> tuple[Transform, Transform]:
    """Return AES-GCM with a shortened ICV, which the library's one-shot functions do not offer.

    The library compares the shortened tag in constant time, and nothing that was decrypted is
    handed on before.
    """
    algorithm = algorithms.AES(key)

    def encrypt(nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        encryptor = Cipher(algorithm, modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated)
        sealed = encryptor.update(plain) + encryptor.finalize()
        return sealed + encryptor.tag[:icv]

    def decrypt(nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        mode = modes.GCM(nonce, sealed[-icv:], min_tag_length=icv)
        decryptor = Cipher(algorithm, mode).decryptor()
        decryptor.authenticate_additional_data(associated)
        return decryptor.update(sealed[:-icv]) + decryptor.finalize()

    return encrypt, decrypt


def key_stream(key: Secret) -> KeyStream:
    """Return AES-CTR for key material that ends in the nonce (RFC 3686, section 5.1).

    The counter block is nonce, IV and a count that starts with 1.
    """
    salt = ENCRYPTION[EncrId.ENCR_AES_CTR].salt
    octets = key.reveal()
    nonce = octets[-salt:]
    algorithm = algorithms.AES(octets[:-salt])
    context = Cipher(algorithm, modes.CTR(bytes(16))).encryptor()

    def apply(iv: bytes, data: bytes) -> bytes:
        context.reset_nonce(nonce + iv + _FIRST_BLOCK)
        return context.update(data)

    return apply
