"""What each algorithm needs: keys, salts, IVs, blocks and ICVs, in octets unless named bits.

The tables are the whitelist. A transform that is not here is never offered, chosen or computed
with. Sources: RFC 3526, 4106, 4868, 5282, 5903, 7296, 8031.
"""

from __future__ import annotations

from typing import NamedTuple

from ipsecme.crypto.modp import BITS, IS_AVAILABLE
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

__all__ = ["ENCRYPTION", "INTEGRITY", "KEY_EXCHANGE", "PRF", "Encryption", "Integrity", "Prf"]


class Encryption(NamedTuple):
    """An encryption algorithm. `icv` is not zero for AEAD ciphers, which bring their own integrity.

    `salt` octets end the key material. `key_bits` lists the allowed sizes, salt not counted; when
    `key_attribute` is set, the transform must carry the Key Length attribute, otherwise it must
    not.
    """

    key_bits: tuple[int, ...]
    salt: int
    iv: int
    block: int
    icv: int
    key_attribute: bool

    @property
    def is_aead(self) -> bool:
        """True for combined-mode ciphers."""
        return self.icv > 0


class Integrity(NamedTuple):
    """An integrity algorithm: key and truncated ICV, and the hash under HMAC."""

    key: int
    icv: int
    hash_name: str


class Prf(NamedTuple):
    """A pseudorandom function: its output, which is also its preferred key size, and its hash."""

    output: int
    hash_name: str


ENCRYPTION: dict[int, Encryption] = {
    EncrId.ENCR_AES_CBC: Encryption((128, 192, 256), 0, 16, 16, 0, key_attribute=True),
    EncrId.ENCR_AES_GCM_16: Encryption((128, 192, 256), 4, 8, 1, 16, key_attribute=True),
}

INTEGRITY: dict[int, Integrity] = {
    IntegId.AUTH_HMAC_SHA2_256_128: Integrity(32, 16, "sha256"),
    IntegId.AUTH_HMAC_SHA2_384_192: Integrity(48, 24, "sha384"),
    IntegId.AUTH_HMAC_SHA2_512_256: Integrity(64, 32, "sha512"),
}

PRF: dict[int, Prf] = {
    PrfId.PRF_HMAC_SHA2_256: Prf(32, "sha256"),
    PrfId.PRF_HMAC_SHA2_384: Prf(48, "sha384"),
    PrfId.PRF_HMAC_SHA2_512: Prf(64, "sha512"),
}

KEY_EXCHANGE: dict[int, int] = {
    KeId.CURVE25519: 32,
    KeId.CURVE448: 56,
    KeId.ECP_256: 64,
    KeId.ECP_384: 96,
    KeId.ECP_521: 132,
    **({method: bits // 8 for method, bits in BITS.items()} if IS_AVAILABLE else {}),
}
"""Key Exchange methods and the size of their public values on the wire."""
