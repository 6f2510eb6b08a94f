"""IkeSuite and EspSuite: the algorithms that were chosen, with the sizes that follow from them."""

from __future__ import annotations

from typing import NamedTuple

from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY, PRF
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

__all__ = ["ENCR_WORDS", "INTEG_WORDS", "KE_WORDS", "PRF_WORDS", "EspSuite", "IkeSuite"]

ENCR_WORDS: dict[EncrId, str] = {
    EncrId.ENCR_AES_GCM_16: "aes{bits}gcm16",
    EncrId.ENCR_AES_GCM_12: "aes{bits}gcm12",
    EncrId.ENCR_AES_GCM_8: "aes{bits}gcm8",
    EncrId.ENCR_CHACHA20_POLY1305: "chacha20poly1305",
    EncrId.ENCR_AES_CCM_16: "aes{bits}ccm16",
    EncrId.ENCR_AES_CCM_12: "aes{bits}ccm12",
    EncrId.ENCR_AES_CCM_8: "aes{bits}ccm8",
    EncrId.ENCR_AES_CBC: "aes{bits}cbc",
    EncrId.ENCR_AES_CTR: "aes{bits}ctr",
    EncrId.ENCR_NULL: "null",
    EncrId.ENCR_NULL_AUTH_AES_GMAC: "aes{bits}gmac",
}
"""How ciphers are written, with the size of the key where it varies; parsers read this too."""

INTEG_WORDS: dict[IntegId, str] = {
    IntegId.AUTH_HMAC_SHA2_256_128: "sha256",
    IntegId.AUTH_HMAC_SHA2_384_192: "sha384",
    IntegId.AUTH_HMAC_SHA2_512_256: "sha512",
    IntegId.AUTH_AES_CMAC_96: "aescmac",
    IntegId.AUTH_AES_XCBC_96: "aesxcbc",
}
PRF_WORDS: dict[PrfId, str] = {
    PrfId.PRF_HMAC_SHA2_256: "prfsha256",
    PrfId.PRF_HMAC_SHA2_384: "prfsha384",
    PrfId.PRF_HMAC_SHA2_512: "prfsha512",
    PrfId.PRF_AES128_CMAC: "prfaescmac",
    PrfId.PRF_AES128_XCBC: "prfaesxcbc",
}
KE_WORDS: dict[KeId, str] = {
    KeId.CURVE25519: "x25519",
    KeId.CURVE448: "x448",
    KeId.ECP_256: "ecp256",
    KeId.ECP_384: "ecp384",
    KeId.ECP_521: "ecp521",
    KeId.MODP_2048: "modp2048",
    KeId.MODP_3072: "modp3072",
    KeId.MODP_4096: "modp4096",
    KeId.MODP_6144: "modp6144",
    KeId.MODP_8192: "modp8192",
}


class IkeSuite(NamedTuple):
    """The algorithms of an IKE SA. `integ` is NONE with a combined-mode cipher."""

    encr: EncrId
    key_bits: int
    integ: IntegId
    prf: PrfId
    ke: KeId

    @property
    def encryption_key_octets(self) -> int:
        """Octets of SK_ei and SK_er, salt included."""
        return self.key_bits // 8 + ENCRYPTION[self.encr].salt

    @property
    def integrity_key_octets(self) -> int:
        """Octets of SK_ai and SK_ar."""
        return INTEGRITY[self.integ].key if self.integ else 0

    @property
    def prf_key_octets(self) -> int:
        """Octets of SK_d, SK_pi and SK_pr."""
        return PRF[self.prf].output

    def __str__(self) -> str:
        words = [ENCR_WORDS[self.encr].format(bits=self.key_bits)]
        if self.integ:
            words.append(INTEG_WORDS[self.integ])
        return "-".join([*words, PRF_WORDS[self.prf], KE_WORDS[self.ke]])


class EspSuite(NamedTuple):
    """The algorithms of a Child SA. `ke` is NONE when its keys come from SK_d alone."""

    encr: EncrId
    key_bits: int
    integ: IntegId
    esn: bool
    ke: KeId = KeId.NONE

    @property
    def encryption_key_octets(self) -> int:
        """Octets of the encryption key, salt included."""
        return self.key_bits // 8 + ENCRYPTION[self.encr].salt

    @property
    def integrity_key_octets(self) -> int:
        """Octets of the integrity key."""
        return INTEGRITY[self.integ].key if self.integ else 0

    def __str__(self) -> str:
        words = [ENCR_WORDS[self.encr].format(bits=self.key_bits)]
        if self.integ:
            words.append(INTEG_WORDS[self.integ])
        if self.ke:
            words.append(KE_WORDS[self.ke])
        words.append("esn" if self.esn else "noesn")
        return "-".join(words)
