"""What the peer's signature must lead to, and where news of revoked certificates is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_ocsp import OcspResponse
from ipsecme.crypto.certificate_revocation import Crl
from ipsecme.daemon.credentials import warn_of_date
from ipsecme.daemon.key_files import KeyRejected, news_sources, read_certificates, read_public
from ipsecme.ike.auth.trust import Revocation, Trust

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.crypto.certificate import Certificate
    from ipsecme.daemon.schema import ConnectionTable

__all__ = ["load_trust"]


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
        warn_of_date(certificate, warnings)
    pinned: list[Certificate] = []
    if table.remote_cert is not None:
        pinned = read_certificates("remote_cert", folder / table.remote_cert)
    keys = [read_public(folder / table.remote_key)] if table.remote_key else []
    return Trust(
        tuple(authorities),
        tuple(pinned),
        tuple(keys),
        _revocation(table, folder),
        table.cert_fetch or "off",
    )


def _revocation(table: ConnectionTable, folder: Path) -> Revocation:
    crls = news_sources("crl", table.crl or (), folder, Crl.decode)
    ocsp = news_sources("ocsp", table.ocsp or (), folder, OcspResponse.decode)
    responders = [
        certificate
        for name in table.ocsp_responder or ()
        for certificate in read_certificates("ocsp_responder", folder / name)
    ]
    follow, ocsp_follow = table.crl_fetch or "off", table.ocsp_fetch or "off"
    has_news = crls or ocsp or responders or (follow, ocsp_follow) != ("off", "off")
    return Revocation(
        table.revocation or ("soft" if has_news else "off"),
        crls,
        follow,
        ocsp,
        ocsp_follow,
        tuple(responders),
        table.ocsp_max_age,
    )
