"""Certificates that are named by their SHA-1 and a URL (RFC 7296, section 3.6).

Owns what such a name looks like on the wire, the check that what the URL gave is what was named,
and the bundle: ``SEQUENCE OF CHOICE { cert [0] Certificate, crl [1] CertificateList }``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import PeerError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "LARGEST_BUNDLE",
    "LARGEST_CERTIFICATE",
    "Location",
    "LocationUnfit",
    "certificates_of",
    "encode_bundle",
]

LARGEST_CERTIFICATE = 16384
"""Octets of the largest certificate that is fetched."""
LARGEST_BUNDLE = 65535
"""Octets of the largest bundle that is fetched."""

_MOST_IN_BUNDLE = 8
_DIGEST_OCTETS = 20
_LONGEST_URL = 1024
_SEQUENCE, _CERT, _CRL = 0x30, 0xA0, 0xA1


class LocationUnfit(PeerError):
    """A hash-and-URL that cannot be followed, or that led to something else."""


class Location(NamedTuple):
    """SHA-1 and URL of a certificate or of a bundle."""

    digest: bytes
    url: str
    is_bundle: bool

    @classmethod
    def of(cls, content: bytes, url: str, *, is_bundle: bool) -> Location:
        """Return the name of what lies at a URL."""
        return cls(hashlib.sha1(content, usedforsecurity=False).digest(), url, is_bundle)

    @classmethod
    def decode(cls, data: bytes, *, is_bundle: bool) -> Location:
        """Read the data of a CERT payload: 20 octets of SHA-1, then the URL.

        Raises `LocationUnfit` for what is no URL of HTTP in printable ASCII.
        """
        digest, octets = data[:_DIGEST_OCTETS], data[_DIGEST_OCTETS:]
        if len(octets) > _LONGEST_URL:
            raise LocationUnfit(f"a URL of {len(octets)} octets; {_LONGEST_URL} are accepted")
        url = octets.decode("ascii", "replace")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise LocationUnfit("a URL with characters that no URL has")
        if not url.lower().startswith("http://"):
            raise LocationUnfit(f"{url[:80]!r} is no URL that begins with http://")
        return cls(digest, url, is_bundle)

    def encode(self) -> bytes:
        """Return the data of a CERT payload."""
        return self.digest + self.url.encode("ascii")

    def require_match(self, content: bytes) -> None:
        """Raise `LocationUnfit` unless `content` is what the name is about."""
        found = hashlib.sha1(content, usedforsecurity=False).digest()
        if found != self.digest:
            raise LocationUnfit(
                f"{self.url} gives something with SHA-1 {found.hex()}, not {self.digest.hex()}"
            )


def certificates_of(location: Location, content: bytes) -> list[bytes]:
    """Return the certificates in what a location led to, in DER, the first one first.

    Raises `LocationUnfit` for what is not what was named, is too large, or is no bundle.
    """
    limit = LARGEST_BUNDLE if location.is_bundle else LARGEST_CERTIFICATE
    if len(content) > limit:
        raise LocationUnfit(f"{location.url} gives more than {limit} octets")
    location.require_match(content)
    return _certificates_in(content) if location.is_bundle else [content]


def encode_bundle(certificates: Iterable[bytes]) -> bytes:
    """Return a CertificateBundle in DER of certificates in DER."""
    return _tlv(_SEQUENCE, b"".join(_tlv(_CERT, der) for der in certificates))


def _certificates_in(bundle: bytes) -> list[bytes]:
    """Return the certificates of a bundle; CRLs in it are passed over."""
    elements, rest = _split(bundle, (_SEQUENCE,))
    if rest:
        raise LocationUnfit("octets after a bundle of certificates")
    found: list[bytes] = []
    while elements:
        tag = elements[0]
        content, elements = _split(elements, (_CERT, _CRL))
        if tag == _CERT:
            found.append(content)
        if len(found) > _MOST_IN_BUNDLE:
            raise LocationUnfit(f"a bundle of more than {_MOST_IN_BUNDLE} certificates")
    if not found:
        raise LocationUnfit("a bundle without certificates")
    return found


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _split(octets: bytes, tags: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Split off the contents of the first element, and the rest; lengths as DER has them."""
    if len(octets) < 2 or octets[0] not in tags:
        raise LocationUnfit("something that is no bundle of certificates")
    size, start = octets[1], 2
    if size & 0x80:
        start += size & 0x7F
        length = octets[2:start]
        size = int.from_bytes(length)
        if start > 5 or not length or not length[0] or size < 0x80:
            raise LocationUnfit("a bundle with a length that is not DER")
    if start + size > len(octets):
        raise LocationUnfit("a bundle that ends too early")
    return octets[start : start + size], octets[start + size :]
