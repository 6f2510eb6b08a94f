"""The daemon's numbers in the format of Prometheus, made of the same reply that `status` gives.

Owns names, labels and the listening socket. Names are stable. Counters start at zero with the
daemon; those of a Child SA go with the Child SA.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from ipsecme.base import IpsecmeError, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from ipsecme.control import ConnectionStatus, StatusReply
    from ipsecme.daemon.status import StatusView
    from ipsecme.dataplane import Counters, DataPlane

__all__ = ["MetricsServer", "metrics_text"]

_COUNTERS_SECONDS = 5.0
_DROPPED = "dropped_"


class MetricsServer:
    """Answers ``GET /metrics`` on a TCP port of its own. There is nothing secret in it."""

    def __init__(self, data_plane: DataPlane, view: StatusView) -> None:
        self._data_plane = data_plane
        self._view = view
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def start(self, listen: str) -> None:
        """Listen on ``address:port``. Raises `SystemRefused` when that is not possible."""
        address, _, port = listen.rpartition(":")
        await self._runner.setup()
        site = web.TCPSite(self._runner, address.strip("[]"), int(port))
        try:
            await site.start()
        except OSError as error:
            raise SystemRefused(
                f"metrics cannot be served on {listen}: {error.strerror}; "
                "choose another address or port for `metrics` in [daemon]"
            ) from None

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        reply = self._view.reply(await self._counters(), asyncio.get_running_loop().time())
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        return web.Response(body=metrics_text(reply), headers=headers)

    async def _counters(self) -> Counters | None:
        try:
            async with asyncio.timeout(_COUNTERS_SECONDS):
                return await self._data_plane.counters()
        except (IpsecmeError, TimeoutError):
            return None


def metrics_text(reply: StatusReply) -> bytes:
    """Return everything as text of Prometheus, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(reply))
    return generate_latest(registry)


class _Numbers(Collector):
    def __init__(self, reply: StatusReply) -> None:
        self._reply = reply

    def collect(self) -> Iterable[Metric]:
        """Make the families anew for each reading."""
        yield GaugeMetricFamily(
            "ipsecme_uptime_seconds", "Age of the daemon", value=self._reply.uptime
        )
        yield from self._admission()
        yield from _split(
            "ipsecme_ike", "IKE messages and what became of them", self._reply.ike_counters
        )
        yield from _split("ipsecme_packet", "ESP and inner packets", self._reply.packet_counters)
        yield from _connections(self._reply.connections)

    def _admission(self) -> Iterable[Metric]:
        place = self._reply.admission
        half_open = GaugeMetricFamily(
            "ipsecme_half_open_ike_sas", "IKE SAs whose peer is not authenticated"
        )
        half_open.add_metric([], place.half_open)
        yield half_open
        yield GaugeMetricFamily(
            "ipsecme_half_open_ike_sas_limit", "Most of them", value=place.half_open_limit
        )
        yield GaugeMetricFamily("ipsecme_ike_sas", "IKE SAs in memory", value=place.ike_sas)
        yield GaugeMetricFamily("ipsecme_ike_sas_limit", "Most of them", value=place.ike_sa_limit)


def _split(name: str, about: str, counters: dict[str, int]) -> Iterable[Metric]:
    """Make one family of the drops, by reason, and one of all other counters, by event."""
    events = CounterMetricFamily(f"{name}_events", about, labels=["event"])
    drops = CounterMetricFamily(f"{name}_dropped", f"{about}: dropped", labels=["reason"])
    for key, value in counters.items():
        if key.startswith(_DROPPED):
            drops.add_metric([key.removeprefix(_DROPPED)], value)
        else:
            events.add_metric([key], value)
    yield events
    yield drops


def _connections(connections: tuple[ConnectionStatus, ...]) -> Iterable[Metric]:
    up = GaugeMetricFamily("ipsecme_connection_up", "1 when it is up", labels=["connection"])
    rekeys = CounterMetricFamily(
        "ipsecme_rekeys", "SAs that were replaced", labels=["connection", "kind"]
    )
    leased = GaugeMetricFamily(
        "ipsecme_leased_addresses", "Internal addresses that peers have", labels=["connection"]
    )
    labels = ["connection", "child", "spi", "direction"]
    octets = CounterMetricFamily("ipsecme_child_sa_bytes", "Octets of inner packets", labels=labels)
    packets = CounterMetricFamily("ipsecme_child_sa_packets", "Inner packets", labels=labels)
    for connection in connections:
        up.add_metric([connection.name], connection.state == "up")
        addresses = {one for sa in connection.ike_sas for one in sa.leased}
        leased.add_metric([connection.name], len(addresses))
        rekeys.add_metric([connection.name, "ike"], connection.rekeys.ike)
        rekeys.add_metric([connection.name, "child"], connection.rekeys.child)
        for child in (child for sa in connection.ike_sas for child in sa.children):
            names = [connection.name, child.name, child.inbound_spi]
            octets.add_metric([*names, "in"], child.bytes_in)
            octets.add_metric([*names, "out"], child.bytes_out)
            packets.add_metric([*names, "in"], child.packets_in)
            packets.add_metric([*names, "out"], child.packets_out)
    return up, leased, rekeys, octets, packets
