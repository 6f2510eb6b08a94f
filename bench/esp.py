"""What one packet costs in CPU: sealing and opening, engine alone and end to end.

Run as root: ``python bench/esp.py [--packets N] [--json]``. End to end, inner UDP packets go from
one host to another, each with a packet process (TUN device, ESP in UDP), and the CPU time of both
processes is divided by the packets; beside it the same with strongSwan's kernel-libipsec, in the
same run on the same machine: compare ratios. The CPU time of a process contains what the kernel
does in its name: the near end of a packet's way out, and its delivery.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.table import Table

from ipsecme.base import Path, Secret, SystemRng, Transport
from ipsecme.crypto.suite import EspSuite
from ipsecme.dataplane.user import UserDataPlane, UserSettings, launch
from ipsecme.esp import Processor
from ipsecme.lab.network import Lab
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.policy.parameters import Mode, SaHalf, SaPair
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.ip import encode_ipv4
from ipsecme.wire.numbers import EncrId, IntegId, IpProtocol

if TYPE_CHECKING:
    from ipsecme.lab.peer import Site

SIZES = (64, 1372)  # octets of the inner packets
BURST = 256  # packets between two looks at what has arrived
SO_RCVBUFFORCE = 33  # absent from the socket module
HEADERS = 28  # octets of inner IPv4 and UDP headers
BATCH = 64
ROUNDS = 5  # of which the cheapest counts: the machine has other work, too
GCM = EspSuite(EncrId.ENCR_AES_GCM_16, 256, IntegId.NONE, esn=False)
SUITES = (
    GCM,
    GCM._replace(esn=True),
    GCM._replace(encr=EncrId.ENCR_CHACHA20_POLY1305),
    EspSuite(EncrId.ENCR_AES_CBC, 256, IntegId.AUTH_HMAC_SHA2_256_128, esn=False),
    EspSuite(EncrId.ENCR_AES_CBC, 256, IntegId.AUTH_HMAC_SHA2_512_256, esn=False),
)
NETWORKS = ("10.1.0.0/24", "10.2.0.0/24")


@dataclass(frozen=True)
class Figure:
    """Microseconds of CPU per packet."""

    who: str
    octets: int
    seal: float
    open: float


def pairs(suite: EspSuite, west: str, east: str) -> tuple[SaPair, SaPair]:
    """Return the two ends of a Child SA."""
    rng = SystemRng()
    halves = [
        SaHalf(
            spi,
            Secret(rng.octets(suite.encryption_key_octets)),
            Secret(rng.octets(suite.integrity_key_octets)),
        )
        for spi in (0x1000, 0x2000)
    ]
    here, there = ((parse_selector(network),) for network in NETWORKS)
    one, other = Transport(west, 4500), Transport(east, 4500)
    to_east, to_west = Path(one, other, encapsulated=True), Path(other, one, encapsulated=True)
    mode = Mode.TUNNEL
    return (
        SaPair("bench", "net", halves[0], halves[1], suite, mode, here, there, to_east),
        SaPair("bench", "net", halves[1], halves[0], suite, mode, there, here, to_west),
    )


def engine(suite: EspSuite, octets: int, packets: int) -> Figure:
    """Measure the engine in this process: the best of several rounds."""
    west, east = Processor(SystemRng()), Processor(SystemRng())
    one, other = pairs(suite, "192.0.2.1", "192.0.2.2")
    west.install(one)
    east.install(other)
    inner = encode_ipv4(
        bytes((10, 1, 0, 1)),
        bytes((10, 2, 0, 1)),
        IpProtocol.UDP,
        b"\x04\x00\x00\x35" + (octets - 20).to_bytes(2) + bytes(2) + bytes(octets - HEADERS),
    )
    batch = [inner] * BATCH
    seal = open_ = float("inf")
    for _ in range(max(1, packets // BATCH)):
        start = time.process_time_ns()
        (sa,) = west.outbound_batch(batch)
        sealed = time.process_time_ns()
        delivered: list[bytes] = []
        east.inbound_batch(sa.queue, 0.0, delivered, [])
        opened = time.process_time_ns()
        sa.take()
        if delivered != batch:
            raise SystemExit(f"{suite}: what came out is not what went in")
        seal = min(seal, (sealed - start) / 1000 / BATCH)
        open_ = min(open_, (opened - sealed) / 1000 / BATCH)
    return Figure(f"engine, {suite}", octets, seal, open_)


class Stream:
    """UDP from west's inner address to east's, in bursts that wait for their arrival."""

    def __init__(self, west: Site, east: Site) -> None:
        self._sender = west.host.call(lambda: _bound(west.inner[0]))
        self._receiver = east.host.call(lambda: _bound(east.inner[0]))
        self._sender.connect(self._receiver.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def carry(self, octets: int, packets: int) -> int:
        """Send inner packets of a size and return how many arrived."""
        payload = bytes(octets - HEADERS)
        arrived = 0
        for _ in range(packets // BURST):
            for _ in range(BURST):
                self._sender.send(payload)
            arrived += self._arrivals()
        return arrived

    def _arrivals(self) -> int:
        """Count until a burst is complete or nothing comes any more.

        Looks now and then instead of waiting on the socket: a program that is woken for every
        packet would be woken at the cost of who delivers it.
        """
        count, idle = 0, 0
        while count < BURST and idle < 100:
            time.sleep(0.001)
            idle += 1
            try:
                while True:
                    self._receiver.recv(2048)
                    count, idle = count + 1, 0
            except BlockingIOError:
                pass
        return count


def _bound(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock


def cpu_microseconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, from the scheduler's books."""
    books = FilePath(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(book.read_text().split()[0]) for book in books) / 1000


