"""Keys and certificates of a connection, read from their files.

PEM with PKCS#8, PKCS#1 or SEC 1 keys, PKCS#12, and DER are recognised by what the file holds.
Names of files are relative to the configuration. Everything that can be wrong with a file is said
with the remedy; private keys that everybody may read are refused.
"""

from __future__ import annotations

import datetime as dt
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from ipsecme.base import ConfigError, PeerError
from ipsecme.crypto.certificate import Certificate
from ipsecme.crypto.certificate_revocation import Crl
from ipsecme.crypto.signature_keys import PublicKey, SigningKey
from ipsecme.daemon.revocation import is_url
from ipsecme.ike.auth.trust import Credential, Revocation, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from ipsecme.daemon.schema import ConnectionTable

__all__ = ["KeyRejected", "first_name", "load_credential", "load_trust", "read_certificates"]

_LARGEST = 256 << 10
_LARGEST_CRL = 16 << 20
_LIBRARY_ERRORS = (ValueError, TypeError, UnsupportedAlgorithm, PeerError)
_PRIVATE = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL
)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_SOON = dt.timedelta(days=14)


class KeyRejected(ConfigError):
    """The value of one `key` of a connection cannot be used."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class _Contents(NamedTuple):
    key: PrivateKeyTypes | None
    certificates: list[Certificate]


def load_credential(table: ConnectionTable, folder: Path, warnings: list[str]) -> Credential | None:
    """Return what this end signs with, or None; raises `KeyRejected`."""
    if table.cert is None and table.key is None:
        return None
    password = _password(table, folder)
    cert = folder / table.cert if table.cert else None
    shown = _read_key("cert", cert, password) if cert else _Contents(None, [])
    path = folder / table.key if table.key else None
    library_key = _read_key("key", path, password).key if path else shown.key
    if library_key is None:
        where = path or cert
        raise KeyRejected(
            "key" if path else "cert",
            f"{where} holds no private key" + ("" if path else "; name its file with key"),
        )
    try:
        key = SigningKey(library_key)
    except PeerError as error:
        raise KeyRejected("key" if path else "cert", f"{path or cert}: {error}") from None
    if cert is None:
        return Credential(key)
    certificates = _ordered(key, shown.certificates, cert, path)
    _warn_of_date(certificates[0], warnings)
    return Credential(key, certificates)


def _ordered(
    key: SigningKey, found: list[Certificate], cert: Path, path: Path | None
) -> tuple[Certificate, ...]:
    """Put our certificate first and leave out authorities that vouch for themselves."""
    if not found:
        raise KeyRejected("cert", f"{cert} holds no certificate")
    own = [certificate for certificate in found if certificate.key == key.public]
    if not own:
        raise KeyRejected(
            "key",
            f"the key in {path or cert} does not belong to the certificate {found[0]} in {cert}; "
            "name the key that was made with it",
        )
    if (reason := own[0].unfit_for_ike()) is not None:
        raise KeyRejected("cert", f"{own[0]} does not serve for IKE: {reason}")
    others = [c for c in found if c is not own[0] and not c.is_self_issued]
    return (own[0], *others)


def _warn_of_date(certificate: Certificate, warnings: list[str]) -> None:
    now = dt.datetime.now(dt.UTC)
    end = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if now > certificate.not_after:
        warnings.append(f"the certificate {certificate} expired on {end}; renew it")
    elif now < certificate.not_before:
        begin = f"{certificate.not_before:%Y-%m-%d %H:%M} UTC"
        warnings.append(f"the certificate {certificate} is not valid before {begin}")
    elif certificate.not_after - now < _SOON:
        warnings.append(f"the certificate {certificate} expires on {end}; renew it soon")


def load_trust(table: ConnectionTable, folder: Path, warnings: list[str]) -> Trust | None:
    """Return what proves the peer's signature, or None; raises `KeyRejected`."""
    if table.ca is None and table.remote_cert is None and table.remote_key is None:
        return None
    authorities: list[Certificate] = []
    for name in table.ca or ():
        authorities += read_certificates("ca", folder / name)
    for certificate in authorities:
        if not certificate.is_authority:
            raise KeyRejected(
                "ca",
                f"{certificate} is not marked as an authority (basicConstraints, keyUsage); "
                "to trust just this certificate use remote_cert",
            )
        _warn_of_date(certificate, warnings)
    pinned: list[Certificate] = []
    if table.remote_cert is not None:
        pinned = read_certificates("remote_cert", folder / table.remote_cert)
    keys = [_read_public(folder / table.remote_key)] if table.remote_key else []
    sources = [n if is_url(n) else str(folder / n) for n in table.crl or ()]
    for source in sources:
        if not is_url(source):
            _require_crl(Path(source))
        elif not source.startswith(("http://", "https://")):
            raise KeyRejected("crl", f"{source} is neither a file nor a URL of HTTP")
    follow = table.crl_fetch or "off"
    policy = table.revocation or ("soft" if sources or follow != "off" else "off")
    return Trust(
        tuple(authorities),
        tuple(pinned),
        tuple(keys),
        Revocation(policy, tuple(sources), follow),
    )


