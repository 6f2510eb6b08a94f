"""A certificate as IKE needs it: names, key, usage and dates, all read and judged at once.

Parsing is the library's; here every field is read when the certificate is, so that nothing can
fail later. Who issued it, and whether that is to be trusted, is for `certificate_path`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    ObjectIdentifier,
)

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_names import (
    DistinguishedName,
    NameMalformed,
    host_name,
    mail_name,
)
from ipsecme.crypto.signature_keys import KeyUnfit, PublicKey

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["IPSEC_IKE", "Certificate", "CertificateUnfit", "Names"]

E = TypeVar("E", bound=x509.ExtensionType)

IPSEC_IKE = ObjectIdentifier("1.3.6.1.5.5.7.3.17")
_PURPOSES = frozenset({IPSEC_IKE, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_LARGEST = 16384
_MOST_KEPT = 128
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


class CertificateUnfit(PeerError):
    """The certificate cannot be read, or holds what must not be ignored and is not understood."""


class Names(NamedTuple):
    """subjectAltName in the forms in which names are compared; `others` are kinds without use."""

    hosts: tuple[str, ...] = ()
    mails: tuple[str, ...] = ()
    addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = ()
    directories: tuple[DistinguishedName, ...] = ()
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.hosts, *self.mails, *self.addresses, *self.directories)))


class Certificate:
    """An X.509 certificate. Two are the same when all their octets are."""

    __slots__ = (
        "_values",
        "constraints",
        "der",
        "extensions",
        "issuer",
        "key",
        "library",
        "names",
        "not_after",
        "not_before",
        "subject",
    )

    def __init__(self, library: x509.Certificate) -> None:
        """Read everything; raises `CertificateUnfit`."""
        try:
            self.der = library.public_bytes(Encoding.DER)
            self.library = library
            self.key = PublicKey(library.public_key())
            self.subject = DistinguishedName(library.subject.public_bytes())
            self.issuer = DistinguishedName(library.issuer.public_bytes())
            self.not_before = library.not_valid_before_utc
            self.not_after = library.not_valid_after_utc
            self.extensions = library.extensions
            self._values = {extension.oid: extension.value for extension in self.extensions}
            self.names = self._read_names()
            self.constraints = self._value(x509.NameConstraints)
        except KeyUnfit as error:
            raise CertificateUnfit(f"the certificate has {error}") from None
        except _LIBRARY_ERRORS as error:
            raise CertificateUnfit(f"the certificate cannot be read: {error}") from None
        if self.der[-len(library.signature) - 1]:  # bits that the signature does not cover
            raise CertificateUnfit(f"{self} has a signature that does not fill its octets")
        for extension in self.extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                name = extension.oid.dotted_string
                raise CertificateUnfit(f"{self} has the critical extension {name}, unknown here")

    @classmethod
    def decode(cls, der: bytes) -> Certificate:
        """Read a certificate in DER; raises `CertificateUnfit`.

        Whoever shows the same octets again soon gets the same object: reading costs more than
        checking a signature.
        """
        if len(der) > _LARGEST:
            raise CertificateUnfit(f"a certificate of {len(der)} octets is too large")
        return _decode(bytes(der))

    @property
    def is_authority(self) -> bool:
        """True when it may issue certificates (RFC 5280, sections 4.2.1.3 and 4.2.1.9)."""
        basic, usage = self._value(x509.BasicConstraints), self._value(x509.KeyUsage)
        return basic is not None and basic.ca and (usage is None or usage.key_cert_sign)

    @property
    def path_length(self) -> int | None:
        """How many intermediate certificates may follow it."""
        basic = self._value(x509.BasicConstraints)
        return basic.path_length if basic is not None else None

    @property
    def signs_crls(self) -> bool:
        """True when keyUsage does not forbid to sign CRLs."""
        usage = self._value(x509.KeyUsage)
        return usage is None or usage.crl_sign

    @property
    def crl_urls(self) -> tuple[str, ...]:
        """Where its issuer says that the CRL is, by HTTP (RFC 5280, section 4.2.1.13)."""
        points = self._value(x509.CRLDistributionPoints) or ()
        names = (name.value for point in points for name in point.full_name or ())
        return tuple(url for url in names if isinstance(url, str) and url.startswith("http"))

    @property
    def signs_ocsp(self) -> bool:
        """True when its owner may answer for its issuer by OCSP (RFC 6960, section 4.2.2.2)."""
        purposes = self._value(x509.ExtendedKeyUsage)
        return purposes is not None and ExtendedKeyUsageOID.OCSP_SIGNING in set(purposes)

    @property
    def ocsp_urls(self) -> tuple[str, ...]:
        """Where its issuer says that OCSP is answered, by HTTP (RFC 5280, section 4.2.2.1)."""
        access = self._value(x509.AuthorityInformationAccess) or ()
        names = (
            entry.access_location.value
            for entry in access
            if entry.access_method == AuthorityInformationAccessOID.OCSP
        )
        return tuple(url for url in names if isinstance(url, str) and url.startswith("http"))

    def unfit_for_ike(self) -> str | None:
        """Say why its owner may not authenticate with it, if so (RFC 4945, section 5.1.3)."""
        usage = self._value(x509.KeyUsage)
        if usage is not None and not (usage.digital_signature or usage.content_commitment):
            return "its keyUsage allows no digital signatures"
        purposes = self._value(x509.ExtendedKeyUsage)
        if purposes is not None and not _PURPOSES & set(purposes):
            return "its extendedKeyUsage has neither ipsecIKE nor anyExtendedKeyUsage"
        return None

    @property
    def is_self_issued(self) -> bool:
        """True when subject and issuer are the same."""
        return self.subject == self.issuer

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its octets in hexadecimal, for people."""
        return hashlib.sha256(self.der).hexdigest()

    def is_valid_at(self, at: dt.datetime) -> bool:
        """Tell whether `at` lies between its dates, both included."""
        return self.not_before <= at <= self.not_after

    def _value(self, kind: type[E]) -> E | None:
        value = self._values.get(kind.oid)
        return value if isinstance(value, kind) else None

    def _read_names(self) -> Names:
        hosts: list[str] = []
        mails: list[str] = []
        addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
        directories: list[DistinguishedName] = []
        others: list[str] = []
        for name in self._value(x509.SubjectAlternativeName) or ():
            match name:
                case x509.DNSName():
                    hosts.append(host_name(name.value))
                case x509.RFC822Name():
                    mails.append(mail_name(name.value))
                case x509.IPAddress(value=ipaddress.IPv4Address() as address):
                    addresses.append(address)
                case x509.IPAddress(value=ipaddress.IPv6Address() as address):
                    addresses.append(address)
                case x509.DirectoryName():
                    directories.append(DistinguishedName(name.value.public_bytes()))
                case _:
                    others.append(type(name).__name__)
        return Names(
            tuple(hosts), tuple(mails), tuple(addresses), tuple(directories), tuple(others)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __str__(self) -> str:
        return f'"{self.subject or self.names}"'

    def __repr__(self) -> str:
        return f"Certificate({self}, {self.fingerprint[:16]})"


_LIBRARY_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    NameMalformed,
    Warning,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@lru_cache(maxsize=_MOST_KEPT)
def _decode(der: bytes) -> Certificate:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what the library only frowns at is refused here
            return Certificate(x509.load_der_x509_certificate(der))
    except _LIBRARY_ERRORS as error:
        raise CertificateUnfit(f"the certificate cannot be read: {error}") from None
