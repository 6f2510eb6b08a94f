"""What this end signs with: pairs of certificate and key, made of the files of a connection.

A key is found for each certificate by what the files hold, not by their order. A key alone is a raw
public key (RFC 7670). Everything that can be wrong is said with the remedy.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_bundle import Location, LocationUnfit, encode_bundle
from ipsecme.crypto.certificate_ocsp import OcspResponse
from ipsecme.crypto.certificate_path import authorities_above
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.daemon.key_files import (
    Contents,
    KeyRejected,
    news_sources,
    read_certificates,
    read_key,
    read_password,
)
from ipsecme.daemon.own_dates import date_complaint
from ipsecme.ike.auth.trust import Credential
from ipsecme.ike.config import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ipsecme.crypto.certificate import Certificate
    from ipsecme.daemon.schema import ConnectionTable

__all__ = ["first_name", "load_credentials", "warn_of_date"]


def load_credentials(
    table: ConnectionTable, folder: Path, warnings: list[str]
) -> tuple[Credential, ...]:
    """Return what this end can sign with, in the order of `cert`; raises `KeyRejected`."""
    if table.cert is None and table.key is None:
        return ()
    password = read_password(table.password_file, folder)
    shown = {
        path: read_key("cert", path, password)
        for path in (folder / name for name in table.cert or ())
    }
    given = {
        path: read_key("key", path, password)
        for path in (folder / name for name in table.key or ())
    }
    keys = _keys("key", given, strict=True) | _keys("cert", shown, strict=False)
    if not shown:
        return tuple(Credential(key) for key in keys.values())
    authorities = _authorities(table, folder, shown)
    made = tuple(_credential(path, found, keys, authorities) for path, found in shown.items())
    if table.ocsp_own:
        made = tuple(_with_ocsp(credential, table.ocsp_own, folder) for credential in made)
    made = _with_locations(table, made)
    _require_use(keys, given, made)
    for credential in made:
        for certificate in credential.certificates:
            warn_of_date(certificate, warnings)
    if len(made) > 1 and table.local_id is None:
        made = tuple(_with_identity(credential) for credential in made)
    return made


def _keys(setting: str, files: dict[Path, Contents], *, strict: bool) -> dict[Path, SigningKey]:
    found = {}
    for path, contents in files.items():
        if contents.key is None and not strict:
            continue
        if contents.key is None:
            raise KeyRejected(setting, f"{path} holds no private key")
        try:
            found[path] = SigningKey(contents.key)
        except PeerError as error:
            raise KeyRejected(setting, f"{path}: {error}") from None
    return found


def _authorities(
    table: ConnectionTable, folder: Path, shown: dict[Path, Contents]
) -> list[Certificate]:
    """Return the authorities that we know of, to find out which are above our certificates."""
    known = [c for contents in shown.values() for c in contents.certificates]
    for name in table.ca or ():
        known += read_certificates("ca", folder / name)
    return list(dict.fromkeys(c for c in known if c.is_authority))


def _credential(
    cert: Path,
    contents: Contents,
    keys: dict[Path, SigningKey],
    authorities: Sequence[Certificate],
) -> Credential:
    """Put our certificate first and leave out authorities that vouch for themselves."""
    found = contents.certificates
    if not found:
        raise KeyRejected("cert", f"{cert} holds no certificate")
    if not keys:
        raise KeyRejected("cert", f"{cert} holds no private key; name its file with key")
    by_public = {key.public: key for key in keys.values()}
    own = next((certificate for certificate in found if certificate.key in by_public), None)
    if own is None:
        names = " or ".join(str(path) for path in keys)
        raise KeyRejected(
            "key",
            f"the key in {names} does not belong to the certificate {found[0]} in {cert}; "
            "name the key that was made with it",
        )
    if (reason := own.unfit_for_ike()) is not None:
        raise KeyRejected("cert", f"{own} does not serve for IKE: {reason}")
    others = [c for c in found if c is not own and not c.is_self_issued]
    above = authorities_above(own, authorities)
    hashes = frozenset(authority.key.key_hash for authority in above)
    issuer = above[0] if above else None
    return Credential(by_public[own.key], (own, *others), hashes, issuer=issuer)


def _require_use(
    keys: dict[Path, SigningKey], given: dict[Path, Contents], made: Sequence[Credential]
) -> None:
    used = {credential.key.public for credential in made}
    for path in given:
        if keys[path].public not in used:
            raise KeyRejected(
                "key", f"the key in {path} belongs to none of the certificates in cert; remove it"
            )


def _with_locations(table: ConnectionTable, made: tuple[Credential, ...]) -> tuple[Credential, ...]:
    """Note where peers find our certificates: one URL for each, in the order of `cert`."""
    key = "cert_url" if table.cert_url else "cert_bundle_url"
    urls = table.cert_url or table.cert_bundle_url
    if urls is None:
        return made
    if len(urls) != len(made):
        raise KeyRejected(key, f"{len(urls)} URLs for {len(made)} certificates; name one for each")
    located = []
    for url, credential in zip(urls, made, strict=True):
        ders = [certificate.der for certificate in credential.certificates]
        is_bundle = key == "cert_bundle_url"
        content = encode_bundle(ders) if is_bundle else ders[0]
        try:
            location = Location.of(content, url, is_bundle=is_bundle)
            Location.decode(location.encode(), is_bundle=is_bundle)
        except (LocationUnfit, UnicodeEncodeError) as error:
            raise KeyRejected(key, f"no peer could use it: {error}") from None
        located.append(replace(credential, location=location))
    return tuple(located)


def _with_ocsp(credential: Credential, names: Sequence[str], folder: Path) -> Credential:
    if credential.issuer is None:
        raise KeyRejected(
            "ocsp_own",
            f"who issued {credential.certificates[0]} is not known here, and OCSP needs that; add "
            "the authority's certificate to the file in cert",
        )
    return replace(credential, ocsp=news_sources("ocsp_own", names, folder, OcspResponse.decode))


def _with_identity(credential: Credential) -> Credential:
    text = first_name(credential.certificates)
    return credential if text is None else replace(credential, identity=Identity.parse(text))


def warn_of_date(certificate: Certificate, warnings: list[str]) -> None:
    """Add a warning when a certificate is out of date, or will soon be."""
    if (text := date_complaint(certificate, dt.datetime.now(dt.UTC))) is not None:
        warnings.append(text)


def first_name(certificates: Sequence[Certificate]) -> str | None:
    """Return the identity that a certificate names first, as text, or None when it names none."""
    if not certificates:
        return None
    names = certificates[0].names
    for found in (names.hosts, names.mails, names.addresses):
        if found:
            return str(found[0])
    return str(certificates[0].subject) or None
