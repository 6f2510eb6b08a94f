"""Signatures in AUTH: RFC 7427 (method 14), RFC 8420 (EdDSA), RFC 4754 (9 to 11), RSA (method 1).

Owns which AlgorithmIdentifiers there are, which scheme a key signs with, and the check. The
identifiers are compared as whole DER strings and never interpreted. There is no SHA-1. That a
signature is right is an object, `VerifiedSignature`, which only `verify` makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from ipsecme.base import Incompatible, PeerError
from ipsecme.crypto.signature_keys import KeyKind
from ipsecme.wire.numbers import AuthMethod, HashId

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipsecme.crypto.signature_keys import PublicKey, SigningKey

__all__ = [
    "ACCEPTED_HASHES",
    "SCHEMES",
    "NoCommonScheme",
    "Scheme",
    "Signature",
    "SignatureRefused",
    "VerifiedSignature",
    "require_scheme",
    "sign",
    "verify",
]

ACCEPTED_HASHES = (HashId.SHA2_256, HashId.SHA2_384, HashId.SHA2_512, HashId.IDENTITY)
"""What SIGNATURE_HASH_ALGORITHMS announces (RFC 7427, section 4)."""


class SignatureRefused(PeerError):
    """AUTH holds no good signature; which of the many ways it fails makes no difference."""


class NoCommonScheme(Incompatible):
    """The peer announced nothing that our key could sign with."""


class Scheme(NamedTuple):
    """One way to sign; `identifiers` are the DER strings for it, the first is the one we send."""

    title: str
    kind: KeyKind
    hash: HashId
    identifiers: tuple[bytes, ...]
    pss: bool = False


_HASHES: dict[HashId, hashes.HashAlgorithm] = {
    HashId.SHA2_256: hashes.SHA256(),
    HashId.SHA2_384: hashes.SHA384(),
    HashId.SHA2_512: hashes.SHA512(),
}


def _pss_identifiers(number: str, salt: str) -> tuple[bytes, bytes]:
    """Return both forms of RFC 7427 A.4.3: default trailer left out (DER), and written out."""
    digest = f"300d06096086480165030402{number}0500"
    mask = f"301a06092a864886f70d010108{digest}"
    inner = f"a00f{digest}a11c{mask}a2030201{salt}"
    oid = "06092a864886f70d01010a"
    return (
        bytes.fromhex(f"3041{oid}3034{inner}"),
        bytes.fromhex(f"3046{oid}3039{inner}a303020101"),
    )


def _der(text: str) -> tuple[bytes]:
    return (bytes.fromhex(text),)


_RSA, _EC = KeyKind.RSA, KeyKind.ECDSA
SCHEMES: tuple[Scheme, ...] = (
    Scheme("RSA-PSS SHA-256", _RSA, HashId.SHA2_256, _pss_identifiers("01", "20"), pss=True),
    Scheme("RSA-PSS SHA-384", _RSA, HashId.SHA2_384, _pss_identifiers("02", "30"), pss=True),
    Scheme("RSA-PSS SHA-512", _RSA, HashId.SHA2_512, _pss_identifiers("03", "40"), pss=True),
    Scheme("RSA SHA-256", _RSA, HashId.SHA2_256, _der("300d06092a864886f70d01010b0500")),
    Scheme("RSA SHA-384", _RSA, HashId.SHA2_384, _der("300d06092a864886f70d01010c0500")),
    Scheme("RSA SHA-512", _RSA, HashId.SHA2_512, _der("300d06092a864886f70d01010d0500")),
    Scheme("ECDSA SHA-256", _EC, HashId.SHA2_256, _der("300a06082a8648ce3d040302")),
    Scheme("ECDSA SHA-384", _EC, HashId.SHA2_384, _der("300a06082a8648ce3d040303")),
    Scheme("ECDSA SHA-512", _EC, HashId.SHA2_512, _der("300a06082a8648ce3d040304")),
    Scheme("Ed25519", KeyKind.ED25519, HashId.IDENTITY, _der("300506032b6570")),
    Scheme("Ed448", KeyKind.ED448, HashId.IDENTITY, _der("300506032b6571")),
)
"""All schemes of method 14, in order of preference for each kind of key."""

_BY_IDENTIFIER = {der: scheme for scheme in SCHEMES for der in scheme.identifiers}
_CURVE_HASH = {
    "secp256r1": HashId.SHA2_256,
    "secp384r1": HashId.SHA2_384,
    "secp521r1": HashId.SHA2_512,
}


class _Raw(NamedTuple):
    """An ECDSA method of RFC 4754: r and s of `octets` each."""

    curve: str
    octets: int


_RAW = {
    AuthMethod.ECDSA_SHA256_P256: _Raw("secp256r1", 32),
    AuthMethod.ECDSA_SHA384_P384: _Raw("secp384r1", 48),
    AuthMethod.ECDSA_SHA512_P521: _Raw("secp521r1", 66),
}
_SEAL = object()


class Signature(NamedTuple):
    """Method and data of an AUTH payload of ours."""

    method: AuthMethod
    data: bytes


class VerifiedSignature:
    """That `key` signed the octets of this exchange. Only `verify` makes one."""

    __slots__ = ("key", "scheme")

    def __init__(self, seal: object, key: PublicKey, scheme: str) -> None:
        if seal is not _SEAL:
            raise TypeError("only verify() knows that a signature is right")
        self.key = key
        self.scheme = scheme


# signing


def sign(key: SigningKey, octets: bytes, peer_hashes: Collection[HashId]) -> Signature:
    """Return method and data of AUTH.

    `peer_hashes` is what the peer announced in SIGNATURE_HASH_ALGORITHMS; when that is nothing,
    the methods from before RFC 7427 serve. Raises `NoCommonScheme`.
    """
    if not peer_hashes:
        return _sign_old(key, octets)
    scheme = _choose(key.public, peer_hashes)
    identifier = scheme.identifiers[0]
    signature = _make(key, octets, scheme)
    data = bytes((len(identifier),)) + identifier + signature
    return Signature(AuthMethod.DIGITAL_SIGNATURE, data)


def require_scheme(key: PublicKey, peer_hashes: Collection[HashId]) -> None:
    """Raise `NoCommonScheme` when `sign` would."""
    if peer_hashes:
        _choose(key, peer_hashes)
    elif key.kind not in (KeyKind.RSA, KeyKind.ECDSA):
        raise _only_new(key)


def _only_new(key: PublicKey) -> NoCommonScheme:
    return NoCommonScheme(
        f"our key is {key.title}, and the peer does not announce the signatures of RFC 7427"
    )


def _choose(key: PublicKey, peer_hashes: Collection[HashId]) -> Scheme:
    fitting = [s for s in SCHEMES if s.kind is key.kind and s.hash in peer_hashes]
    if not fitting:
        known = ", ".join(sorted(h.name for h in peer_hashes))
        raise NoCommonScheme(f"the peer verifies only {known}, which {key.title} cannot serve")
    if isinstance(key.library_key, ec.EllipticCurvePublicKey):
        natural = _CURVE_HASH[key.library_key.curve.name]
        fitting.sort(key=lambda scheme: scheme.hash != natural)
    return fitting[0]


def _make(key: SigningKey, octets: bytes, scheme: Scheme) -> bytes:
    private = key.library_key
    if isinstance(private, rsa.RSAPrivateKey):
        digest = _HASHES[scheme.hash]
        return private.sign(octets, _padding(scheme), digest)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(octets, ec.ECDSA(_HASHES[scheme.hash]))
    if isinstance(private, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return private.sign(octets)
    raise NoCommonScheme(f"{key.public.title} signs nothing here")


def _padding(scheme: Scheme) -> padding.AsymmetricPadding:
    if not scheme.pss:
        return padding.PKCS1v15()
    digest = _HASHES[scheme.hash]
    return padding.PSS(padding.MGF1(digest), digest.digest_size)


def _sign_old(key: SigningKey, octets: bytes) -> Signature:
    """Sign for a peer that does not know RFC 7427."""
    private = key.library_key
    if isinstance(private, rsa.RSAPrivateKey):
        value = private.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        return Signature(AuthMethod.RSA_DIGITAL_SIGNATURE, value)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        for method, (curve, size) in _RAW.items():
            if curve == private.curve.name:
                r, s = decode_dss_signature(
                    private.sign(octets, ec.ECDSA(_HASHES[_CURVE_HASH[curve]]))
                )
                return Signature(method, r.to_bytes(size) + s.to_bytes(size))
    raise _only_new(key.public)


# verifying


def verify(key: PublicKey, method: AuthMethod, data: bytes, octets: bytes) -> VerifiedSignature:
    """Check the data of AUTH; raises `SignatureRefused` unless `key` signed `octets`."""
    try:
        title = _check(key, method, data, octets)
    except InvalidSignature:
        raise SignatureRefused(f"the signature was not made with {key!r}") from None
    except ValueError as error:  # the library on odd encodings
        raise SignatureRefused(f"the signature is malformed: {error}") from None
    return VerifiedSignature(_SEAL, key, title)


def _check(key: PublicKey, method: AuthMethod, data: bytes, octets: bytes) -> str:
    """Return the scheme's title, or raise."""
    if method == AuthMethod.DIGITAL_SIGNATURE:
        return _check_identified(key, data, octets)
    if method == AuthMethod.RSA_DIGITAL_SIGNATURE:
        return _check_pkcs1(key, data, octets)
    raw = _RAW.get(method)
    if raw is None:
        raise SignatureRefused(f"{method.name} is no signature")
    library_key = key.library_key
    if not isinstance(library_key, ec.EllipticCurvePublicKey) or (
        library_key.curve.name != raw.curve
    ):
        raise SignatureRefused(f"{method.name} does not fit {key.title}")
    if len(data) != 2 * raw.octets:
        raise SignatureRefused(f"{method.name} with {len(data)} octets")
    r, s = int.from_bytes(data[: raw.octets]), int.from_bytes(data[raw.octets :])
    digest = _HASHES[_CURVE_HASH[raw.curve]]
    library_key.verify(encode_dss_signature(r, s), octets, ec.ECDSA(digest))
    return method.name


