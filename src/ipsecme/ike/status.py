"""What an endpoint says of itself when asked. Times are the caller's monotonic seconds."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.ike.state import ChildState, IkeState
from ipsecme.policy.selector import selector_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsecme.base import Path
    from ipsecme.ike.child import ChildSa
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.sa import IkeSa

__all__ = ["ChildSaStatus", "ConnectionStatus", "IkeSaStatus", "LastError", "describe"]


@dataclass(slots=True, frozen=True)
class LastError:
    """The last failure of a connection: a stable word, the words for people, and when."""

    reason: str
    detail: str
    at: float


@dataclass(slots=True, frozen=True)
class ChildSaStatus:
    """A Child SA; selectors as text."""

    name: str
    state: str
    inbound_spi: int
    outbound_spi: int
    suite: str
    mode: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    encapsulated: bool
    created_at: float
    rekey_at: float
    expires_at: float


@dataclass(slots=True, frozen=True)
class IkeSaStatus:
    """An IKE SA, SPIs in hexadecimal; `established_at` survives rekeying.

    The internal addresses that the peer has `leased` from us, and those that it has `assigned` to
    us, with its name servers, the `networks` behind it, and the software that it says it is.
    """

    state: str
    spi_i: str
    spi_r: str
    original_initiator: bool
    path: Path
    nat: str
    local_id: str
    remote_id: str
    suite: str
    created_at: float
    established_at: float
    rekey_at: float
    expires_at: float
    last_inbound_at: float
    children: tuple[ChildSaStatus, ...]
    leased: tuple[str, ...] = ()
    assigned: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    peer_version: str = ""


@dataclass(slots=True, frozen=True)
class ConnectionStatus:
    """A configured connection: ``down``, ``connecting``, ``up`` or ``closing``."""

    name: str
    state: str
    last_error: LastError | None
    ike_sas: tuple[IkeSaStatus, ...]


def describe(peer: PeerConfig, sas: list[IkeSa], last_error: LastError | None) -> ConnectionStatus:
    """Return the status of one connection."""
    live = [sa for sa in sas if sa.state is not IkeState.CLOSED]
    return ConnectionStatus(
        peer.name, _state(live), last_error, tuple(_describe_ike(sa) for sa in live)
    )


def _state(live: list[IkeSa]) -> str:
    states = {sa.state for sa in live}
    if IkeState.ESTABLISHED in states:
        return "up"
    if IkeState.HALF_OPEN in states:
        return "connecting"
    return "closing" if live else "down"


def _describe_ike(sa: IkeSa) -> IkeSaStatus:
    peer = sa.peer
    suite = sa.agreed_suite
    return IkeSaStatus(
        state=sa.state.value,
        spi_i=sa.spi_i.hex(),
        spi_r=sa.spi_r.hex(),
        original_initiator=sa.original_initiator,
        path=sa.path,
        nat=sa.nat,
        local_id=str(peer.local_id) if peer else "",
        remote_id=str(sa.peer_identity or (peer.remote_id if peer else None) or ""),
        suite=str(suite) if suite else "",
        created_at=sa.created_at,
        established_at=sa.established_at,
        rekey_at=sa.rekey_at,
        expires_at=sa.expires_at,
        last_inbound_at=sa.last_inbound_at,
        children=tuple(
            _describe_child(child) for child in sa.children if child.state is not ChildState.CLOSED
        ),
        leased=_texts(sa.internal.leased),
        assigned=_texts(sa.internal.assigned),
        dns=_texts(sa.internal.dns),
        networks=tuple(
            f"{ipaddress.ip_address(address)}/{bits}" for address, bits in sa.internal.subnets
        ),
        peer_version=sa.internal.peer_version,
    )


def _texts(addresses: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_address(address)) for address in addresses)


def _describe_child(child: ChildSa) -> ChildSaStatus:
    pair = child.pair
    return ChildSaStatus(
        name=child.config.name,
        state=child.state.value,
        inbound_spi=child.spi,
        outbound_spi=child.outbound_spi,
        suite=str(pair.suite),
        mode=pair.mode.value,
        local_ts=tuple(selector_text(s) for s in pair.local_ts),
        remote_ts=tuple(selector_text(s) for s in pair.remote_ts),
        encapsulated=pair.path.encapsulated,
        created_at=child.created_at,
        rekey_at=child.rekey_at,
        expires_at=child.expires_at,
    )
