"""A data plane without a system: planes in one process, joined by a network of addresses.

Packets really are sealed and opened by the ESP engine, so that what passes here is what the keys
and selectors allow. For tests and for programs that carry inner packets themselves.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ipsecme.base import IpsecmeError, Path, SystemRng
from ipsecme.dataplane.base import DataPlaneLost, DropReason
from ipsecme.esp import Processor
from ipsecme.wire.encap import NAT_KEEPALIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipsecme.base import Rng
    from ipsecme.dataplane.base import Counters, Listener
    from ipsecme.policy.parameters import SaPair

__all__ = ["MemoryDataPlane", "MemoryNetwork"]


class MemoryNetwork:
    """The outer network: finds the plane that owns an address.

    `esp` keeps the ESP packets that travelled, for tests that look at them; `carries` may be
    replaced to lose packets: it is asked for each ESP packet whether it arrives.
    """

    def __init__(self) -> None:
        self._planes: dict[str, MemoryDataPlane] = {}
        self.esp: list[bytes] = []
        self.carries: Callable[[bytes], bool] = lambda _packet: True

    def join(self, address: str, plane: MemoryDataPlane) -> None:
        """Let a plane own an outer address."""
        self._planes[address] = plane

    def leave(self, plane: MemoryDataPlane) -> None:
        """Forget a plane and its addresses."""
        self._planes = {a: p for a, p in self._planes.items() if p is not plane}

    def owner(self, path: Path) -> MemoryDataPlane | None:
        """Return the plane at the far end of a path."""
        return self._planes.get(path.remote.address)


class MemoryDataPlane:
    """One host's plane. `inject` takes its inner packets, `delivered` holds what came for it.

    `next_install_error`, when set, makes the next `install` fail with it.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        addresses: Sequence[str],
        *,
        rng: Rng | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._addresses = tuple(addresses)
        self._clock = clock
        self._processor = Processor(SystemRng() if rng is None else rng)
        self._listener: Listener | None = None
        self.delivered: list[bytes] = []
        self.next_install_error: IpsecmeError | None = None

    async def start(self, listener: Listener) -> None:
        """Join the network."""
        self._listener = listener
        for address in self._addresses:
            self._network.join(address, self)

    async def close(self) -> None:
        """Leave the network."""
        self._network.leave(self)
        self._listener = None

    def install(self, pair: SaPair) -> asyncio.Future[None]:
        """Install a pair; it is there when this returns."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            if self._listener is None:
                raise DataPlaneLost("the data plane is not running")
            if self.next_install_error is not None:
                error, self.next_install_error = self.next_install_error, None
                raise error
            self._processor.install(pair)
        except IpsecmeError as error:
            done.set_exception(error)
        else:
            done.set_result(None)
        return done

    def update_path(self, spi: int, path: Path) -> None:
        """Send a pair's packets along another path."""
        self._processor.update_path(spi, path)

    def retire(self, spi: int) -> None:
        """Stop using a pair's outbound half."""
        self._processor.retire(spi)

    def remove(self, spi: int) -> None:
        """Forget a pair."""
        self._processor.remove(spi)

    def send(self, data: bytes, path: Path) -> None:
        """Hand an IKE message to the plane at the far end, in a later turn of the event loop."""
        plane = self._network.owner(path)
        if plane is not None and data != NAT_KEEPALIVE:
            way_back = Path(path.remote, path.local, encapsulated=True)
            asyncio.get_running_loop().call_soon(plane.receive_ike, bytes(data), way_back)

    async def counters(self) -> Counters:
        """Return the engine's counters."""
        return self._processor.counters()

    def inject(self, packet: bytes) -> None:
        """Take an inner packet of this host, and carry what becomes of it to the far end."""
        for sa in self._processor.outbound_batch((packet,)):
            path = self._processor.path(sa)
            plane = self._network.owner(path)
            way_back = path._replace(local=path.remote, remote=path.local)
            for traffic_class, sealed in sa.take():
                self._network.esp.extend(sealed)
                if plane is None:
                    self._processor.note_drop(DropReason.SEND_REFUSED, len(sealed))
                    continue
                arriving = [p for p in sealed if self._network.carries(p)]
                plane.receive_esp(arriving, way_back, traffic_class)
        self._report_expiring()

    def receive_esp(self, packets: Sequence[bytes], way_back: Path, traffic_class: int = 0) -> None:
        """Take ESP packets of one traffic class from the network."""
        strangers: list[bytes] = []
        self._processor.inbound_batch(
            packets, self._clock(), self.delivered, strangers, traffic_class=traffic_class
        )
        self._processor.note_drop(DropReason.UNKNOWN_SPI, len(strangers))
        if strangers and self._listener is not None:
            spi = int.from_bytes(strangers[-1][:4])
            asyncio.get_running_loop().call_soon(self._listener.unknown_spi, spi, way_back)

    def receive_ike(self, data: bytes, path: Path) -> None:
        """Take an IKE message from the network."""
        if self._listener is not None:
            self._listener.receive_ike(data, path)

    def _report_expiring(self) -> None:
        listener, expiring = self._listener, self._processor.expiring
        while expiring and listener is not None:
            asyncio.get_running_loop().call_soon(listener.expiring, expiring.pop(0))
