"""From a connection's table to its `PeerConfig`: addresses, proofs of identity, Child SAs."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ipsecme.base import ConfigError, packed_address
from ipsecme.daemon.addressing import (
    DYNAMIC,
    address_config,
    request_families,
    selectors_of,
    static_selectors,
)
from ipsecme.daemon.credentials import load_credentials
from ipsecme.daemon.identities import Addresses, Proofs, local_identity, remote_identity
from ipsecme.daemon.key_files import KeyRejected
from ipsecme.daemon.psk import load_psk, weakness
from ipsecme.daemon.trust import load_trust
from ipsecme.ike.config import ChildConfig, Lifetimes, PeerConfig, Retransmission
from ipsecme.ike.transport_mode import on_address
from ipsecme.policy.keywords import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    parse_proposals,
)
from ipsecme.policy.parameters import Mode
from ipsecme.policy.selector import narrow
from ipsecme.wire.numbers import ProtocolId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ipsecme.base import Secret
    from ipsecme.daemon.resolve import Resolver
    from ipsecme.daemon.schema import ConnectionTable
    from ipsecme.policy.proposal import Proposal

__all__ = ["KeyRejected", "PeerMaker"]

# An SA outlives the moment of its rekeying by a tenth, and never by less than this.
_SHORTEST_GRACE = 30.0


class PeerMaker:
    """Makes the peers of one file. `folder` is where it lies; `warnings` grow on the way."""

    def __init__(
        self,
        folder: Path,
        resolver: Resolver,
        environment: Mapping[str, str],
        warnings: list[str],
    ) -> None:
        self._folder = folder
        self._resolver = resolver
        self._environment = environment
        self._warnings = warnings

    def peer(self, name: str, table: ConnectionTable) -> PeerConfig:
        """Return what the engine is told of a connection, or raise `KeyRejected`."""
        addresses = self._addresses(name, table)
        warnings: list[str] = []
        proofs = Proofs(
            load_credentials(table, self._folder, warnings),
            load_trust(table, self._folder, warnings),
        )
        local_id = local_identity(table, addresses, proofs, warnings)
        remote_id = remote_identity(table, addresses, proofs, warnings)
        psk = self._psk(table, warnings)
        self._warnings += (f"connection {name}: {warning}" for warning in warnings)
        return PeerConfig(
            name=name,
            local_id=local_id,
            remote_id=remote_id,
            psk=psk,
            credentials=proofs.credentials,
            trust=proofs.trust,
            local_null=table.local_auth == "null",
            remote_null=table.remote_auth == "null",
            children=_children(name, table, addresses),
            local_address=addresses.local,
            listen_address=None if table.local is None else addresses.local,
            remote_address=addresses.remote,
            remote_port=table.remote_port,
            proposals=_proposals(table.ike_proposals, DEFAULT_IKE_PROPOSALS, ProtocolId.IKE),
            lifetimes=_lifetimes(table.ike_rekey),
            retransmission=Retransmission(**table.retransmission.model_dump()),
            liveness=table.liveness,
            encapsulate=table.encapsulation == "always",
            reauthenticate=table.reauthenticate,
            break_before_make=table.break_before_make,
            mobike=table.mobike,
            return_routability=table.return_routability,
            max_children=table.max_children,
            request_families=request_families(table),
            lends=address_config(table),
            max_ike_sas=table.max_ike_sas,
            childless=table.childless,
            replicated=table.replicated,
        )

    def _addresses(self, name: str, table: ConnectionTable) -> Addresses:
        local = None if table.local is None else _address(table.local)
        if table.local is not None and local is None:
            raise KeyRejected("local", f"{table.local!r} is not an IP address")
        if local and not self._resolver.is_local(local):
            self._warnings.append(f"connection {name}: this host does not have {local} (local) now")
        if table.is_remote_any:
            return Addresses(local, None)
        version = ipaddress.ip_address(local).version if local else None
        try:
            remote = _address(table.remote) or self._resolver.address(table.remote, version)
            local = local or self._resolver.source(remote, table.remote_port)
        except ConfigError as error:
            raise KeyRejected("remote", str(error)) from None
        if ipaddress.ip_address(remote).version != ipaddress.ip_address(local).version:
            raise KeyRejected(
                "remote", f"remote is {remote} and local is {local}; both must be IPv4 or IPv6"
            )
        return Addresses(local, remote)

    def _psk(self, table: ConnectionTable, warnings: list[str]) -> Secret | None:
        keys = ("psk", "psk_file", "psk_env")
        source = next((key for key in keys if getattr(table, key) is not None), None)
        if source is None:
            return None
        try:
            psk = load_psk(table, self._folder, self._environment)
        except ConfigError as error:
            raise KeyRejected(source, str(error)) from None
        if warning := weakness(psk):
            warnings.append(warning)
        return psk


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None


def _children(name: str, table: ConnectionTable, addresses: Addresses) -> tuple[ChildConfig, ...]:
    made = []
    local, remote = selectors_of(table)
    if local is not None and remote is not None:
        made.append(_child(name, local, remote, table))
    for child_name, child in table.children.items():
        if child_name == name and made:
            raise KeyRejected(
                "children",
                f"{child_name} is also the name of the Child SA that local_ts and remote_ts of "
                "the connection make; choose another",
            )
        merged = table.model_copy(update={key: value for key, value in child if value is not None})
        made.append(_child(child_name, child.local_ts, child.remote_ts, merged))
    for config in made:
        _check_hosts(config, addresses)
    return tuple(made)


def _check_hosts(child: ChildConfig, addresses: Addresses) -> None:
    """Transport mode is between the two hosts; raise `KeyRejected` when policy leaves one out."""
    if child.mode is not Mode.TRANSPORT:
        return
    sides = (
        ("local_ts", addresses.local, child.local_ts),
        ("remote_ts", addresses.remote, child.remote_ts),
    )
    for key, address, selectors in sides:
        if address is None:
            continue
        if not narrow(on_address(selectors, packed_address(address)), selectors):
            raise KeyRejected(
                key,
                f"{key} of {child.name} does not hold {address}, and transport mode protects what "
                f"the two hosts themselves send; leave {key} out, add {address}, or use tunnel "
                "mode",
            )


def _child(
    name: str, local: Sequence[str], remote: Sequence[str], table: ConnectionTable
) -> ChildConfig:
    return ChildConfig(
        name=name,
        local_ts=static_selectors(local),
        remote_ts=static_selectors(remote),
        local_assigned=DYNAMIC in local,
        remote_leased=DYNAMIC in remote,
        proposals=_proposals(table.esp_proposals, DEFAULT_ESP_PROPOSALS, ProtocolId.ESP),
        lifetimes=_lifetimes(table.child_rekey),
        replay_window=table.replay_window,
        single_pair=table.single_pair,
        mode=Mode.TUNNEL if table.mode == "tunnel" else Mode.TRANSPORT,
        tunnel_fallback=table.mode == "prefer-transport",
    )


def _proposals(
    texts: Sequence[str] | None, default: Sequence[str], protocol: ProtocolId
) -> tuple[Proposal, ...]:
    return parse_proposals(texts or default, protocol)


def _lifetimes(rekey: float) -> Lifetimes:
    return Lifetimes(rekey=rekey, hard=rekey + max(rekey / 10, _SHORTEST_GRACE))
