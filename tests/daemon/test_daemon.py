"""Whole daemons in network namespaces: tunnels, status, clean ends, what deaths leave behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsecme.api import ask
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import INNER_IPV6, OUTER_IPV6, two_sites, two_sites_across_nat
from ipsecme.lab.wait import wait_until

if TYPE_CHECKING:
    from ipsecme.control import ConnectionStatus, IkeStatus, StatusReply
    from ipsecme.lab.network import Lab
    from ipsecme.lab.peer import Site
    from ipsecme.lab.process import Process

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("_tun")]

SECRET = "never-in-any-log-0815-abcdefgh"
READY = '"event": "daemon_ready"'


class Gateway:
    """An ipsecme daemon at a site, with one connection to the other."""

    def __init__(self, here: Site, there: Site, *, daemon: str = "", extra: str = "") -> None:
        self.here, self.there = here, there
        folder = here.host.folder
        self.control = folder / "control.sock"
        self.config = folder / "ipsecme.toml"
        self.config.write_text(
            f"""
            [daemon]
            control = "{self.control}"
            log_level = "debug"
            {daemon}
            [connections.site]
            remote = "{there.reachable_as or "any"}"
            local_id = "{here.identity}"
            remote_id = "{there.identity}"
            psk = "{SECRET}"
            local_ts = {json.dumps(here.networks)}
            remote_ts = {json.dumps(there.networks)}
            retransmission = {{ first_wait = 0.2, factor = 1.2, tries = 5 }}
            {extra}
            """
        )
        self.config.chmod(0o600)
        self.process: Process | None = None

    def start(self, *, environment: dict[str, str] | None = None) -> Process:
        """Start it and wait until it is ready."""
        argv = [sys.executable, "-m", "ipsecme.daemon.main", str(self.config)]
        before = self.process.log_text().count(READY) if self.process else 0
        process = self.here.host.start("ipsecme", argv, environment=environment)
        self.process = process
        process.wait_ready(lambda: process.log_text().count(READY) > before, "ready")
        return process

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    def rekey(self, *, ike: bool) -> None:
        reply = ask(self.control, lambda client: client.rekey("site", ike=ike))
        assert (reply.started, reply.done) == (1, True)

    def events(self) -> list[dict[str, str]]:
        """Return the lines of the log."""
        return [
            json.loads(line)
            for line in (self.here.host.folder / "ipsecme.log").read_text().splitlines()
            if line.startswith("{")
        ]

    def status(self) -> StatusReply:
        return ask(self.control, lambda client: client.status())

    def connection(self) -> ConnectionStatus:
        (connection,) = self.status().connections
        return connection

    def ike_sa(self) -> IkeStatus:
        """Return the IKE SA that is in use."""
        return next(sa for sa in self.connection().ike_sas if sa.state == "established")

    def up(self) -> None:
        reply = ask(self.control, lambda client: client.up("site"))
        assert reply.result == "up", reply

    def assert_nothing_is_left(self) -> None:
        host = self.here.host
        assert sorted(host.interfaces()) == ["eth0", "lo"]
        rules = [host.run(["ip", family, "rule"]).splitlines() for family in ("-4", "-6")]
        assert [len(lines) for lines in rules] == [3, 2], rules
        assert not self.control.exists()
        wait_until(lambda: not host.namespace.processes(), "no process is left", seconds=5)


def pair_of(
    lab: Lab, west: Site, east: Site, *, daemon: str = "", extra: str = ""
) -> tuple[Gateway, Gateway]:
    gateways = (
        Gateway(west, east, daemon=daemon, extra=extra),
        Gateway(east, west, daemon=daemon, extra=extra),
    )
    for gateway in gateways:
        lab.at_end(gateway.stop)
    return gateways


def assert_ping(one: Gateway, other: Gateway) -> None:
    for source, target in zip(one.here.inner, other.here.inner, strict=True):
        report = ping(one.here.host, source, target, count=3)
        assert report.received == 3, report


def children(process: Process) -> dict[str, int]:
    """Return the pids of the daemon's two processes by their module."""
    found = {}
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for pid in map(int, path.read_text().split()):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        found[words[words.index(b"-m") + 1].decode().rsplit(".", 1)[-1]] = pid
    return found


