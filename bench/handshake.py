"""What one PSK handshake costs its responder in CPU: engine alone, whole daemon, strongSwan.

Run as root: ``python bench/handshake.py [--handshakes N] [--json]``. Every handshake is IKE_SA_INIT
and IKE_AUTH with fresh keys, X25519, AES-GCM-256 and a Child SA, by a client with an identity of
its own. CPU time of daemons comes from the scheduler's books (/proc/PID/task/*/schedstat), in one
run on one machine: compare ratios.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ipsecme.base import Path as WirePath, Secret, Transport
from ipsecme.ike import ChildConfig, Datagram, Endpoint, EndpointConfig, Identity, PeerConfig
from ipsecme.ike.events import ChildSaCreated
from ipsecme.lab.network import Lab
from ipsecme.lab.peer import Site, Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.policy.keywords import parse_proposals
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.encap import NON_ESP_MARKER, is_ike
from ipsecme.wire.numbers import ProtocolId

if TYPE_CHECKING:
    from collections.abc import Callable

IKE, ESP = "aes256gcm16-prfsha256-x25519", "aes256gcm16"
PSK = "a secret for a benchmark"
WARM_UP = 50


@dataclass(frozen=True)
class Figure:
    """Microseconds of CPU per handshake, and of which process."""

    name: str
    microseconds: float


def client_config(number: int, address: str, remote: str) -> PeerConfig:
    """Return what one client is told."""
    child = ChildConfig(
        "net",
        (parse_selector("10.1.0.0/24"),),
        (parse_selector("10.2.0.0/24"),),
        parse_proposals([ESP], ProtocolId.ESP),
    )
    return PeerConfig(
        name="client",
        local_id=Identity.parse(f"client-{number}.example"),
        remote_id=Identity.parse("east.example"),
        psk=Secret(PSK.encode()),
        children=(child,),
        local_address=address,
        remote_address=remote,
        proposals=parse_proposals([IKE], ProtocolId.IKE),
    )


def gateway_config(address: str) -> EndpointConfig:
    """Return what the responder is told; any client is welcome that knows the secret."""
    child = ChildConfig(
        "net",
        (parse_selector("10.2.0.0/24"),),
        (parse_selector("10.1.0.0/24"),),
        parse_proposals([ESP], ProtocolId.ESP),
    )
    peer = PeerConfig(
        name="clients",
        local_id=Identity.parse("east.example"),
        remote_id=None,
        psk=Secret(PSK.encode()),
        children=(child,),
        local_address=address,
        proposals=parse_proposals([IKE], ProtocolId.IKE),
    )
    return EndpointConfig(peers=(peer,))


def handshake(number: int, here: str, there: str, exchange: Callable[[Datagram], Datagram]) -> None:
    """Bring one client up; `exchange` carries a request and returns the response."""
    client = Endpoint(EndpointConfig(peers=(client_config(number, here, there),)))
    client.initiate("client", None, 0.0)
    for _ in range(2):
        (request,) = client.datagrams_to_send()
        answer = exchange(request)
        client.receive_datagram(answer.data, answer.path, 0.0)
    created = False
    while (event := client.next_event()) is not None:
        created = created or isinstance(event, ChildSaCreated)
    if not created:
        raise SystemExit(f"handshake {number} with {there} did not end with a Child SA")


def engine(count: int) -> Figure:
    """Measure the responder's engine in this process."""
    here, there = "192.0.2.1", "192.0.2.2"
    gateway = Endpoint(gateway_config(there))
    spent = 0.0

    def exchange(request: Datagram) -> Datagram:
        nonlocal spent
        path = WirePath(request.path.remote, request.path.local, request.path.encapsulated)
        start = time.process_time()
        gateway.receive_datagram(request.data, path, 0.0)
        while gateway.next_command() is not None:
            pass
        (answer,) = gateway.datagrams_to_send()
        while gateway.next_event() is not None:
            pass
        spent += time.process_time() - start
        return Datagram(answer.data, request.path)

    for number in range(WARM_UP + count):
        if number == WARM_UP:
            spent = 0.0
        handshake(number, here, there, exchange)
    return Figure("ipsecme, engine alone", spent / count * 1e6)


