"""Authorities and certificates for tests, made on the spot; keys are made once and shared."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from ipsecme.crypto.certificate import Certificate
from ipsecme.crypto.certificate_issue import (
    Authority,
    KeyType,
    alternative_name,
    issue,
    make_authority,
    make_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
    )

AT = dt.datetime(2030, 6, 1, 12, 0, tzinfo=dt.UTC)
YEAR = dt.timedelta(days=365)


_KEYS: dict[tuple[KeyType, int], CertificateIssuerPrivateKeyTypes] = {}


def key(kind: KeyType = "ecdsa256", number: int = 0) -> CertificateIssuerPrivateKeyTypes:
    """Return a key, the same for the same arguments."""
    if (kind, number) not in _KEYS:
        _KEYS[kind, number] = make_key(kind)
    return _KEYS[kind, number]


def name(text: str, organization: str = "Example") -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def authority(
    title: str,
    issuer: Authority | None = None,
    *,
    kind: KeyType = "ecdsa256",
    at: dt.datetime = AT,
    lifetime: dt.timedelta = YEAR,
    path_length: int | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    number: int = 100,
) -> Authority:
    return make_authority(
        name(title),
        key(kind, number),
        at,
        lifetime,
        issuer=issuer,
        path_length=path_length,
        extensions=extensions,
    )


def leaf(
    issuer: Authority | None,
    *names: str,
    title: str = "leaf",
    kind: KeyType = "ecdsa256",
    number: int = 0,
    at: dt.datetime = AT,
    lifetime: dt.timedelta = YEAR,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> Certificate:
    made = issue(
        name(title),
        key(kind, number),
        [alternative_name(n) for n in names],
        at,
        lifetime,
        issuer=issuer,
        extensions=extensions,
    )
    return Certificate(made)


def of(*authorities: Authority) -> Sequence[Certificate]:
    return [Certificate(a.certificate) for a in authorities]
