"""What happened, as values. Log, control socket, metrics and key export are readers of this stream.

Each event names the connection (`PeerConfig.name`, empty while unknown). `ike_spi` is the local SPI
of the IKE SA in hexadecimal and stays the handle of that IKE SA until it is rekeyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datetime as dt

    from ipsecme.base import Path, Secret
    from ipsecme.crypto.suite import EspSuite, IkeSuite

__all__ = [
    "AddressesAssigned",
    "AddressesLeased",
    "CertificateOutOfDate",
    "ChildSaClosed",
    "ChildSaCreated",
    "ChildSaFailed",
    "Event",
    "IkeKeysDerived",
    "IkeSaClosed",
    "IkeSaEstablished",
    "IkeSaFailed",
    "IkeSaRekeyed",
    "PathChanged",
]


class IkeSaEstablished(NamedTuple):
    """Both ends are authenticated."""

    connection: str
    ike_spi: str
    initiator: bool
    peer_identity: str
    path: Path
    suite: IkeSuite
    nat: str


class IkeSaFailed(NamedTuple):
    """An IKE SA did not come up. `reason` is a stable word, `detail` says it to people.

    Reasons: ``unreachable``, ``no_proposal_chosen``, ``authentication_failed``, ``invalid_syntax``,
    ``timeout``, ``refused``, ``internal``.
    """

    connection: str
    ike_spi: str
    initiator: bool
    reason: str
    detail: str
    path: Path


class IkeSaRekeyed(NamedTuple):
    """A new IKE SA took the place of an old one."""

    connection: str
    old_ike_spi: str
    ike_spi: str
    initiator: bool
    suite: IkeSuite


class IkeSaClosed(NamedTuple):
    """An established IKE SA ended with all its Child SAs.

    Reasons: ``deleted`` (here), ``deleted_by_peer``, ``unreachable``, ``expired``, ``replaced``,
    ``invalid_syntax``, ``authentication_failed``, ``reauthenticated``, ``authentication_expired``,
    ``temporary_failure``, ``internal_address_failure``, ``policy_changed``.
    """

    connection: str
    ike_spi: str
    reason: str
    detail: str


class ChildSaCreated(NamedTuple):
    """A Child SA is up; `replaces` is the inbound SPI of the one that it rekeys."""

    connection: str
    child: str
    ike_spi: str
    inbound_spi: int
    outbound_spi: int
    suite: EspSuite
    initiator: bool
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    replaces: int | None


class ChildSaFailed(NamedTuple):
    """A Child SA did not come up; the IKE SA lives on.

    Reasons: ``no_proposal_chosen``, ``ts_unacceptable``, ``refused``, ``install_failed``,
    ``internal_address_failure``, ``failed_cp_required``.
    """

    connection: str
    child: str
    ike_spi: str
    reason: str
    detail: str


class ChildSaClosed(NamedTuple):
    """A Child SA is gone.

    Reasons: ``rekeyed``, ``deleted``, ``deleted_by_peer``, ``expired``, ``install_failed``,
    ``ike_sa_closed``, ``lost_by_peer``, ``policy_changed``.
    """

    connection: str
    child: str
    ike_spi: str
    inbound_spi: int
    reason: str


class PathChanged(NamedTuple):
    """One end is elsewhere: its NAT did it (RFC 7296, section 2.23), or it moved (RFC 4555)."""

    connection: str
    ike_spi: str
    old: Path
    new: Path


class CertificateOutOfDate(NamedTuple):
    """We show a certificate outside its dates, because none is left that is better."""

    connection: str
    ike_spi: str
    certificate: str
    not_before: dt.datetime
    not_after: dt.datetime


class AddressesLeased(NamedTuple):
    """The peer has these internal addresses of ours, until its IKE SA ends (RFC 7296, 2.19)."""

    connection: str
    ike_spi: str
    peer_identity: str
    addresses: tuple[str, ...]


class AddressesAssigned(NamedTuple):
    """The peer has assigned internal addresses to us, and named its name servers."""

    connection: str
    ike_spi: str
    addresses: tuple[str, ...]
    dns: tuple[str, ...]


class IkeKeysDerived(NamedTuple):
    """The keys of an IKE SA, given out only when `EndpointConfig.export_keys` says so."""

    connection: str
    spi_i: bytes
    spi_r: bytes
    suite: IkeSuite
    sk_ei: Secret
    sk_er: Secret
    sk_ai: Secret
    sk_ar: Secret


Event = (
    IkeSaEstablished
    | IkeSaFailed
    | IkeSaRekeyed
    | IkeSaClosed
    | ChildSaCreated
    | ChildSaFailed
    | ChildSaClosed
    | PathChanged
    | CertificateOutOfDate
    | AddressesLeased
    | AddressesAssigned
    | IkeKeysDerived
)