class Caller:
    """UDP sockets of the clients, in the namespace of the host that they are on."""

    def __init__(self, site: Site) -> None:
        self.sockets = site.host.call(lambda: {port: _bound(site, port) for port in (500, 4500)})

    def exchange(self, request: Datagram) -> Datagram:
        """Send a request and wait for the response."""
        path = request.path
        sock = self.sockets[path.local.port]
        marker = NON_ESP_MARKER if path.encapsulated else b""
        sock.sendto(marker + request.data, path.remote)
        while True:
            data, source = sock.recvfrom(65535)
            if path.encapsulated and not is_ike(data):
                continue
            answering = WirePath(path.local, Transport(*source[:2]), path.encapsulated)
            return Datagram(data[len(marker) :], answering)


def _bound(site: Site, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((site.address, port))
    sock.settimeout(5)
    return sock


def cpu_microseconds(pid: int) -> float:
    """Return the CPU time of all threads of a process."""
    books = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(book.read_text().split()[0]) for book in books) / 1000


def children_of(pid: int) -> dict[str, int]:
    """Return the children of a process by the last word of their module."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        fields = entry.read_text().rpartition(")")[2].split()
        if int(fields[1]) == pid:
            words = (entry.parent / "cmdline").read_text().split("\0")
            module = next((w for w in words if w.startswith("ipsecme.")), words[0])
            found[module] = int(entry.parent.name)
    return found


def measure(west: Site, east: Site, pids: dict[str, int], count: int) -> list[Figure]:
    """Let clients call and divide what the processes used."""
    caller = Caller(west)
    for number in range(WARM_UP):
        handshake(number, west.address, east.address, caller.exchange)
    before = {name: cpu_microseconds(pid) for name, pid in pids.items()}
    for number in range(WARM_UP, WARM_UP + count):
        handshake(number, west.address, east.address, caller.exchange)
    time.sleep(0.2)  # what is left to do after the last answer belongs to it
    return [
        Figure(name, (cpu_microseconds(pid) - before[name]) / count) for name, pid in pids.items()
    ]


def strongswan(count: int) -> list[Figure]:
    """Measure charon with ESP in userspace."""
    with Lab("bench") as lab:
        west, east = two_sites(lab)
        anyone = replace(west, identity="%any")
        charon = StrongSwan(east, Tunnel(PSK, ike=IKE, esp=ESP), remote=anyone)
        charon.start()
        try:
            return measure(west, east, {"strongSwan, charon": charon.pid}, count)
        finally:
            charon.kill()


def daemon(count: int) -> list[Figure]:
    """Measure the IKE process and the packet process of `ipsecme run`."""
    with Lab("bench") as lab:
        west, east = two_sites(lab)
        control = east.host.folder / "control.sock"
        config = east.host.folder / "gateway.toml"
        config.write_text(
            f'[daemon]\ncontrol = "{control}"\nlog_level = "warning"\n'
            f'[connections.clients]\nlocal = "{east.address}"\nremote = "any"\n'
            f'local_id = "east.example"\npsk = "{PSK}"\n'
            f'local_ts = ["10.2.0.0/24"]\nremote_ts = ["10.1.0.0/24"]\n'
            f'ike_proposals = ["{IKE}"]\nesp_proposals = ["{ESP}"]\n'
        )
        config.chmod(0o600)
        argv = [sys.executable, "-m", "ipsecme.cli", "run", "--config", str(config)]
        process = east.host.start("ipsecme", argv)
        try:
            process.wait_ready(control.exists, "it listens for commands")
            pids = {f"ipsecme, {name}": pid for name, pid in children_of(process.pid).items()}
            figures = measure(west, east, pids, count)
        finally:
            process.stop()
    total = sum(figure.microseconds for figure in figures)
    return [*figures, Figure("ipsecme, whole daemon", total)]


def main() -> None:
    """Measure all three and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handshakes", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    count = arguments.handshakes
    figures = [engine(count), *daemon(count), *strongswan(count)]
    if arguments.json:
        print(json.dumps({figure.name: round(figure.microseconds, 1) for figure in figures}))
        return
    reference = figures[-1].microseconds
    table = Table(title="Responder's CPU per PSK handshake")
    table.add_column("who")
    table.add_column("µs", justify="right")
    table.add_column("of strongSwan", justify="right")
    for figure in figures:
        ratio = f"{figure.microseconds / reference:.2f}"
        table.add_row(figure.name, f"{figure.microseconds:.0f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
