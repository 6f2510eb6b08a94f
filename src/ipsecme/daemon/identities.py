"""What both ends call themselves when the configuration does not say so."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.daemon.credentials import first_name
from ipsecme.daemon.key_files import KeyRejected
from ipsecme.ike.auth.identity import mismatch
from ipsecme.ike.config import Identity
from ipsecme.wire.numbers import IdType

if TYPE_CHECKING:
    from ipsecme.daemon.schema import ConnectionTable
    from ipsecme.ike.auth.trust import Credential, Trust

__all__ = ["Addresses", "Proofs", "local_identity", "remote_identity"]

_NOBODY = Identity(IdType.ID_NULL, b"")


class Addresses(NamedTuple):
    """Addresses of a connection; `remote` is None when the peer may come from anywhere."""

    local: str | None
    remote: str | None


class Proofs(NamedTuple):
    """What this end signs with, and what the peer's signature must lead to."""

    credentials: tuple[Credential, ...]
    trust: Trust | None


def local_identity(
    table: ConnectionTable, addresses: Addresses, proofs: Proofs, warnings: list[str]
) -> Identity:
    """Return local_id: as given, as the certificate says, or else the local address."""
    certificates = proofs.credentials[0].certificates if proofs.credentials else ()
    if table.local_id is not None:
        identity = Identity.parse(table.local_id)
        for credential in proofs.credentials:
            own = credential.certificates[:1]
            if not own or (reason := mismatch(own[0], identity)) is None:
                continue
            warnings.append(
                f"local_id is {identity}, but {reason}; peers that do not pin the certificate "
                "will refuse it. Leave local_id out to use the certificate's own name"
            )
        return identity
    if table.local_auth == "null":
        return _NOBODY
    text = first_name(certificates) or addresses.local
    if text is None:
        raise KeyRejected(
            "local_id",
            "the peer may come from anywhere, so the address that it will call is not known; "
            "add local_id or local",
        )
    return Identity.parse(text)


def remote_identity(
    table: ConnectionTable, addresses: Addresses, proofs: Proofs, warnings: list[str]
) -> Identity | None:
    """Return remote_id: as given, as the pinned certificate says, or what stands in remote."""
    if table.remote_id is not None:
        return Identity.parse(table.remote_id)
    if table.remote_auth == "null":
        warnings.append('with remote_auth = "null" everyone is accepted and nobody is known')
        return None
    trust = proofs.trust
    if trust is not None and len(trust.certificates) == 1:
        return Identity.parse(first_name(trust.certificates) or f"{addresses.remote}")
    if addresses.remote is not None:
        named = trust is not None and bool(trust.authorities) and not _is_address(table.remote)
        return Identity.parse(table.remote if named else addresses.remote)
    if trust is None:
        warnings.append("without remote_id everyone who has its secret is accepted")
    elif trust.authorities:
        warnings.append(
            "without remote_id everyone with a certificate that leads to ca is accepted"
        )
    return None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True
