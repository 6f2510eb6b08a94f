"""What an end signs with, and what it takes for proof: values of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.crypto.certificate_bundle import Location
    from ipsecme.crypto.signature_keys import PublicKey, SigningKey
    from ipsecme.ike.config import Identity

__all__ = ["Credential", "Revocation", "Trust"]


@dataclass(slots=True, frozen=True)
class Credential:
    """Our signing key with its certificate and those between it and the authority, in order.

    Without certificates the key goes out as a raw public key (RFC 7670). `authorities` are the
    SHA-1 of the keys of all authorities, as CERTREQ names them, that the certificate leads to.
    `identity` is what we call ourselves with it, where the connection does not say so. `issuer` is
    who issued it, if known, and `ocsp` names files and URLs of OCSP responses about it. `location`
    is where peers find the first certificate, or a bundle of all.
    """

    key: SigningKey = field(repr=False)
    certificates: tuple[Certificate, ...] = ()
    authorities: frozenset[bytes] = frozenset()
    identity: Identity | None = None
    issuer: Certificate | None = None
    ocsp: tuple[str, ...] = ()
    location: Location | None = None


@dataclass(slots=True, frozen=True)
class Revocation:
    """What to do about revoked certificates, and where the news is.

    ``soft`` refuses what is known to be revoked; ``strict`` refuses also when that is not known.
    `sources` are names of files and URLs of CRLs, `ocsp` of OCSP responses and responders. `follow`
    and `ocsp_follow` say whether the URLs in certificates are followed, too, and whether to public
    addresses alone. `responders` are trusted with OCSP beside the authorities (RFC 6960, section
    2.2). An OCSP response may be `ocsp_max_age` seconds old, however long its author lets it.
    """

    policy: Literal["off", "soft", "strict"] = "off"
    sources: tuple[str, ...] = ()
    follow: Literal["off", "public", "any"] = "off"
    ocsp: tuple[str, ...] = ()
    ocsp_follow: Literal["off", "public", "any"] = "off"
    responders: tuple[Certificate, ...] = ()
    ocsp_max_age: float | None = None


@dataclass(slots=True, frozen=True)
class Trust:
    """What a peer's signature must lead to: an authority, a certificate, or a bare key.

    These hold for one connection alone. `lookup` says whether the peer may name its certificates
    by URL, and whether that may lead to inner addresses.
    """

    authorities: tuple[Certificate, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    keys: tuple[PublicKey, ...] = ()
    revocation: Revocation = Revocation()
    lookup: Literal["off", "public", "any"] = "off"