def test_a_tunnel_from_up_to_a_clean_end(lab: Lab) -> None:
    west, east = pair_of(lab, *two_sites(lab))
    for gateway in (west, east):
        gateway.start()
    west.up()
    assert_ping(west, east)
    assert_ping(east, west)
    for here, there in ((west, east), (east, west)):
        sa, far = here.ike_sa(), there.ike_sa()
        (child,), (far_child,) = sa.children, far.children
        assert (sa.spi_i, sa.spi_r) == (far.spi_i, far.spi_r)
        assert (sa.local_id, sa.remote_id) == (here.here.identity, there.here.identity)
        assert (child.inbound_spi, child.outbound_spi) == (
            far_child.outbound_spi,
            far_child.inbound_spi,
        )
        assert (child.packets_in, child.packets_out) == (6, 6)
        assert child.last_packet_in is not None
        assert child.drops == {}
    for ike in (False, True):
        east.rekey(ike=ike)
        assert_ping(west, east)
    assert (west.connection().rekeys.ike, west.connection().rekeys.child) == (1, 1)
    for gateway in (west, east):
        assert gateway.process is not None
        os.kill(gateway.process.pid, signal.SIGTERM)
        assert gateway.process.wait_ended(15) == 0
        gateway.assert_nothing_is_left()
    reasons = [e["reason"] for e in east.events() if e["event"] == "ike_sa_closed"]
    assert reasons == ["deleted_by_peer"]


def test_prometheus_finds_the_numbers(lab: Lab) -> None:
    west, east = two_sites(lab)
    gateway, _ = pair_of(lab, west, east, daemon='metrics = "127.0.0.1:9469"')
    gateway.start()

    def fetch() -> str:
        with urllib.request.urlopen("http://127.0.0.1:9469/metrics", timeout=5) as answer:
            text: bytes = answer.read()
            return text.decode()

    numbers = west.host.call(fetch)
    assert "ipsecme_ike_sas_limit 50000.0" in numbers
    assert 'ipsecme_connection_up{connection="site"} 0.0' in numbers


def test_a_tunnel_across_a_nat(lab: Lab) -> None:
    west, east = pair_of(lab, *two_sites_across_nat(lab))
    for gateway in (west, east):
        gateway.start()
    west.up()
    assert_ping(west, east)
    assert (west.ike_sa().nat, east.ike_sa().nat) == ("local", "remote")
    assert west.ike_sa().remote.endswith(":4500")
    assert west.ike_sa().children[0].encapsulated
    refused = ask(
        east.control,
        lambda client: client.down("site"),
    )
    assert refused.done


def test_a_tunnel_over_ipv6(lab: Lab) -> None:
    west, east = pair_of(lab, *two_sites(lab, outer=OUTER_IPV6, inner=(INNER_IPV6,)))
    for gateway in (west, east):
        gateway.start()
    west.up()
    assert_ping(west, east)
    assert west.ike_sa().remote == "[2001:db8::2]:4500"


def test_a_wanted_connection_comes_up_when_the_peer_does_and_comes_back(lab: Lab) -> None:
    west, east = pair_of(lab, *two_sites(lab))
    west.config.write_text(west.config.read_text() + '            start = "start"\n')
    west.start()
    wait_until(
        lambda: "ike_sa_failed" in [e["event"] for e in west.events()], "the first try fails"
    )
    assert west.connection().wanted
    east.start()
    wait_until(lambda: west.connection().state == "up", "the tunnel is up", seconds=30)
    assert_ping(west, east)
    ask(east.control, lambda client: client.down("site"))
    wait_until(
        lambda: [e["event"] for e in west.events()].count("ike_sa_established") == 2,
        "the tunnel is up again",
        seconds=30,
    )
    ask(west.control, lambda client: client.down("site"))
    assert not west.connection().wanted
    assert west.connection().state == "down"


def test_secrets_are_in_no_log_and_no_answer(lab: Lab) -> None:
    west, east = pair_of(lab, *two_sites(lab), daemon=f'keylog = "{lab.folder}/keys"')
    for gateway in (west, east):
        gateway.start()
    west.up()
    west.rekey(ike=True)
    assert_ping(west, east)
    words = {SECRET, SECRET.encode().hex()}
    for name in ("ikev2_decryption_table", "esp_sa"):
        for line in (lab.folder / "keys" / name).read_text().splitlines():
            fields = [field.strip('"').removeprefix("0x") for field in line.split(",")]
            words |= {field for field in fields if len(field) > 30 and field.isalnum()}
    assert len(words) > 6
    answers = repr(west.status()) + repr(east.status())
    for gateway in (west, east):
        text = (gateway.here.host.folder / "ipsecme.log").read_text() + answers
        assert not [word for word in words if word in text]
        command_lines = [
            Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
            for pid in gateway.here.host.namespace.processes()
        ]
        assert not [word for word in words if word in "".join(command_lines)]
        warnings = [e["event"] for e in gateway.events() if e["level"] == "warning"]
        assert "key_log_open" in warnings


