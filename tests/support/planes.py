"""Two data planes of one kind, joined, with ways to put inner packets in and see them come out."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from ipsecme.base import Path, Transport
from ipsecme.dataplane.memory import MemoryDataPlane, MemoryNetwork
from ipsecme.dataplane.user import UserDataPlane, UserSettings, launch
from ipsecme.lab.network import Lab
from ipsecme.wire.ip import read_headers
from support.esp import EAST, EAST6, WEST, WEST6, SeededRng

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable

    from ipsecme.dataplane import DataPlane
    from ipsecme.lab.host import Host

OUTER = ("192.0.2.1", "192.0.2.2")
OUTER6 = ("2001:db8::1", "2001:db8::2")
PATIENCE = 10.0

_ETH_P_ALL = 3


def outer_path(addresses: tuple[str, str] = OUTER, *, encapsulated: bool = True) -> Path:
    """Return the path from west to east."""
    west, east = (Transport(address, 4500) for address in addresses)
    return Path(west, east, encapsulated)


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.ike: list[tuple[bytes, Path]] = []
        self.expired: list[int] = []
        self.failures: list[str] = []
        self.unknown: list[tuple[int, Path]] = []

    def receive_ike(self, data: bytes, path: Path) -> None:
        self.ike.append((data, path))

    def expiring(self, spi: int) -> None:
        self.expired.append(spi)

    def unknown_spi(self, spi: int, path: Path) -> None:
        self.unknown.append((spi, path))

    def failed(self, text: str) -> None:
        self.failures.append(text)


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail when it is not within a long time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come: {what}")
        await asyncio.sleep(0.01)


def has_come(packet: bytes, side: Side) -> bool:
    """Tell whether an inner packet was delivered; the kernel fills in its IPv4 identification."""
    headers = read_headers(packet)
    return any(other[headers.upper :] == packet[headers.upper :] for other in side.delivered())


class Side(Protocol):
    """One of the two planes."""

    plane: DataPlane
    ears: Ears

    def inject(self, packet: bytes) -> None:
        """Send an inner packet as this host would."""
        ...

    def delivered(self) -> list[bytes]:
        """Return the inner packets that have come to this host."""
        ...


class MemorySide:
    """A memory plane."""

    def __init__(self, network: MemoryNetwork, *addresses: str) -> None:
        self.memory = MemoryDataPlane(network, addresses, rng=SeededRng())
        self.plane: DataPlane = self.memory
        self.ears = Ears()

    def inject(self, packet: bytes) -> None:
        self.memory.inject(packet)

    def delivered(self) -> list[bytes]:
        return list(self.memory.delivered)


class UserSide:
    """A packet process on a host of the lab."""

    def __init__(self, host: Host, settings: UserSettings) -> None:
        self.host = host
        self.settings = settings
        self.process, channel = host.call(lambda: launch(settings))
        self.plane: DataPlane = UserDataPlane(channel)
        self.ears = Ears()
        self._packets: list[bytes] = []
        self._watcher: socket.socket | None = None
        # Inner packets meet a program, so that the host answers none of them with an ICMP error.
        self._sink = host.call(_sink)

    def watch(self) -> None:
        """Begin to see what the device hands to this host."""

        def opened() -> socket.socket:
            watcher = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            watcher.bind((self.settings.tun_name, _ETH_P_ALL))
            watcher.setblocking(False)
            return watcher

        self._watcher = self.host.call(opened)

    def inject(self, packet: bytes) -> None:
        headers = read_headers(packet)
        is_v4 = len(headers.source) == 4
        family = socket.AF_INET if is_v4 else socket.AF_INET6
        destination = socket.inet_ntop(family, headers.destination)
        sender = self.host.call(lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW))
        with sender:
            sender.sendto(packet, (destination, 0))

    def delivered(self) -> list[bytes]:
        if self._watcher is None:
            raise AssertionError("watch first")
        while True:
            try:
                packet, address = self._watcher.recvfrom(65535)
            except BlockingIOError:
                return list(self._packets)
            if address[2] != socket.PACKET_OUTGOING:
                self._packets.append(packet)

    def close(self) -> None:
        self._sink.close()
        if self._watcher is not None:
            self._watcher.close()


def _sink() -> socket.socket:
    sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sink.bind(("::", 53))
    return sink


@asynccontextmanager
async def memory_planes() -> AsyncIterator[tuple[Side, Side]]:
    """Join two memory planes."""
    network = MemoryNetwork()
    sides = tuple(MemorySide(network, four, six) for four, six in zip(OUTER, OUTER6, strict=True))
    for side in sides:
        await side.plane.start(side.ears)
    yield sides[0], sides[1]
    for side in sides:
        await side.plane.close()


@asynccontextmanager
async def user_planes(**settings: object) -> AsyncIterator[tuple[UserSide, UserSide]]:
    """Run two packet processes on two hosts with a cable between them."""
    with Lab("data planes") as lab:
        hosts = lab.host("west"), lab.host("east")
        pairs = (f"{OUTER[0]}/24", f"{OUTER[1]}/24"), (f"{OUTER6[0]}/64", f"{OUTER6[1]}/64")
        lab.link(*hosts, *pairs)
        for host, inner in zip(hosts, ((WEST, WEST6), (EAST, EAST6)), strict=True):
            host.add_address("lo", f"{inner[0]}/32")
            host.add_address("lo", f"{inner[1]}/128")
        made = UserSettings(**settings)  # type: ignore[arg-type]
        sides = UserSide(hosts[0], made), UserSide(hosts[1], made)
        try:
            for side in sides:
                await side.plane.start(side.ears)
                side.watch()
            yield sides
        finally:
            for side in sides:
                side.close()
                await side.plane.close()
                _reap(side.process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
