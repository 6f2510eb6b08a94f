"""Files with keys and certificates.

PEM with PKCS#8, PKCS#1 or SEC 1 keys, PKCS#12, and DER are recognised by what the file holds.
Names of files are relative to the configuration. Everything that can be wrong with a file is said
with the remedy; private keys that everybody may read are refused.
"""

from __future__ import annotations

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
from ipsecme.crypto.signature_keys import PublicKey
from ipsecme.daemon.revocation import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = [
    "Contents",
    "KeyRejected",
    "news_sources",
    "read_certificates",
    "read_file",
    "read_key",
    "read_password",
    "read_public",
]

_LARGEST = 256 << 10
_LARGEST_NEWS = 16 << 20
_LIBRARY_ERRORS = (ValueError, TypeError, UnsupportedAlgorithm, PeerError)
_PRIVATE = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL
)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class KeyRejected(ConfigError):
    """The value of one `key` of a connection cannot be used."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Contents(NamedTuple):
    """What a file holds: a private key, certificates, or both."""

    key: PrivateKeyTypes | None
    certificates: list[Certificate]


def read_certificates(setting: str, path: Path) -> list[Certificate]:
    """Return all certificates of a file, at least one; raises `KeyRejected`."""
    content = read_file(setting, path)
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


def read_public(path: Path) -> PublicKey:
    """Return the public key in a file, bare or in a certificate; raises `KeyRejected`."""
    content = read_file("remote_key", path)
    try:
        if _CERTIFICATE in content:
            return Certificate(x509.load_pem_x509_certificate(content)).key
        if b"-----BEGIN" in content:
            return PublicKey(serialization.load_pem_public_key(content))
        return PublicKey.decode(content)
    except _LIBRARY_ERRORS as error:
        raise KeyRejected("remote_key", f"{path} holds no public key of use: {error}") from None


def read_key(setting: str, path: Path, password: bytes | None) -> Contents:
    """Read a file that may hold a private key, certificates, or both."""
    content = read_file(setting, path)
    private = _PRIVATE.search(content)
    if private is None and b"-----BEGIN" in content:
        return Contents(None, _certificates(setting, path, content))
    if private is None:
        return _read_binary(setting, path, content, password)
    _require_private(setting, path)
    try:
        key = serialization.load_pem_private_key(private[0], password)
    except _LIBRARY_ERRORS as error:
        raise KeyRejected(setting, _why(path, error, password)) from None
    certificates = _certificates(setting, path, content) if _CERTIFICATE in content else []
    return Contents(key, certificates)


def _read_binary(setting: str, path: Path, content: bytes, password: bytes | None) -> Contents:
    """Read DER: a certificate, a PKCS#8 key, or PKCS#12."""
    try:
        return Contents(None, [Certificate.decode(content)])
    except PeerError:
        _require_private(setting, path)
    try:
        return Contents(serialization.load_der_private_key(content, password), [])
    except _LIBRARY_ERRORS:
        pass
    try:
        store = pkcs12.load_pkcs12(content, password)
        chain = [store.cert, *store.additional_certs]
        return Contents(store.key, [Certificate(c.certificate) for c in chain if c is not None])
    except _LIBRARY_ERRORS as error:
        raise KeyRejected(setting, _why(path, error, password)) from None


def _why(path: Path, error: Exception, password: bytes | None) -> str:
    text = str(error)
    if "password" in text.lower():
        remedy = "it does not fit" if password else "name the file that holds it: password_file"
        return f"{path} is protected by a password; {remedy}"
    return f"{path} cannot be read as PEM, PKCS#8 or PKCS#12: {text}"


def read_password(name: Path | None, folder: Path) -> bytes | None:
    """Return the password that a file holds, without the end of its line."""
    if name is None:
        return None
    path = folder / name
    content = read_file("password_file", path)
    _require_private("password_file", path)
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _require_private(setting: str, path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        raise KeyRejected(
            setting, f"everybody may read the secret in {path}; protect it with: chmod 600 {path}"
        )


def read_file(setting: str, path: Path, limit: int = _LARGEST) -> bytes:
    """Return the octets of a file, `limit` at most; raises `KeyRejected`."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise KeyRejected(setting, f"{path} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise KeyRejected(setting, f"{path} is larger than {limit >> 10} KiB")
    return content


def news_sources(
    setting: str,
    names: Sequence[str],
    folder: Path,
    decode: Callable[[bytes], object],
) -> tuple[str, ...]:
    """Return whole names of files that can be read, and URLs; raises `KeyRejected`."""
    found = [n if is_url(n) else str(folder / n) for n in names]
    for source in found:
        if not is_url(source):
            try:
                decode(read_file(setting, Path(source), _LARGEST_NEWS))
            except PeerError as error:
                raise KeyRejected(setting, f"{source}: {error}") from None
        elif not source.startswith(("http://", "https://")):
            raise KeyRejected(setting, f"{source} is neither a file nor a URL of HTTP")
    return tuple(found)