def _check_identified(key: PublicKey, data: bytes, octets: bytes) -> str:
    """Check method 14: a length, an AlgorithmIdentifier, the signature (RFC 7427, section 3)."""
    end = 1 + data[0] if data else 0
    if not 1 < end < len(data):
        raise SignatureRefused("AUTH has no room for an algorithm and a signature")
    identifier, signature = data[1:end], data[end:]
    scheme = _BY_IDENTIFIER.get(identifier)
    if scheme is None:
        raise SignatureRefused(f"the algorithm {identifier.hex()} is not accepted")
    if scheme.kind is not key.kind:
        raise SignatureRefused(f"a signature by {scheme.title} with a key for {key.title}")
    _check_scheme(key, scheme, signature, octets)
    return scheme.title


def _check_pkcs1(key: PublicKey, signature: bytes, octets: bytes) -> str:
    """Check method 1, which does not say its hash: any of SHA-2 may have been used."""
    if key.kind is not KeyKind.RSA:
        raise SignatureRefused(f"an RSA signature with a key for {key.title}")
    for scheme in SCHEMES:
        if scheme.kind is KeyKind.RSA and not scheme.pss:
            try:
                _check_scheme(key, scheme, signature, octets)
            except InvalidSignature:
                continue
            return scheme.title
    raise SignatureRefused(f"the signature was not made with {key!r} and SHA-2")


def _check_scheme(key: PublicKey, scheme: Scheme, signature: bytes, octets: bytes) -> None:
    library_key = key.library_key
    if isinstance(library_key, rsa.RSAPublicKey):
        if len(signature) != (library_key.key_size + 7) // 8:
            raise SignatureRefused("an RSA signature that is not as long as the modulus")
        library_key.verify(signature, octets, _padding(scheme), _HASHES[scheme.hash])
    elif isinstance(library_key, ec.EllipticCurvePublicKey):
        library_key.verify(signature, octets, ec.ECDSA(_HASHES[scheme.hash]))
    elif isinstance(library_key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        library_key.verify(signature, octets)
    else:
        raise SignatureRefused(f"{key.title} verifies nothing here")