def _require_crl(path: Path) -> None:
    try:
        Crl.decode(_read("crl", path, _LARGEST_CRL))
    except PeerError as error:
        raise KeyRejected("crl", f"{path}: {error}") from None


def read_certificates(setting: str, path: Path) -> list[Certificate]:
    """Return all certificates of a file, at least one; raises `KeyRejected`."""
    content = _read(setting, path)
    found = _certificates(setting, path, content)
    if not found:
        raise KeyRejected(setting, f"{path} holds no certificate in PEM or DER")
    return found


def _certificates(setting: str, path: Path, content: bytes) -> list[Certificate]:
    try:
        if _CERTIFICATE in content:
            return [Certificate(c) for c in x509.load_pem_x509_certificates(content)]
        if b"-----BEGIN" in content:
            return []
        return [Certificate.decode(content)]
    except _LIBRARY_ERRORS as error:
        raise KeyRejected(setting, f"{path} holds a certificate that is no good: {error}") from None


def _read_public(path: Path) -> PublicKey:
    content = _read("remote_key", path)
    try:
        if _CERTIFICATE in content:
            return Certificate(x509.load_pem_x509_certificate(content)).key
        if b"-----BEGIN" in content:
            return PublicKey(serialization.load_pem_public_key(content))
        return PublicKey.decode(content)
    except _LIBRARY_ERRORS as error:
        raise KeyRejected("remote_key", f"{path} holds no public key of use: {error}") from None


def _read_key(setting: str, path: Path, password: bytes | None) -> _Contents:
    """Read a file that may hold a private key, certificates, or both."""
    content = _read(setting, path)
    private = _PRIVATE.search(content)
    if private is None and b"-----BEGIN" in content:
        return _Contents(None, _certificates(setting, path, content))
    if private is None:
        return _read_binary(setting, path, content, password)
    _require_private(setting, path)
    try:
        key = serialization.load_pem_private_key(private[0], password)
    except _LIBRARY_ERRORS as error:
        raise KeyRejected(setting, _why(path, error, password)) from None
    certificates = _certificates(setting, path, content) if _CERTIFICATE in content else []
    return _Contents(key, certificates)


def _read_binary(setting: str, path: Path, content: bytes, password: bytes | None) -> _Contents:
    """Read DER: a certificate, a PKCS#8 key, or PKCS#12."""
    try:
        return _Contents(None, [Certificate.decode(content)])
    except PeerError:
        _require_private(setting, path)
    try:
        return _Contents(serialization.load_der_private_key(content, password), [])
    except _LIBRARY_ERRORS:
        pass
    try:
        store = pkcs12.load_pkcs12(content, password)
        chain = [store.cert, *store.additional_certs]
        return _Contents(store.key, [Certificate(c.certificate) for c in chain if c is not None])
    except _LIBRARY_ERRORS as error:
        raise KeyRejected(setting, _why(path, error, password)) from None


def _why(path: Path, error: Exception, password: bytes | None) -> str:
    text = str(error)
    if "password" in text.lower():
        remedy = "it does not fit" if password else "name the file that holds it: password_file"
        return f"{path} is protected by a password; {remedy}"
    return f"{path} cannot be read as PEM, PKCS#8 or PKCS#12: {text}"


def _password(table: ConnectionTable, folder: Path) -> bytes | None:
    if table.password_file is None:
        return None
    path = folder / table.password_file
    content = _read("password_file", path)
    _require_private("password_file", path)
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _require_private(setting: str, path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        raise KeyRejected(
            setting, f"everybody may read the secret in {path}; protect it with: chmod 600 {path}"
        )


def _read(setting: str, path: Path, limit: int = _LARGEST) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise KeyRejected(setting, f"{path} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise KeyRejected(setting, f"{path} is larger than {limit >> 10} KiB")
    return content


def first_name(certificates: Sequence[Certificate]) -> str | None:
    """Return the identity that a certificate names first, as text, or None when it names none."""
    if not certificates:
        return None
    names = certificates[0].names
    for found in (names.hosts, names.mails, names.addresses):
        if found:
            return str(found[0])
    return str(certificates[0].subject) or None
