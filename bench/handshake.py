"""What one handshake costs its responder in CPU: engine alone, whole daemon, strongSwan.

Run as root: ``python bench/handshake.py [--handshakes N] [--method psk|ecdsa] [--json]``. Every
handshake is IKE_SA_INIT and IKE_AUTH with fresh keys, X25519, AES-GCM-256 and a Child SA, by a
client with an identity of its own, and with certificates a key and a certificate of its own (P-256
at both ends, under one authority). CPU time of daemons comes from the scheduler's books
(/proc/PID/task/*/schedstat), in one run on one machine: compare ratios.
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

from identities import ESP, GATEWAY, IKE, PSK, Method, Parties
from rich.console import Console
from rich.table import Table

from ipsecme.base import Path as WirePath, Transport
from ipsecme.daemon.certificates import ChainChecker
from ipsecme.ike import Datagram, Endpoint, EndpointConfig, PeerConfig
from ipsecme.ike.commands import CheckChain
from ipsecme.ike.events import ChildSaCreated
from ipsecme.lab.network import Lab
from ipsecme.lab.peer import Site, Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.wire.encap import NON_ESP_MARKER, is_ike

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 50
_checker = ChainChecker()


@dataclass(frozen=True)
class Figure:
    """Microseconds of CPU per handshake, and of which process."""

    name: str
    microseconds: float


def handshake(peer: PeerConfig, exchange: Callable[[Datagram], Datagram]) -> None:
    """Bring one client up; `exchange` carries a request and returns the response."""
    client = Endpoint(EndpointConfig(peers=(peer,)))
    client.initiate("client", None, 0.0)
    for _ in range(2):
        (request,) = client.datagrams_to_send()
        answer = exchange(request)
        client.receive_datagram(answer.data, answer.path, 0.0)
        check_chains(client)
    created = False
    while (event := client.next_event()) is not None:
        created = created or isinstance(event, ChildSaCreated)
    if not created:
        raise SystemExit(f"the handshake of {peer.local_id} did not end with a Child SA")


def check_chains(endpoint: Endpoint) -> None:
    """Do what a driver does with commands: judge certificates, and forget the rest."""
    while (command := endpoint.next_command()) is not None:
        if isinstance(command, CheckChain):
            endpoint.answer(command.number, _checker.check(command), 0.0)


def engine(parties: Parties, count: int) -> Figure:
    """Measure the responder's engine in this process."""
    here, there = "192.0.2.1", "192.0.2.2"
    gateway = Endpoint(parties.gateway(there))
    spent = 0.0

    def exchange(request: Datagram) -> Datagram:
        nonlocal spent
        path = WirePath(request.path.remote, request.path.local, request.path.encapsulated)
        start = time.process_time()
        gateway.receive_datagram(request.data, path, 0.0)
        check_chains(gateway)
        (answer,) = gateway.datagrams_to_send()
        while gateway.next_event() is not None:
            pass
        spent += time.process_time() - start
        return Datagram(answer.data, request.path)

    for number in range(WARM_UP + count):
        if number == WARM_UP:
            spent = 0.0
        handshake(parties.client(number, here, there), exchange)
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


def measure(
    parties: Parties, west: Site, east: Site, pids: dict[str, int], count: int
) -> list[Figure]:
    """Let clients call and divide what the processes used."""
    caller = Caller(west)
    clients = [
        parties.client(number, west.address, east.address) for number in range(WARM_UP + count)
    ]
    for client in clients[:WARM_UP]:
        handshake(client, caller.exchange)
    before = {name: cpu_microseconds(pid) for name, pid in pids.items()}
    for client in clients[WARM_UP:]:
        handshake(client, caller.exchange)
    time.sleep(0.2)  # what is left to do after the last answer belongs to it
    return [
        Figure(name, (cpu_microseconds(pid) - before[name]) / count) for name, pid in pids.items()
    ]


def strongswan(parties: Parties, count: int) -> list[Figure]:
    """Measure charon with ESP in userspace."""
    with Lab("bench") as lab:
        west, east = two_sites(lab)
        anyone = replace(west, identity="%any")
        tunnel = Tunnel(PSK if parties.method == "psk" else None, ike=IKE, esp=ESP)
        charon = StrongSwan(east, tunnel, remote=anyone, credential=parties.files())
        charon.start()
        try:
            return measure(parties, west, east, {"strongSwan, charon": charon.pid}, count)
        finally:
            charon.kill()


def daemon(parties: Parties, count: int) -> list[Figure]:
    """Measure the IKE process and the packet process of `ipsecme run`."""
    with Lab("bench") as lab:
        west, east = two_sites(lab)
        control = east.host.folder / "control.sock"
        config = write_gateway(parties, east, control)
        argv = [sys.executable, "-m", "ipsecme.cli", "run", "--config", str(config)]
        process = east.host.start("ipsecme", argv)
        try:
            process.wait_ready(control.exists, "it listens for commands")
            pids = {f"ipsecme, {name}": pid for name, pid in children_of(process.pid).items()}
            figures = measure(parties, west, east, pids, count)
        finally:
            process.stop()
    total = sum(figure.microseconds for figure in figures)
    return [*figures, Figure("ipsecme, whole daemon", total)]


def write_gateway(parties: Parties, east: Site, control: Path) -> Path:
    """Write the configuration file of a gateway for any client; return its name."""
    folder = east.host.folder
    proof = f'psk = "{PSK}"'
    if (files := parties.files()) is not None:
        texts = {"own.pem": files.certificates[0], "key.pem": files.key, "ca.pem": files.authority}
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        proof = 'cert = "own.pem"\nkey = "key.pem"\nca = ["ca.pem"]'
    config = folder / "gateway.toml"
    config.write_text(
        f'[daemon]\ncontrol = "{control}"\nlog_level = "warning"\n'
        f'[connections.clients]\nlocal = "{east.address}"\nremote = "any"\n'
        f'local_id = "{GATEWAY}"\n{proof}\n'
        f'local_ts = ["10.2.0.0/24"]\nremote_ts = ["10.1.0.0/24"]\n'
        f'ike_proposals = ["{IKE}"]\nesp_proposals = ["{ESP}"]\n'
    )
    config.chmod(0o600)
    return config


def main() -> None:
    """Measure all three with each method and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handshakes", type=int, default=500)
    parser.add_argument("--method", choices=["psk", "ecdsa"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    count = arguments.handshakes
    methods: list[Method] = [arguments.method] if arguments.method else ["psk", "ecdsa"]
    found = {}
    for method in methods:
        parties = Parties(method)
        found[method] = [
            engine(parties, count),
            *daemon(parties, count),
            *strongswan(parties, count),
        ]
    if arguments.json:
        plain = {m: {f.name: round(f.microseconds, 1) for f in all_} for m, all_ in found.items()}
        print(json.dumps(plain))
        return
    for method, figures in found.items():
        show(method, figures)


def show(method: Method, figures: list[Figure]) -> None:
    """Print a table beside the last figure, which is strongSwan's."""
    reference = figures[-1].microseconds
    table = Table(title=f"Responder's CPU per handshake, {method.upper()}")
    table.add_column("who")
    table.add_column("µs", justify="right")
    table.add_column("of strongSwan", justify="right")
    for figure in figures:
        ratio = f"{figure.microseconds / reference:.2f}"
        table.add_row(figure.name, f"{figure.microseconds:.0f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
