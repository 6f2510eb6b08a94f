"""Whether an honest client comes up while forged IKE_SA_INIT arrive as fast as one core sends.

Run as root: ``python bench/flood.py [--seconds N] [--json]``. A host sends first requests with
random sources and SPIs through a raw socket, while a client with a proper address tries to get in.
Told are the seconds until the client has its Child SA, what the daemon's memory grew by, and
whether every datagram that reached the daemon is in its counters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import select
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handshake import Caller, children_of, write_gateway
from identities import Parties
from rich.console import Console
from rich.table import Table

from ipsecme.api import ask
from ipsecme.base import Path as WirePath, Transport
from ipsecme.ike import Endpoint, EndpointConfig
from ipsecme.ike.events import ChildSaCreated
from ipsecme.lab.network import Lab
from ipsecme.lab.sites import two_sites
from ipsecme.wire.encap import NON_ESP_MARKER

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from ipsecme.control import StatusReply
    from ipsecme.lab.peer import Site

HEAD_START = 1.0  # seconds of flood before the client begins
PARTIES = Parties("psk")
_UDP_OFFSET, _SPI_OFFSET = 20, 28


@dataclass(frozen=True)
class Outcome:
    """What was seen. Memory in MiB, of all processes of the daemon together."""

    seconds_of_flood: float
    sent: int
    received: int
    lost_in_the_kernel: int
    uncounted: int
    honest_client_seconds: float | None
    memory_before: float
    memory_growth: float


def flood(site: Site, target: str, stop: Event, seconds: float) -> int:
    """Send first requests with forged sources; return how many."""
    client = Endpoint(EndpointConfig(peers=(PARTIES.client(0, site.address, target),)))
    client.initiate("client", None, 0.0)
    (request,) = client.datagrams_to_send()
    octets = _UDP_OFFSET + 8 + len(request.data)
    udp = struct.pack("!HHHH", 500, 500, octets - _UDP_OFFSET, 0) + request.data
    destination = socket.inet_aton(target)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, octets, 0, 0, 64, 17, 0, bytes(4), destination)
    packet = bytearray(ip + udp)
    rng = random.Random(1)  # noqa: S311 - forged addresses need no secrecy
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    end, sent = time.monotonic() + seconds, 0
    while not stop.is_set() and time.monotonic() < end:
        noise = rng.randbytes(16 * 256)
        for start in range(0, len(noise), 16):
            packet[12:16] = b"\x0b" + noise[start : start + 3]
            packet[_SPI_OFFSET : _SPI_OFFSET + 8] = noise[start + 4 : start + 12]
            sock.sendto(packet, (target, 0))
        sent += 256
    return sent


def _flood_process(
    site: Site, target: str, stop: Event, seconds: float, answer: multiprocessing.Queue[int]
) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answer.put(site.host.call(lambda: flood(site, target, stop, seconds)))


def come_up(west: Site, target: str, limit: float) -> float | None:
    """Bring an honest client up, repeating what gets lost; return the seconds that it took."""
    caller = Caller(west)
    client = Endpoint(EndpointConfig(peers=(PARTIES.client(1, west.address, target),)))
    begun = time.monotonic()
    client.initiate("client", None, begun)
    while (now := time.monotonic()) < begun + limit:
        for datagram in client.datagrams_to_send():
            marker = NON_ESP_MARKER if datagram.path.encapsulated else b""
            sock = caller.sockets[datagram.path.local.port]
            sock.sendto(marker + datagram.data, datagram.path.remote)
        while (event := client.next_event()) is not None:
            if isinstance(event, ChildSaCreated):
                return time.monotonic() - begun
        due = client.next_timeout()
        wait = 0.5 if due is None else min(max(due - now, 0.0), 0.5)
        for sock in select.select(list(caller.sockets.values()), [], [], wait)[0]:
            data, source = sock.recvfrom(65535)
            local = Transport(*sock.getsockname()[:2])
            data = data.removeprefix(NON_ESP_MARKER) if local.port == 4500 else data
            path = WirePath(local, Transport(*source[:2]), local.port == 4500)
            client.receive_datagram(data, path, time.monotonic())
        client.handle_timeout(time.monotonic())
    return None


def memory(pids: list[int]) -> float:
    """Return the resident memory of processes in MiB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def kernel_drops(site: Site) -> int:
    """Return how many datagrams full socket buffers have lost on a host."""
    rows = [line.split() for line in site.host.run(["cat", "/proc/net/snmp"]).splitlines()]
    names, values = (row for row in rows if row[0] == "Udp:")
    return int(values[names.index("RcvbufErrors")])


def uncounted(before: StatusReply, after: StatusReply) -> int:
    """Return how many datagrams came in that no counter tells the fate of."""

    def grown(name: str) -> int:
        return after.ike_counters.get(name, 0) - before.ike_counters.get(name, 0)

    fates = [name for name in after.ike_counters if name.startswith("dropped_")]
    admitted = after.admission.ike_sas - before.admission.ike_sas
    known = sum(map(grown, [*fates, "cookies_asked"])) + admitted
    return max(grown("datagrams_in") - known - 2, 0)  # the client's two last requests


def run(seconds: float) -> Outcome:
    """Lay the siege."""
    with Lab("flood") as lab:
        west, east = two_sites(lab)
        east.host.run(["ip", "route", "add", "11.0.0.0/8", "via", west.address])
        control = east.host.folder / "control.sock"
        config = write_gateway(PARTIES, east, control)
        argv = [sys.executable, "-m", "ipsecme.cli", "run", "--config", str(config)]
        process = east.host.start("ipsecme", argv)
        try:
            process.wait_ready(control.exists, "it listens for commands")
            pids = [process.pid, *children_of(process.pid).values()]
            return _besiege(west, east, control, pids, seconds)
        finally:
            process.stop()


def _besiege(west: Site, east: Site, control: Path, pids: list[int], seconds: float) -> Outcome:
    for pid in pids:
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
    stop = multiprocessing.Event()
    answer: multiprocessing.Queue[int] = multiprocessing.Queue()
    before = ask(control, lambda client: client.status())
    used = memory(pids)
    attacker = multiprocessing.Process(
        target=_flood_process, args=(west, east.address, stop, seconds, answer)
    )
    attacker.start()
    try:
        time.sleep(HEAD_START)
        took = come_up(west, east.address, seconds - HEAD_START)
        attacker.join(seconds)
        most = memory(pids)
    finally:
        stop.set()
        sent = answer.get(timeout=10)
        attacker.join(10)
    after = ask(control, lambda client: client.status())
    received = after.ike_counters["datagrams_in"] - before.ike_counters.get("datagrams_in", 0)
    return Outcome(
        seconds_of_flood=seconds,
        sent=sent,
        received=received,
        lost_in_the_kernel=kernel_drops(east),
        uncounted=uncounted(before, after),
        honest_client_seconds=took,
        memory_before=used,
        memory_growth=most - used,
    )


def main() -> None:
    """Run once and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    outcome = run(arguments.seconds)
    if arguments.json:
        print(json.dumps(asdict(outcome)))
        return
    table = Table("what", "seen", title="Flood of IKE_SA_INIT from forged addresses")
    for name, value in asdict(outcome).items():
        shown = "never" if value is None else f"{value:,.2f}" if isinstance(value, float) else value
        table.add_row(name.replace("_", " "), str(shown))
    Console().print(table)


if __name__ == "__main__":
    main()