def test_the_packet_process_does_not_get_the_environment(lab: Lab) -> None:
    west, _ = pair_of(lab, *two_sites(lab))
    text = west.config.read_text().replace(f'psk = "{SECRET}"', 'psk_env = "SITE_PSK"')
    west.config.write_text(text)
    process = west.start(environment={"SITE_PSK": SECRET})
    pids = children(process)
    assert SECRET in Path(f"/proc/{pids['ike_process']}/environ").read_text()
    assert SECRET not in Path(f"/proc/{pids['process']}/environ").read_text()


@pytest.mark.requirement("R7296-045")
@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("ike_process", "ipsecme: the IKE process was killed by SIGKILL unexpectedly"),
        ("process", "ipsecme: the packet process has ended"),
    ],
)
def test_the_death_of_a_process_ends_the_daemon_with_a_reason(
    lab: Lab, victim: str, message: str
) -> None:
    west, _ = pair_of(lab, *two_sites(lab))
    process = west.start()
    os.kill(children(process)[victim], signal.SIGKILL)
    assert process.wait_ended(20) == 1
    assert process.log_text().splitlines()[-1].startswith(message)
    assert "Traceback" not in process.log_text()
    wait_until(lambda: not west.here.host.namespace.processes(), "no process is left", seconds=5)
    assert sorted(west.here.host.interfaces()) == ["eth0", "lo"]
    west.start().stop()
    west.assert_nothing_is_left()


def test_the_death_of_the_supervisor_ends_everything(lab: Lab) -> None:
    west, _ = pair_of(lab, *two_sites(lab))
    process = west.start()
    os.kill(process.pid, signal.SIGKILL)
    process.wait_ended(5)
    wait_until(lambda: not west.here.host.namespace.processes(), "all have ended", seconds=20)
    west.assert_nothing_is_left()


def test_a_silent_peer_does_not_hold_up_the_end(lab: Lab) -> None:
    west, east = pair_of(lab, *two_sites(lab))
    patient = west.config.read_text().replace("first_wait = 0.2", "first_wait = 2")
    west.config.write_text(patient)
    for gateway in (west, east):
        gateway.start()
    west.up()
    assert east.process is not None
    assert west.process is not None
    for pid in east.here.host.namespace.processes():
        os.kill(pid, signal.SIGKILL)
    east.process.wait_ended(5)
    os.kill(west.process.pid, signal.SIGINT)
    assert west.process.wait_ended(15) == 0
    assert "shutdown_unconfirmed" in [e["event"] for e in west.events()]
    west.assert_nothing_is_left()


def test_a_second_daemon_is_refused_in_one_line(lab: Lab) -> None:
    west, _ = pair_of(lab, *two_sites(lab))
    west.start()
    second = west.here.host.start(
        "second", [sys.executable, "-m", "ipsecme.daemon.main", str(west.config)]
    )
    assert second.wait_ended(20) == 1
    (line,) = second.log_text().splitlines()
    assert line.startswith("ipsecme: ")
    assert "is taken by another program" in line
    assert west.connection().state == "down"  # the first one is not disturbed


@pytest.mark.parametrize(
    ("capability", "message"),
    [
        ("all", "run as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_BIND_SERVICE"),
        ("net_raw", "run as root or with CAP_NET_RAW"),
        ("net_admin", "CAP_NET_ADMIN"),
    ],
)
def test_missing_privileges_are_named_in_one_line(lab: Lab, capability: str, message: str) -> None:
    west, _ = pair_of(lab, *two_sites(lab))
    drop = [f"--bounding-set=-{capability}", f"--inh-caps=-{capability}"]
    argv = ["setpriv", *drop, sys.executable, "-m", "ipsecme.daemon.main", str(west.config)]
    process = west.here.host.start("ipsecme", argv)
    assert process.wait_ended(20) == 1
    (line,) = process.log_text().splitlines()
    assert message in line
    west.assert_nothing_is_left()


def test_systemd_is_told_when_the_daemon_is_ready_and_when_it_stops(lab: Lab) -> None:
    west, _ = pair_of(lab, *two_sites(lab))
    path = lab.folder / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(path))
        notifications.settimeout(10)
        process = west.start(environment={"NOTIFY_SOCKET": str(path)})
        assert notifications.recv(100) == b"READY=1"
        assert (
            "NOTIFY_SOCKET"
            not in Path(f"/proc/{children(process)['ike_process']}/environ").read_text()
        )
        process.stop()
        assert notifications.recv(100) == b"STOPPING=1"


def test_the_unit_file_is_what_systemd_understands() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = Path(__file__).parents[2] / "contrib" / "ipsecme.service"
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "ipsecme.service" in line]
    assert complaints == []