def measure(who: str, west: Site, east: Site, pids: tuple[int, int], packets: int) -> list[Figure]:
    """Divide the CPU time of the sealing and of the opening process by the packets."""
    figures = []
    with Stream(west, east) as stream:
        for octets in SIZES:
            stream.carry(octets, 2 * BURST)
            rounds = [_round(stream, octets, pids, packets // ROUNDS) for _ in range(ROUNDS)]
            seal, open_ = (min(costs) for costs in zip(*rounds, strict=True))
            figures.append(Figure(who, octets, seal, open_))
    return figures


def _round(stream: Stream, octets: int, pids: tuple[int, int], packets: int) -> list[float]:
    before = [cpu_microseconds(pid) for pid in pids]
    arrived = stream.carry(octets, packets)
    after = [cpu_microseconds(pid) for pid in pids]
    return [(end - start) / arrived for start, end in zip(before, after, strict=True)]


async def packet_processes(packets: int) -> list[Figure]:
    """Measure our packet process at both ends."""
    with Lab("bench") as lab:
        west, east = two_sites(lab)
        listener = _Silent()
        planes, pids = [], []
        for site, pair in zip((west, east), pairs(GCM, west.address, east.address), strict=True):
            process, channel = site.host.call(lambda: launch(UserSettings()))
            lab.at_end(process.wait)
            plane = UserDataPlane(channel)
            await plane.start(listener)
            await plane.install(pair)
            planes.append(plane)
            pids.append(process.pid)
        try:
            return measure("ipsecme, packet process", west, east, (pids[0], pids[1]), packets)
        finally:
            for plane in planes:
                await plane.close()


class _Silent:
    """Hears nothing that matters here."""

    def receive_ike(self, data: bytes, path: Path) -> None:
        """Ignore a message."""

    def expiring(self, spi: int) -> None:
        """Ignore an SA's end."""

    def unknown_spi(self, spi: int, path: Path) -> None:
        """Ignore ESP of nobody."""

    def failed(self, text: str) -> None:
        """Stop."""
        raise SystemExit(text)


def strongswan(packets: int) -> list[Figure]:
    """Measure charon with kernel-libipsec at both ends."""
    with Lab("bench") as lab:
        west, east = two_sites(lab)
        tunnel = Tunnel("a secret for a benchmark")
        ends = StrongSwan(west, tunnel, remote=east), StrongSwan(east, tunnel, remote=west)
        try:
            for end in ends:
                end.start()
            ends[0].initiate()
            pids = ends[0].pid, ends[1].pid
            return measure("strongSwan, kernel-libipsec", west, east, pids, packets)
        finally:
            for end in ends:
                end.kill()


def main() -> None:
    """Measure all and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=64_000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--engine-only", action="store_true", help="needs no root")
    arguments = parser.parse_args()
    packets = arguments.packets
    figures = [engine(suite, octets, packets) for suite in SUITES for octets in SIZES]
    if not arguments.engine_only:
        figures += asyncio.run(packet_processes(packets))
        figures += strongswan(packets)
    if arguments.json:
        json.dump([vars(figure) for figure in figures], sys.stdout, indent=1)
        print()
        return
    table = Table(title="CPU per packet in µs")
    for column in ("who", "octets inside", "seal and send", "receive and open"):
        table.add_column(column, justify="left" if column == "who" else "right")
    for figure in figures:
        table.add_row(figure.who, str(figure.octets), f"{figure.seal:.2f}", f"{figure.open:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
