"""Drivers with real endpoints in one event loop, joined by a wire that the test can cut."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ipsecme.base import Path, Secret
from ipsecme.daemon.driver import Driver
from ipsecme.dataplane import Counters, SaCounters, Totals
from ipsecme.ike.config import ChildConfig, EndpointConfig, Identity, PeerConfig, Retransmission
from ipsecme.ike.endpoint import Endpoint
from ipsecme.policy.selector import parse_selector

if TYPE_CHECKING:
    from ipsecme.dataplane import DataPlane, Listener
    from ipsecme.ike import events
    from ipsecme.policy.parameters import SaPair

WEST, EAST = "192.0.2.1", "192.0.2.2"
INNER = {WEST: "10.1.0.0/24", EAST: "10.2.0.0/24"}


def make_endpoint(
    local: str,
    remote: str,
    *,
    encapsulate: bool = False,
    tries: int = 10,
    psk: bytes = b"a long and winding secret",
) -> Endpoint:
    child = ChildConfig("net", (parse_selector(INNER[local]),), (parse_selector(INNER[remote]),))
    peer = PeerConfig(
        "site",
        Identity.parse(local),
        Identity.parse(remote),
        Secret(psk),
        (child,),
        local,
        remote,
        retransmission=Retransmission(first_wait=0.02, factor=1, tries=tries),
        encapsulate=encapsulate,
        mobike=False,
    )
    return Endpoint(EndpointConfig((peer,)))


class Wire:
    """Carries datagrams of the IKE port between drivers, and remembers them."""

    def __init__(self) -> None:
        self.drivers: dict[str, Driver] = {}
        self.sent: list[tuple[bytes, Path]] = []
        self.is_cut = False
        self.error: OSError | None = None

    def send(self, data: bytes, path: Path) -> OSError | None:
        if self.error is not None:
            return self.error
        self.sent.append((data, path))
        driver = self.drivers.get(path.remote.address)
        if driver is not None and not self.is_cut:
            way_back = Path(path.remote, path.local)
            asyncio.get_running_loop().call_soon(driver.receive, [(data, way_back)])
        return None


class Node:
    """A driver with what it reported."""

    def __init__(self, wire: Wire, address: str, endpoint: Endpoint, plane: DataPlane) -> None:
        self.events: list[events.Event] = []
        self.lost: list[str] = []
        self.changed = asyncio.Event()
        self.plane = plane
        self.driver = Driver(endpoint, plane, wire.send, on_lost=self.lost.append)
        self.driver.add_reader(self._read)
        wire.drivers[address] = self.driver

    def _read(self, event: events.Event, _now: float) -> None:
        self.events.append(event)
        self.changed.set()

    async def start(self) -> None:
        await self.plane.start(self.driver)
        await self.driver.start()

    async def stop(self) -> None:
        await self.driver.stop()
        await self.plane.close()

    async def until(self, kind: type[events.Event]) -> events.Event:
        async with asyncio.timeout(10):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                self.changed.clear()
                await self.changed.wait()


class SlowPlane:
    """Records calls in order; installations are acknowledged when the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.installations: list[asyncio.Future[None]] = []
        self.installed = asyncio.Event()
        self.sas: list[SaCounters] = []

    async def start(self, listener: Listener) -> None: ...

    async def close(self) -> None: ...

    def install(self, pair: SaPair) -> asyncio.Future[None]:
        self.calls.append("install")
        self.installations.append(asyncio.get_running_loop().create_future())
        self.installed.set()
        return self.installations[-1]

    def update_path(self, spi: int, path: Path) -> None:
        self.calls.append("update_path")

    def retire(self, spi: int) -> None:
        self.calls.append("retire")

    def remove(self, spi: int) -> None:
        self.calls.append("remove")

    def send(self, data: bytes, path: Path) -> None:
        self.calls.append("send")

    async def counters(self) -> Counters:
        return Counters(self.sas, Totals(0, 0, 0, 0))
