"""Making keys, authorities, certificates and CRLs as IKE wants them (RFC 4945, section 5).

Owns what goes into a certificate; where files are kept is for those who call. The time is given.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from ipsecme.base import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
    )

__all__ = [
    "KEY_TYPES",
    "Authority",
    "KeyType",
    "alternative_name",
    "common_name",
    "issue",
    "make_authority",
    "make_crl",
    "make_key",
    "make_ocsp_response",
]

KeyType = Literal["ecdsa256", "ecdsa384", "rsa3072", "rsa4096", "ed25519", "ed448"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)

_BACKDATED = dt.timedelta(minutes=5)  # for peers whose clocks are a little behind
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(slots=True, frozen=True)
class Authority:
    """Who issues: a certificate with its key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes


def make_key(kind: KeyType) -> CertificateIssuerPrivateKeyTypes:
    """Return a fresh private key."""
    match kind:
        case "ecdsa256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa3072":
            return rsa.generate_private_key(65537, 3072)
        case "rsa4096":
            return rsa.generate_private_key(65537, 4096)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "ed448":
            return ed448.Ed448PrivateKey.generate()


def common_name(text: str) -> x509.Name:
    """Return the name with one attribute, CN."""
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    except ValueError as error:
        raise ConfigError(f"{text!r} cannot be a name in a certificate: {error}") from None


def alternative_name(text: str) -> x509.GeneralName:
    """Return an IP address, a mail address or a domain name as subjectAltName has it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise ConfigError(f"{text!r} is no address, domain name or mail address")
    return x509.RFC822Name(text) if "@" in text else x509.DNSName(text)


def make_authority(
    subject: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    at: dt.datetime,
    lifetime: dt.timedelta,
    *,
    issuer: Authority | None = None,
    path_length: int | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> Authority:
    """Return an authority, its own or one below `issuer`."""
    builder = _builder(subject, key, at, lifetime, issuer)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
    builder = builder.add_extension(_usage("key_cert_sign", "crl_sign"), True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Authority(_signed(builder, issuer.key if issuer else key), key)


def issue(
    subject: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    names: Sequence[x509.GeneralName],
    at: dt.datetime,
    lifetime: dt.timedelta,
    *,
    issuer: Authority | None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Return the certificate of one peer, signed by `issuer` or by itself.

    It allows digital signatures and nothing else, and has no extendedKeyUsage (RFC 4945, section
    5.1.3.12). `extensions` replace those of the same kind.
    """
    chosen: dict[x509.ObjectIdentifier, tuple[x509.ExtensionType, bool]] = {}
    usual: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage("digital_signature"), True),
    ]
    if names:
        usual.append((x509.SubjectAlternativeName(names), False))
    for extension, critical in (*usual, *extensions):
        chosen[extension.oid] = (extension, critical)
    builder = _builder(subject, key, at, lifetime, issuer)
    for extension, critical in chosen.values():
        builder = builder.add_extension(extension, critical)
    return _signed(builder, issuer.key if issuer else key)


def make_crl(
    issuer: Authority,
    revoked: Iterable[tuple[int, dt.datetime]],
    number: int,
    at: dt.datetime,
    lifetime: dt.timedelta,
) -> x509.CertificateRevocationList:
    """Return a CRL with the serial numbers that were revoked, and when."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(at - _BACKDATED)
        .next_update(at + lifetime)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key(issuer.certificate), critical=False)
    )
    for serial, since in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, _digest(issuer.key))


def make_ocsp_response(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    at: dt.datetime,
    lifetime: dt.timedelta,
    *,
    signer: Authority,
    revoked: dt.datetime | None = None,
    nonce: bytes | None = None,
) -> ocsp.OCSPResponse:
    """Return what OCSP says about a certificate of `issuer`, and since when it is revoked if so.

    `signer` is the issuer with its key or, with a certificate of its own, one to whom it delegated
    that. Only a response to a request has a `nonce`.
    """
    status = ocsp.OCSPCertStatus.GOOD if revoked is None else ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        .add_response(
            certificate,
            issuer,
            hashes.SHA1(),  # noqa: S303 - the usual short name of a certificate, no protection
            status,
            at - _BACKDATED,
            at + lifetime,
            revoked,
            None,
        )
    )
    if signer.certificate != issuer:
        builder = builder.certificates([signer.certificate])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.sign(signer.key, _digest(signer.key))


def _builder(
    subject: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    at: dt.datetime,
    lifetime: dt.timedelta,
    issuer: Authority | None,
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _BACKDATED)
        .not_valid_after(at + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(_authority_key(issuer.certificate), critical=False)
    return builder


def _authority_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _signed(
    builder: x509.CertificateBuilder, key: CertificateIssuerPrivateKeyTypes
) -> x509.Certificate:
    return builder.sign(key, _digest(key))


def _digest(
    key: CertificateIssuerPrivateKeyTypes,
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384() if key.key_size == 384 else hashes.SHA512()
    return hashes.SHA256()
