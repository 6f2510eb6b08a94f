"""What each algorithm needs: keys, salts, IVs, blocks and ICVs, in octets unless named bits.

The tables are the whitelist. A transform that is not here is never offered, chosen or computed
with, and what the installed library cannot compute is not here. Weak algorithms never are: DES,
3DES, MD5, SHA-1, MODP groups below 2048 bits and those with small subgroups (RFC 8221, RFC 8247).

Sources: RFC 2410, 3526, 3566, 3602, 3686, 4106, 4309, 4434, 4494, 4543, 4615, 4868, 5282, 5903,
5930, 7296, 7634, 8031.
"""

from __future__ import annotations

from typing import NamedTuple

from ipsecme.crypto.algorithms_available import (
    ENCRYPTION_TRIALS,
    INTEGRITY_TRIALS,
    KEY_EXCHANGE_TRIALS,
    PRF_TRIALS,
    available,
)
from ipsecme.crypto.modp import BITS
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

__all__ = ["ENCRYPTION", "INTEGRITY", "KEY_EXCHANGE", "PRF", "Encryption", "Integrity", "Prf"]

_AES_KEYS = (128, 192, 256)


class Encryption(NamedTuple):
    """An encryption algorithm. `icv` is not zero for AEAD ciphers, which bring their own integrity.

    `salt` octets end the key material. `key_bits` lists the allowed sizes, salt not counted; when
    `key_attribute` is set, the transform must carry the Key Length attribute, otherwise it must
    not. `esp_only` ones hide nothing and are no protection for IKE.
    """

    key_bits: tuple[int, ...]
    salt: int
    iv: int
    block: int
    icv: int
    key_attribute: bool
    esp_only: bool = False

    @property
    def is_aead(self) -> bool:
        """True for combined-mode ciphers."""
        return self.icv > 0


class Integrity(NamedTuple):
    """An integrity algorithm: key and truncated ICV, and the function under it."""

    key: int
    icv: int
    mac: str


class Prf(NamedTuple):
    """A pseudorandom function: its output, which is also its preferred key size, and what makes it.

    `skeyseed_nonce` is how much of each nonce keys SKEYSEED, None for all of it (RFC 7296,
    section 2.14: the fixed-length keys of the AES functions have room for 8 octets of each).
    """

    output: int
    mac: str
    skeyseed_nonce: int | None = None


_ENCRYPTION: dict[int, Encryption] = {
    EncrId.ENCR_NULL: Encryption((0,), 0, 0, 1, 0, key_attribute=False, esp_only=True),
    EncrId.ENCR_AES_CBC: Encryption(_AES_KEYS, 0, 16, 16, 0, key_attribute=True),
    EncrId.ENCR_AES_CTR: Encryption(_AES_KEYS, 4, 8, 1, 0, key_attribute=True),
    EncrId.ENCR_AES_CCM_8: Encryption(_AES_KEYS, 3, 8, 1, 8, key_attribute=True),
    EncrId.ENCR_AES_CCM_12: Encryption(_AES_KEYS, 3, 8, 1, 12, key_attribute=True),
    EncrId.ENCR_AES_CCM_16: Encryption(_AES_KEYS, 3, 8, 1, 16, key_attribute=True),
    EncrId.ENCR_AES_GCM_8: Encryption(_AES_KEYS, 4, 8, 1, 8, key_attribute=True),
    EncrId.ENCR_AES_GCM_12: Encryption(_AES_KEYS, 4, 8, 1, 12, key_attribute=True),
    EncrId.ENCR_AES_GCM_16: Encryption(_AES_KEYS, 4, 8, 1, 16, key_attribute=True),
    EncrId.ENCR_NULL_AUTH_AES_GMAC: Encryption(
        _AES_KEYS, 4, 8, 1, 16, key_attribute=True, esp_only=True
    ),
    EncrId.ENCR_CHACHA20_POLY1305: Encryption((256,), 4, 8, 1, 16, key_attribute=False),
}

_INTEGRITY: dict[int, Integrity] = {
    IntegId.AUTH_AES_XCBC_96: Integrity(16, 12, "xcbc"),
    IntegId.AUTH_AES_CMAC_96: Integrity(16, 12, "cmac"),
    IntegId.AUTH_HMAC_SHA2_256_128: Integrity(32, 16, "sha256"),
    IntegId.AUTH_HMAC_SHA2_384_192: Integrity(48, 24, "sha384"),
    IntegId.AUTH_HMAC_SHA2_512_256: Integrity(64, 32, "sha512"),
}

_PRF: dict[int, Prf] = {
    PrfId.PRF_AES128_XCBC: Prf(16, "xcbc", skeyseed_nonce=8),
    PrfId.PRF_AES128_CMAC: Prf(16, "cmac", skeyseed_nonce=8),
    PrfId.PRF_HMAC_SHA2_256: Prf(32, "sha256"),
    PrfId.PRF_HMAC_SHA2_384: Prf(48, "sha384"),
    PrfId.PRF_HMAC_SHA2_512: Prf(64, "sha512"),
}

_KEY_EXCHANGE: dict[int, int] = {
    KeId.CURVE25519: 32,
    KeId.CURVE448: 56,
    KeId.ECP_256: 64,
    KeId.ECP_384: 96,
    KeId.ECP_521: 132,
    **{method: bits // 8 for method, bits in BITS.items()},
}

ENCRYPTION: dict[int, Encryption] = available(_ENCRYPTION, ENCRYPTION_TRIALS)
INTEGRITY: dict[int, Integrity] = available(_INTEGRITY, INTEGRITY_TRIALS)
PRF: dict[int, Prf] = available(_PRF, PRF_TRIALS)
KEY_EXCHANGE: dict[int, int] = available(_KEY_EXCHANGE, KEY_EXCHANGE_TRIALS)
"""Key Exchange methods and the size of their public values on the wire."""
