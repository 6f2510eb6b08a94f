"""Keys from secrets (RFC 7296, sections 2.14, 2.15, 2.17 and 2.18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import Secret
from ipsecme.crypto.algorithms import PRF
from ipsecme.crypto.prf import prf, prf_plus

if TYPE_CHECKING:
    from ipsecme.crypto.suite import EspSuite, IkeSuite
    from ipsecme.wire.numbers import PrfId

__all__ = [
    "ChildKeys",
    "IkeKeys",
    "SharedKey",
    "child_keys",
    "ike_keys",
    "rekey_skeyseed",
    "signed_octets",
    "skeyseed",
]

_KEY_PAD = b"Key Pad for IKEv2"


@dataclass(slots=True, frozen=True)
class IkeKeys:
    """SK_d, SK_ai, SK_ar, SK_ei, SK_er, SK_pi, SK_pr; "i" is the original initiator."""

    d: Secret
    ai: Secret
    ar: Secret
    ei: Secret
    er: Secret
    pi: Secret
    pr: Secret


@dataclass(slots=True, frozen=True)
class ChildKeys:
    """Encryption (salt included) and integrity keys of both directions.

    "i" is the initiator of the exchange that creates the Child SA, which need not be the original
    one.
    """

    ei: Secret
    ai: Secret
    er: Secret
    ar: Secret


def skeyseed(number: PrfId, nonce_i: bytes, nonce_r: bytes, shared: Secret) -> bytes:
    """Return SKEYSEED of IKE_SA_INIT: prf(Ni | Nr, g^ir).

    The AES functions are keyed with the first 8 octets of each nonce (section 2.14).
    """
    limit = PRF[number].skeyseed_nonce
    return prf(number, nonce_i[:limit] + nonce_r[:limit], shared.reveal())


def rekey_skeyseed(old_prf: PrfId, sk_d: Secret, shared: Secret, nonces: bytes) -> bytes:
    """Return SKEYSEED of an IKE rekey, made with the old IKE SA's PRF (section 2.18)."""
    return prf(old_prf, sk_d.reveal(), shared.reveal() + nonces)


def ike_keys(suite: IkeSuite, seed: bytes, nonces: bytes, spi_i: bytes, spi_r: bytes) -> IkeKeys:
    """Return {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, ...)."""
    prf_octets = suite.prf_key_octets
    integrity, encryption = suite.integrity_key_octets, suite.encryption_key_octets
    sizes = (prf_octets, integrity, integrity, encryption, encryption, prf_octets, prf_octets)
    material = prf_plus(suite.prf, seed, nonces + spi_i + spi_r, sum(sizes))
    return IkeKeys(*_split(material, sizes))


def child_keys(
    suite: EspSuite, number: PrfId, sk_d: Secret, nonces: bytes, shared: Secret | None
) -> ChildKeys:
    """Return KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr), the initiator's direction first (2.17)."""
    sizes = (suite.encryption_key_octets, suite.integrity_key_octets) * 2
    seed = nonces if shared is None else shared.reveal() + nonces
    material = prf_plus(number, sk_d.reveal(), seed, sum(sizes))
    return ChildKeys(*_split(material, sizes))


def _split(material: bytes, sizes: tuple[int, ...]) -> list[Secret]:
    keys = []
    position = 0
    for size in sizes:
        keys.append(Secret(material[position : position + size]))
        position += size
    return keys


def signed_octets(
    number: PrfId, message: bytes, other_nonce: bytes, sk_p: Secret, identity: bytes
) -> bytes:
    """Return what one end signs: its IKE_SA_INIT message, the other's nonce, prf(SK_p, ID').

    `message` starts at the first octet of the IKE header; `identity` is the body of the ID payload
    (section 2.15).
    """
    return message + other_nonce + prf(number, sk_p.reveal(), identity)


class SharedKey:
    """A pre-shared key and what the PRFs make of it, which is the same in every exchange."""

    __slots__ = ("_padded", "_secret")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._padded: dict[PrfId, Secret] = {}

    def auth(self, number: PrfId, octets: bytes) -> bytes:
        """Return AUTH: prf(prf(secret, "Key Pad for IKEv2"), octets) (section 2.15)."""
        padded = self._padded.get(number)
        if padded is None:
            padded = Secret(prf(number, self._secret.reveal(), _KEY_PAD))
            self._padded[number] = padded
        return prf(number, padded.reveal(), octets)

    def __repr__(self) -> str:
        return "SharedKey(...)"
