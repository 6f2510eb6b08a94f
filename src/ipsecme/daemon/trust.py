"""What the peer's signature must lead to, and where news of revoked certificates is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_revocation import Crl
from ipsecme.daemon.credentials import warn_of_date
from ipsecme.daemon.key_files import KeyRejected, read_certificates, read_file, read_public
from ipsecme.daemon.revocation import is_url
from ipsecme.ike.auth.trust import Revocation, Trust

if TYPE_CHECKING:
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.daemon.schema import ConnectionTable

__all__ = ["load_trust"]

_LARGEST_CRL = 16 << 20


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
        Crl.decode(read_file("crl", path, _LARGEST_CRL))
    except PeerError as error:
        raise KeyRejected("crl", f"{path}: {error}") from None
