"""Keys that sign and verify AUTH: RSA, ECDSA on the NIST curves, Ed25519 and Ed448.

Owns which keys are good enough, and both their encodings: SubjectPublicKeyInfo in DER outside, the
library's objects inside. Signatures are `signature`'s business.
"""

from __future__ import annotations

import enum
import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from ipsecme.base import PeerError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import (
        PrivateKeyTypes,
        PublicKeyTypes,
    )

__all__ = ["KeyKind", "KeyUnfit", "PublicKey", "SigningKey"]

_RSA_BITS = range(2048, 8193)
_RSA_EXPONENTS = range(3, 1 << 64)
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_SPKI_OCTETS = 4096


class KeyKind(enum.Enum):
    """What kind of signatures a key makes."""

    RSA = "RSA"
    ECDSA = "ECDSA"
    ED25519 = "Ed25519"
    ED448 = "Ed448"


class KeyUnfit(PeerError):
    """The key cannot be read, is of an unknown kind, or is too weak."""


class PublicKey:
    """A public key that is fit for use; equal to another when both have the same SPKI octets."""

    __slots__ = ("kind", "library_key", "spki", "title")

    def __init__(self, library_key: PublicKeyTypes) -> None:
        self.kind, self.title = _judge(library_key)
        self.library_key = library_key
        self.spki = library_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def decode(cls, spki: bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo in DER; raises `KeyUnfit`."""
        if len(spki) > _SPKI_OCTETS:
            raise KeyUnfit(f"a public key of {len(spki)} octets is too large")
        try:
            return cls(serialization.load_der_public_key(spki))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyUnfit(f"the public key cannot be read: {error}") from None

    @property
    def key_hash(self) -> bytes:
        """SHA-1 of the SPKI, the name of an authority in CERTREQ (RFC 7296, section 3.7)."""
        return hashlib.sha1(self.spki, usedforsecurity=False).digest()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the SPKI in hexadecimal, for people."""
        return hashlib.sha256(self.spki).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey({self.title}, {self.fingerprint[:16]})"


class SigningKey:
    """A private key that signs and does nothing else; never shown, copied or pickled."""

    __slots__ = ("library_key", "public")

    def __init__(self, library_key: PrivateKeyTypes) -> None:
        self.public = PublicKey(library_key.public_key())
        self.library_key = library_key

    @property
    def is_slow(self) -> bool:
        """True when a signature takes longer than half a millisecond or so."""
        return isinstance(self.library_key, rsa.RSAPrivateKey) and self.library_key.key_size > 2048

    def __reduce__(self) -> str:
        raise TypeError("private keys stay where they are")

    def __repr__(self) -> str:
        return f"SigningKey({self.public.title})"


def _judge(key: PublicKeyTypes) -> tuple[KeyKind, str]:
    """Return kind and title of a key; raises `KeyUnfit` for one that is not to be trusted."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        if key.key_size not in _RSA_BITS:
            raise KeyUnfit(f"an RSA key of {key.key_size} bits; 2048 to 8192 are accepted")
        if numbers.n % 2 == 0 or numbers.e % 2 == 0 or numbers.e not in _RSA_EXPONENTS:
            raise KeyUnfit("an RSA key whose modulus or exponent is out of range")
        return KeyKind.RSA, f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise KeyUnfit(f"an ECDSA key on {key.curve.name}; use P-256, P-384 or P-521")
        return KeyKind.ECDSA, f"ECDSA {_CURVES[key.curve.name]}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyKind.ED25519, "Ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return KeyKind.ED448, "Ed448"
    raise KeyUnfit("a key that is none of RSA, ECDSA, Ed25519 and Ed448")
