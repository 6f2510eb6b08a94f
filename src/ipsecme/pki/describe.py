"""What a file with certificates, a CRL or an OCSP response holds, as titles with texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from ipsecme.base import ConfigError, PeerError
from ipsecme.crypto.certificate import Certificate
from ipsecme.crypto.certificate_ocsp import OcspResponse
from ipsecme.crypto.certificate_revocation import Crl
from ipsecme.pki.files import read_file

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from cryptography.x509 import ocsp

__all__ = ["describe"]


def describe(path: Path, at: dt.datetime) -> list[list[tuple[str, str]]]:
    """Return a sheet for each certificate of the file, or one for its CRL."""
    content = read_file(path)
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            found = x509.load_pem_x509_certificates(content)
            return [_certificate(Certificate(one), at) for one in found]
        if b"-----BEGIN X509 CRL-----" in content:
            return [_crl(Crl.decode(content), at)]
        return _binary(content, at)
    except (PeerError, ValueError) as error:
        raise ConfigError(
            f"{path} holds no certificate, no CRL and no OCSP response: {error}"
        ) from None


def _binary(content: bytes, at: dt.datetime) -> list[list[tuple[str, str]]]:
    try:
        return [_answer(answer, at) for answer in OcspResponse.decode(content).answers]
    except PeerError:
        pass
    try:
        return [_crl(Crl.decode(content), at)]
    except PeerError:
        return [_certificate(Certificate.decode(content), at)]


def _answer(answer: ocsp.OCSPSingleResponse, at: dt.datetime) -> list[tuple[str, str]]:
    end = answer.next_update_utc
    since = answer.revocation_time_utc
    revoked = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
    stale = ", STALE" if end is not None and end < at else ""
    return [
        ("OCSP about", f"{answer.serial_number:x}"),
        ("standing", answer.certificate_status.name.lower() + revoked),
        ("made", f"{answer.this_update_utc:%Y-%m-%d %H:%M} UTC"),
        ("good until", (f"{end:%Y-%m-%d %H:%M} UTC" if end else "?") + stale),
    ]


def _certificate(certificate: Certificate, at: dt.datetime) -> list[tuple[str, str]]:
    end, begin = certificate.not_after, certificate.not_before
    left = (end - at).days
    standing = f"{left} days left" if begin <= at <= end else "NOT VALID NOW"
    kind = "an authority" if certificate.is_authority else "a peer"
    unfit = certificate.unfit_for_ike()
    if not certificate.is_authority and unfit:
        kind += f", but {unfit}"
    return [
        ("subject", str(certificate.subject)),
        ("names", str(certificate.names) or "none"),
        ("issuer", str(certificate.issuer)),
        ("for", kind),
        ("key", certificate.key.title),
        ("valid", f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {standing}"),
        ("serial", f"{certificate.library.serial_number:x}"),
        ("SHA-256", certificate.fingerprint),
    ]


def _crl(crl: Crl, at: dt.datetime) -> list[tuple[str, str]]:
    end = crl.next_update
    until = f"{end:%Y-%m-%d %H:%M} UTC" if end else "?"
    stale = ", STALE" if end is None or end < at else ""
    return [
        ("CRL of", str(crl.issuer)),
        ("made", f"{crl.this_update:%Y-%m-%d %H:%M} UTC"),
        ("good until", until + stale),
        ("revoked", ", ".join(_entry(entry) for entry in crl.library) or "nothing"),
    ]


def _entry(entry: x509.RevokedCertificate) -> str:
    return f"{entry.serial_number:x} on {entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC"
