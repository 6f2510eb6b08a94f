"""Which certificates were revoked: what a CRL says, and whether it may (RFC 5280, section 6.3).

Owns one judgement: given an authority, what it issued, the CRLs at hand and the time, is the
certificate good, revoked, or is that unknown, and why. Where CRLs come from, and what follows from
not knowing, is for those who call.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_names import DistinguishedName, NameMalformed

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from ipsecme.crypto.certificate import Certificate

__all__ = ["Crl", "CrlUnfit", "Finding", "Standing", "judge"]

_GOOD_HASHES = frozenset({"sha256", "sha384", "sha512"})
_LIBRARY_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    NameMalformed,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class CrlUnfit(PeerError):
    """A CRL cannot be read, or says nothing about the matter."""


class Standing(enum.Enum):
    """What is known of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """A judgement and its reason."""

    standing: Standing
    detail: str


class Crl:
    """A list of revoked certificates; whose word it is must be checked with `judge`."""

    __slots__ = ("extensions", "issuer", "library", "next_update", "this_update")

    def __init__(self, library: x509.CertificateRevocationList) -> None:
        """Read everything but the entries; raises `CrlUnfit`."""
        try:
            self.library = library
            self.issuer = DistinguishedName(library.issuer.public_bytes())
            self.this_update = library.last_update_utc
            self.next_update = library.next_update_utc
            self.extensions = library.extensions
        except _LIBRARY_ERRORS as error:
            raise CrlUnfit(f"the CRL cannot be read: {error}") from None

    @classmethod
    def decode(cls, octets: bytes) -> Crl:
        """Read a CRL in DER or PEM; raises `CrlUnfit`."""
        pem = octets.lstrip().startswith(b"-----BEGIN")
        try:
            return cls((x509.load_pem_x509_crl if pem else x509.load_der_x509_crl)(octets))
        except _LIBRARY_ERRORS as error:
            raise CrlUnfit(f"the CRL cannot be read: {error}") from None


def judge(
    certificate: Certificate, issuer: Certificate, crls: Iterable[Crl], at: dt.datetime
) -> Finding:
    """Say what the CRLs of `issuer` know about a certificate that it issued."""
    reason = f"there is no CRL of {issuer}"
    for crl in crls:
        if crl.issuer != issuer.subject:
            continue
        try:
            _require_fit(crl, certificate, issuer)
            serial = certificate.library.serial_number
            entry = crl.library.get_revoked_certificate_by_serial_number(serial)
            if entry is not None:  # also on an old list: nobody takes a revocation back
                since = f"{entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC"
                return Finding(Standing.REVOKED, f"{issuer} revoked it on {since}")
            _require_current(crl, issuer, at)
        except CrlUnfit as error:
            reason = str(error)
        except _LIBRARY_ERRORS as error:
            reason = f"the CRL of {issuer} cannot be read: {error}"
        else:
            return Finding(Standing.GOOD, f"not on the CRL of {issuer}")
    return Finding(Standing.UNKNOWN, reason)


def _require_fit(crl: Crl, certificate: Certificate, issuer: Certificate) -> None:
    """Raise `CrlUnfit` unless the CRL is the word of `issuer` about certificates like this."""
    if not issuer.signs_crls:
        raise CrlUnfit(f"{issuer} may not sign CRLs (keyUsage)")
    digest = crl.library.signature_hash_algorithm
    if digest is not None and digest.name not in _GOOD_HASHES:
        raise CrlUnfit(f"the CRL of {issuer} is signed with {digest.name}")
    # The key was judged with its certificate, so it is one of those that can sign.
    if not crl.library.is_signature_valid(issuer.key.library_key):  # type: ignore[arg-type]
        raise CrlUnfit(f"the CRL of {issuer} is not signed by its key")
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            raise CrlUnfit(f"the CRL of {issuer} holds changes only")
        if isinstance(value, x509.IssuingDistributionPoint):
            _require_scope(value, certificate, issuer)
        elif extension.critical and not isinstance(value, x509.CRLNumber):
            raise CrlUnfit(f"the CRL of {issuer} has the critical extension {extension.oid}")


def _require_current(crl: Crl, issuer: Certificate, at: dt.datetime) -> None:
    if crl.this_update > at:
        raise CrlUnfit(f"the CRL of {issuer} is from the future, {crl.this_update:%Y-%m-%d %H:%M}")
    if crl.next_update is None or crl.next_update < at:
        end = f"{crl.next_update:%Y-%m-%d %H:%M} UTC" if crl.next_update else "no time at all"
        raise CrlUnfit(f"the CRL of {issuer} was good until {end}; get a new one")


def _require_scope(
    point: x509.IssuingDistributionPoint, certificate: Certificate, issuer: Certificate
) -> None:
    partial = point.only_some_reasons or point.indirect_crl or point.only_contains_attribute_certs
    for_authorities, for_others = point.only_contains_ca_certs, point.only_contains_user_certs
    if partial or (for_others if certificate.is_authority else for_authorities):
        raise CrlUnfit(f"the CRL of {issuer} is not about certificates like {certificate}")
