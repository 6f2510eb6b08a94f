"""The authority's folder: its key and certificate, what it issued, and what it revoked.

    ca.pem  ca.key          the authority; ca.pem is what peers get
    NAME.pem  NAME.key      what it issued, together for the host NAME
    ca.crl                  what it revoked
    NAME.ocsp               what OCSP says about NAME.pem, in DER
    NAME.cer  NAME.bundle   NAME.pem in the forms that peers fetch by URL
    index.json              serial numbers, names, dates

All files have mode 0600. Time is given as an argument.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ipsecme.base import ConfigError, PeerError
from ipsecme.crypto.certificate import Certificate
from ipsecme.crypto.certificate_bundle import Location, encode_bundle
from ipsecme.crypto.certificate_issue import (
    Authority,
    KeyType,
    alternative_name,
    common_name,
    issue,
    make_authority,
    make_crl,
    make_key,
    make_ocsp_response,
)
from ipsecme.pki.files import make_folder, read_file, require_absent, write_new, write_over

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
    )

__all__ = ["Entry", "Store", "publish"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(slots=True)
class Entry:
    """One certificate that was issued; times are ISO 8601 in UTC."""

    serial: str
    name: str
    expires: str
    revoked: str | None = None


@dataclass(slots=True)
class _Index:
    crl_number: int
    entries: list[Entry]


class Store:
    """The authority in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str, kind: KeyType, days: int, at: dt.datetime) -> Path:
        """Make the authority; return its certificate's file. One that exists is left alone."""
        require_absent(self._path("ca.key"))
        require_absent(self._path("ca.pem"))
        key = make_key(kind)
        made = make_authority(common_name(name), key, at, dt.timedelta(days=days))
        make_folder(self._folder)
        write_new(self._path("ca.key"), _pem(key))
        write_new(self._path("ca.pem"), made.certificate.public_bytes(Encoding.PEM))
        write_new(self._path("index.json"), _encode(_Index(0, [])))
        return self._path("ca.pem")

    def issue(
        self, name: str, names: Sequence[str], kind: KeyType, days: int, at: dt.datetime
    ) -> tuple[Path, Path]:
        """Issue a certificate with these names, or with `name` alone; return both its files."""
        if not _NAME.fullmatch(name) or name == "ca":
            raise ConfigError(
                f"{name!r} cannot name files; use letters, digits, '-', '_' and '.', and not 'ca'"
            )
        authority, index = self._authority(), self._index()
        files = self._path(f"{name}.pem"), self._path(f"{name}.key")
        for path in files:
            require_absent(path)
        key = make_key(kind)
        lifetime = min(
            dt.timedelta(days=days), authority.certificate.not_valid_after_utc - at
        )  # nothing outlives its authority
        if lifetime <= dt.timedelta():
            raise ConfigError("the authority has expired; make another with: ipsecme pki ca")
        found = [alternative_name(text) for text in names or (name,)]
        made = issue(common_name(name), key, found, at, lifetime, issuer=authority)
        write_new(files[1], _pem(key))
        write_new(files[0], made.public_bytes(Encoding.PEM))
        expires = made.not_valid_after_utc.isoformat()
        index.entries.append(Entry(f"{made.serial_number:x}", name, expires))
        self._write_index(index)
        return files

    def revoke(self, what: str, days: int, at: dt.datetime) -> tuple[list[Entry], Path]:
        """Revoke by name or serial number, and write the CRL anew."""
        index = self._index()
        found = [
            entry
            for entry in index.entries
            if what in (entry.name, entry.serial) and entry.revoked is None
        ]
        if not found:
            known = ", ".join(e.name for e in index.entries if e.revoked is None) or "nothing"
            raise ConfigError(f"there is no {what!r} to revoke; issued and not revoked: {known}")
        for entry in found:
            entry.revoked = at.isoformat()
        self._write_index(index)
        return found, self.write_crl(days, at)

    def write_crl(self, days: int, at: dt.datetime) -> Path:
        """Write the CRL, which is good for so many days; return its file."""
        index = self._index()
        index.crl_number += 1
        revoked = [
            (int(entry.serial, 16), dt.datetime.fromisoformat(entry.revoked))
            for entry in index.entries
            if entry.revoked is not None
        ]
        made = make_crl(self._authority(), revoked, index.crl_number, at, dt.timedelta(days=days))
        self._write_index(index)
        write_over(self._path("ca.crl"), made.public_bytes(Encoding.PEM))
        return self._path("ca.crl")

    def write_ocsp(self, name: str, days: int, at: dt.datetime) -> tuple[Entry, Path]:
        """Write what OCSP says about the certificate of a host; return its entry and the file."""
        authority, index = self._authority(), self._index()
        path = self._path(f"{name}.pem")
        if not _NAME.fullmatch(name) or not path.exists():
            known = ", ".join(e.name for e in index.entries) or "nothing"
            raise ConfigError(f"there is no certificate for {name!r} here; issued: {known}")
        try:
            certificate = x509.load_pem_x509_certificate(read_file(path))
        except ValueError as error:
            raise ConfigError(f"{path} cannot be read: {error}") from None
        serial = f"{certificate.serial_number:x}"
        entry = next((e for e in index.entries if e.serial == serial), None)
        if entry is None:
            raise ConfigError(f"{path} was not issued by the authority in {self._folder}")
        made = make_ocsp_response(
            certificate,
            authority.certificate,
            at,
            dt.timedelta(days=days),
            signer=authority,
            revoked=dt.datetime.fromisoformat(entry.revoked) if entry.revoked else None,
        )
        written = self._path(f"{name}.ocsp")
        write_over(written, made.public_bytes(Encoding.DER))
        return entry, written

    def entries(self) -> list[Entry]:
        """Return all that was issued."""
        return self._index().entries

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _authority(self) -> Authority:
        self._require()
        try:
            certificate = x509.load_pem_x509_certificate(read_file(self._path("ca.pem")))
            key = load_pem_private_key(read_file(self._path("ca.key")), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"the authority in {self._folder} cannot be read: {error}") from None
        return Authority(certificate, key)  # type: ignore[arg-type]

    def _require(self) -> None:
        if not self._path("ca.pem").exists():
            raise ConfigError(
                f"there is no authority in {self._folder}; make one with: ipsecme pki ca"
            )

    def _index(self) -> _Index:
        self._require()
        try:
            table = json.loads(read_file(self._path("index.json")))
            return _Index(table["crl_number"], [Entry(**entry) for entry in table["entries"]])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._path('index.json')} is damaged: {error}") from None

    def _write_index(self, index: _Index) -> None:
        write_over(self._path("index.json"), _encode(index))


def publish(path: Path) -> tuple[Path, Path, Location]:
    """Write what peers may fetch beside a PEM file: its first certificate, and all as a bundle.

    Return both files in DER and the SHA-1 and name of the first. Authorities that vouch for
    themselves are left out of the bundle: peers have them.
    """
    try:
        found = [Certificate(c) for c in x509.load_pem_x509_certificates(read_file(path))]
    except (ValueError, PeerError) as error:
        raise ConfigError(f"{path} holds no certificates in PEM: {error}") from None
    first, *others = found
    between = [c.der for c in others if not c.is_self_issued]
    one, bundle = path.with_suffix(".cer"), path.with_suffix(".bundle")
    write_over(one, first.der)
    write_over(bundle, encode_bundle([first.der, *between]))
    return one, bundle, Location.of(first.der, one.name, is_bundle=False)


def _encode(index: _Index) -> bytes:
    return (json.dumps(asdict(index), indent=2) + "\n").encode()


def _pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
