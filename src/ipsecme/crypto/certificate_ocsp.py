"""OCSP: what a responder says about one certificate, and whether it may (RFC 6960; RFC 4806).

Owns requests and responses and one judgement: is the certificate good, revoked, or is that unknown,
and why. Where responses come from, and what follows from not knowing, is for those who call.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import SignatureAlgorithmOID

from ipsecme.base import PeerError
from ipsecme.crypto.certificate import Certificate, CertificateUnfit
from ipsecme.crypto.certificate_revocation import Finding, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipsecme.crypto.signature_keys import PublicKey

__all__ = [
    "LARGEST_RESPONSE",
    "OcspResponse",
    "OcspRules",
    "OcspUnfit",
    "encode_request",
    "judge_by_ocsp",
]

T = TypeVar("T")

LARGEST_RESPONSE = 16384
"""Octets of the largest response that is looked at."""

_MOST_SIGNERS = 4
_MOST_ANSWERS = 16
_WITHOUT_END = dt.timedelta(hours=1)  # how old a response without nextUpdate may be
_SIGNED_WITH: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_LIBRARY_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class OcspUnfit(PeerError):
    """A response cannot be read, says nothing about the matter, or may not say it."""


class OcspRules(NamedTuple):
    """Whose word counts beside the authority's, and how old a word may be.

    `responders` are trusted responders of the configuration (RFC 6960, section 2.2, number two).
    """

    responders: tuple[Certificate, ...] = ()
    max_age: dt.timedelta | None = None


class OcspResponse:
    """A response that a responder did not refuse; whose word it is must still be judged."""

    __slots__ = ("answers", "certificates", "der", "library", "nonce")

    def __init__(self, library: ocsp.OCSPResponse) -> None:
        """Read everything; raises `OcspUnfit`."""
        try:
            if library.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                status = library.response_status.name.lower().replace("_", " ")
                raise OcspUnfit(f"the OCSP responder answers: {status}")
            self.library = library
            self.der = library.public_bytes(Encoding.DER)
            self.answers = _at_most(_MOST_ANSWERS, list(library.responses), "answers")
            self.certificates = _at_most(_MOST_SIGNERS, library.certificates, "certificates")
            self.nonce = _nonce(library)
        except _LIBRARY_ERRORS as error:
            raise OcspUnfit(f"the OCSP response cannot be read: {error}") from None

    @classmethod
    def decode(cls, der: bytes) -> OcspResponse:
        """Read an OCSPResponse in DER; raises `OcspUnfit`."""
        if len(der) > LARGEST_RESPONSE:
            raise OcspUnfit(f"an OCSP response of {len(der)} octets is too large")
        try:
            return cls(ocsp.load_der_ocsp_response(der))
        except _LIBRARY_ERRORS as error:
            raise OcspUnfit(f"the OCSP response cannot be read: {error}") from None

    def answer_for(
        self, certificate: Certificate, issuer: Certificate
    ) -> ocsp.OCSPSingleResponse | None:
        """Return what it says about a certificate, found by its CertID."""
        found = (one for one in self.answers if _is_about(one, certificate, issuer))
        return next(found, None)

    def require_nonce(self, nonce: bytes) -> None:
        """Raise `OcspUnfit` when it answers another request; many responders send no nonce."""
        if self.nonce is not None and self.nonce != nonce:
            raise OcspUnfit("the OCSP response has the nonce of another request")


def encode_request(certificate: Certificate, issuer: Certificate, nonce: bytes) -> bytes:
    """Return an OCSPRequest in DER for one certificate; the nonce may be empty."""
    builder = ocsp.OCSPRequestBuilder()
    # SHA-1 here only abbreviates names; many responders know no other (RFC 5019, section 2.1.1).
    builder = builder.add_certificate(certificate.library, issuer.library, hashes.SHA1())  # noqa: S303
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def judge_by_ocsp(
    certificate: Certificate,
    issuer: Certificate,
    responses: Sequence[OcspResponse],
    rules: OcspRules,
    at: dt.datetime,
) -> Finding:
    """Say what the responses know about a certificate that `issuer` issued."""
    reason = f"there is no OCSP response about {certificate}"
    for response in responses:
        answer = response.answer_for(certificate, issuer)
        if answer is None:
            continue
        try:
            _require_signer(response, issuer, rules, at)
            if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
                since = answer.revocation_time_utc  # also in an old response, as with CRLs
                on = f" on {since:%Y-%m-%d %H:%M} UTC" if since else ""
                return Finding(Standing.REVOKED, f"{issuer} revoked it{on}, says OCSP")
            _require_current(answer, rules, at)
            if answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
                reason = f"the OCSP responder does not know {certificate}"
                continue
        except OcspUnfit as error:
            reason = str(error)
        except _LIBRARY_ERRORS as error:
            reason = f"the OCSP response about {certificate} cannot be read: {error}"
        else:
            return Finding(Standing.GOOD, "OCSP says so")
    return Finding(Standing.UNKNOWN, reason)


def _at_most(limit: int, found: list[T], what: str) -> tuple[T, ...]:
    if len(found) > limit:
        raise OcspUnfit(f"an OCSP response with {len(found)} {what}; {limit} are accepted")
    return tuple(found)


def _nonce(library: ocsp.OCSPResponse) -> bytes | None:
    for extension in library.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            return extension.value.nonce
        if extension.critical:
            raise OcspUnfit(f"the OCSP response has the critical extension {extension.oid}")
    return None


def _is_about(
    answer: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate
) -> bool:
    """Compare a CertID with the one that a request would have (RFC 6960, section 4.1.1)."""
    if answer.serial_number != certificate.library.serial_number:
        return False
    try:
        builder = ocsp.OCSPRequestBuilder()
        wanted = builder.add_certificate(
            certificate.library, issuer.library, answer.hash_algorithm
        ).build()
    except _LIBRARY_ERRORS:
        return False
    return (answer.issuer_name_hash, answer.issuer_key_hash) == (
        wanted.issuer_name_hash,
        wanted.issuer_key_hash,
    )


def _require_signer(
    response: OcspResponse, issuer: Certificate, rules: OcspRules, at: dt.datetime
) -> None:
    """Raise `OcspUnfit` unless the response is signed by one whose word counts here."""
    digest = response.library.signature_hash_algorithm
    if digest is not None and digest.name not in _SIGNED_WITH:
        raise OcspUnfit(f"the OCSP response is signed with {digest.name}; SHA-2 is required")
    if any(_signed(response, one.key) for one in (issuer, *rules.responders)):
        return
    reason = f"the OCSP response is not signed by {issuer}, nor by a responder in ocsp_responder"
    for signer in _delegates(response):
        if not _signed(response, signer.key):
            continue
        if (fault := _not_delegated(signer, issuer, at)) is None:
            return
        reason = f"the OCSP response is signed by {signer}, {fault}"
    raise OcspUnfit(reason)


def _delegates(response: OcspResponse) -> Iterator[Certificate]:
    for library in response.certificates:
        try:
            yield Certificate(library)
        except CertificateUnfit:
            continue


def _not_delegated(signer: Certificate, issuer: Certificate, at: dt.datetime) -> str | None:
    """Say why a certificate does not let its owner answer for `issuer` (RFC 6960, 4.2.2.2)."""
    if not signer.signs_ocsp:
        return "which lacks the extendedKeyUsage OCSPSigning"
    try:
        signer.library.verify_directly_issued_by(issuer.library)
    except (InvalidSignature, *_LIBRARY_ERRORS):
        return f"which {issuer} did not issue"
    if not signer.is_valid_at(at):
        return "which is out of date"
    return None


def _signed(response: OcspResponse, key: PublicKey) -> bool:
    library, public = response.library, key.library_key
    signature, octets = library.signature, library.tbs_response_bytes
    digest = library.signature_hash_algorithm
    try:
        if isinstance(public, rsa.RSAPublicKey) and digest is not None:
            public.verify(signature, octets, _rsa_padding(library, digest), digest)
        elif isinstance(public, ec.EllipticCurvePublicKey) and digest is not None:
            public.verify(signature, octets, ec.ECDSA(digest))
        elif isinstance(public, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            public.verify(signature, octets)
        else:
            return False
    except (InvalidSignature, *_LIBRARY_ERRORS):
        return False
    return True


def _rsa_padding(
    library: ocsp.OCSPResponse, digest: hashes.HashAlgorithm
) -> padding.AsymmetricPadding:
    if library.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
        return padding.PSS(padding.MGF1(digest), digest.digest_size)
    return padding.PKCS1v15()


def _require_current(answer: ocsp.OCSPSingleResponse, rules: OcspRules, at: dt.datetime) -> None:
    begin, end = answer.this_update_utc, answer.next_update_utc
    if begin > at:
        raise OcspUnfit(f"the OCSP response is from the future, {begin:%Y-%m-%d %H:%M} UTC")
    if end is not None and end < at:
        raise OcspUnfit(f"the OCSP response was good until {end:%Y-%m-%d %H:%M} UTC; get a new one")
    oldest = rules.max_age or (_WITHOUT_END if end is None else None)
    if oldest is not None and at - begin > oldest:
        hours = oldest.total_seconds() / 3600
        raise OcspUnfit(
            f"the OCSP response is from {begin:%Y-%m-%d %H:%M} UTC, more than {hours:g} hours ago"
        )
