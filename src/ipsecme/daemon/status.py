"""The state of the daemon as the control socket tells it: engine, data plane and history, joined.

The engine's times are monotonic seconds; here they become ages and remaining times.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import ipsecme
from ipsecme import control
from ipsecme.daemon.hints import hint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme.daemon.history import History
    from ipsecme.daemon.keepup import KeepUp
    from ipsecme.dataplane import Counters, DropReason, SaCounters, Totals
    from ipsecme.ike.endpoint import Endpoint
    from ipsecme.ike.status import ChildSaStatus, ConnectionStatus, IkeSaStatus

__all__ = ["StatusView"]

BySpi = dict[int, "SaCounters"]


class StatusView:
    """Describes one daemon. `started_at` is its start in monotonic seconds."""

    def __init__(
        self, endpoint: Endpoint, history: History, keep_up: KeepUp, started_at: float
    ) -> None:
        self._endpoint = endpoint
        self._history = history
        self._keep_up = keep_up
        self._started_at = started_at

    def reply(self, counters: Counters | None, now: float) -> control.StatusReply:
        """Return everything; `counters` is None when the data plane has ended."""
        by_spi = {sa.spi: sa for sa in counters.sas} if counters else {}
        return control.StatusReply(
            version=ipsecme.__version__,
            pid=os.getpid(),
            uptime=now - self._started_at,
            admission=self._admission(),
            connections=tuple(
                self._connection(status, by_spi, now) for status in self._endpoint.status()
            ),
            ike_counters=dict(sorted(self._endpoint.counters.items())),
            packet_counters=_packet_counters(counters.totals) if counters else {},
        )

    def _admission(self) -> control.AdmissionStatus:
        endpoint = self._endpoint
        limits = endpoint.config.admission
        return control.AdmissionStatus(
            half_open=endpoint.half_open,
            half_open_most=endpoint.most_half_open,
            half_open_limit=limits.half_open_limit,
            cookie_threshold=limits.cookie_threshold,
            ike_sas=endpoint.ike_sas,
            ike_sa_limit=limits.ike_sa_limit,
        )

    def connection(
        self, name: str, counters: Counters | None, now: float
    ) -> control.ConnectionStatus | None:
        """Return one connection, or None if it is not configured."""
        by_spi = {sa.spi: sa for sa in counters.sas} if counters else {}
        for status in self._endpoint.status():
            if status.name == name:
                return self._connection(status, by_spi, now)
        return None

    def _connection(
        self, status: ConnectionStatus, by_spi: BySpi, now: float
    ) -> control.ConnectionStatus:
        history = self._history.of(status.name)
        ike_sas = tuple(_ike_sa(sa, by_spi, now) for sa in status.ike_sas)
        signs = [sa.last_message_in for sa in ike_sas]
        signs += [child.last_packet_in for sa in ike_sas for child in sa.children]
        return control.ConnectionStatus(
            name=status.name,
            state=status.state,
            wanted=self._keep_up.is_wanted(status.name),
            last_packet_in=min((sign for sign in signs if sign is not None), default=None),
            rekeys=control.RekeyCounts(ike=history.ike_rekeys, child=history.child_rekeys),
            last_error=self._last_error(status, now),
            ike_sas=ike_sas,
        )

    def _last_error(self, status: ConnectionStatus, now: float) -> control.LastError | None:
        """Return the latest error that nothing has put right since.

        The engine knows details of failed installations that its events do not carry.
        """
        found = [error for error in (status.last_error, self._history.open_error(status.name))
                 if error is not None]  # fmt: skip
        if not found:
            return None
        latest = max(found, key=lambda error: (error.at, bool(error.detail)))
        return control.LastError(
            latest.reason, latest.detail, hint(latest.reason), max(now - latest.at, 0.0)
        )


def _ike_sa(sa: IkeSaStatus, by_spi: BySpi, now: float) -> control.IkeStatus:
    is_established = sa.established_at > 0
    return control.IkeStatus(
        state=sa.state,
        spi_i=sa.spi_i,
        spi_r=sa.spi_r,
        initiator=sa.original_initiator,
        local=str(sa.path.local),
        remote=str(sa.path.remote),
        local_id=sa.local_id,
        remote_id=sa.remote_id,
        nat=sa.nat,
        suite=sa.suite,
        established=now - sa.established_at if is_established else None,
        rekey_in=max(sa.rekey_at - now, 0.0) if is_established else None,
        expires_in=max(sa.expires_at - now, 0.0) if is_established else None,
        last_message_in=now - sa.last_inbound_at if is_established else None,
        children=tuple(_child(child, by_spi.get(child.inbound_spi), now) for child in sa.children),
        leased=sa.leased,
        assigned=sa.assigned,
        dns=sa.dns,
        networks=sa.networks,
        peer_version=sa.peer_version,
    )


def _child(sa: ChildSaStatus, counters: SaCounters | None, now: float) -> control.ChildStatus:
    last = counters.last_inbound if counters else None
    return control.ChildStatus(
        name=sa.name,
        state=sa.state,
        inbound_spi=f"{sa.inbound_spi:08x}",
        outbound_spi=f"{sa.outbound_spi:08x}",
        suite=sa.suite,
        mode=sa.mode,
        local_ts=sa.local_ts,
        remote_ts=sa.remote_ts,
        encapsulated=sa.encapsulated,
        age=now - sa.created_at,
        rekey_in=max(sa.rekey_at - now, 0.0),
        expires_in=max(sa.expires_at - now, 0.0),
        bytes_in=counters.octets_in if counters else 0,
        bytes_out=counters.octets_out if counters else 0,
        packets_in=counters.packets_in if counters else 0,
        packets_out=counters.packets_out if counters else 0,
        last_packet_in=None if last is None else max(now - last, 0.0),
        drops=_drops(counters.drops) if counters else {},
    )


def _packet_counters(totals: Totals) -> dict[str, int]:
    return {
        "packets_in": totals.packets_in,
        "bytes_in": totals.octets_in,
        "packets_out": totals.packets_out,
        "bytes_out": totals.octets_out,
        **{f"dropped_{name}": count for name, count in _drops(totals.drops).items()},
    }


def _drops(drops: Mapping[DropReason, int]) -> dict[str, int]:
    return {reason.name.lower(): count for reason, count in drops.items()}
