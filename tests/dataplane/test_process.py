"""The packet process itself: refusals, its end, hostile datagrams, sockets that complain."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import ConfigError, SystemRefused
from ipsecme.dataplane import DataPlaneLost, DropReason
from ipsecme.dataplane.user import UserDataPlane, UserSettings, launch
from ipsecme.lab.network import Lab
from support.esp import EAST, WEST, make_ends, udp
from support.planes import OUTER, Ears, UserSide, eventually, has_come, outer_path, user_planes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipsecme.lab.host import Host

pytestmark = pytest.mark.root


def _run(check: Callable[[UserSide, UserSide], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        async with user_planes(**settings) as (west, east):
            await check(west, east)

    asyncio.run(main())


async def _refusal(host: Host, settings: UserSettings) -> str:
    """Start a packet process that cannot work and return what it says."""
    process, channel = host.call(lambda: launch(settings))
    plane = UserDataPlane(channel)
    try:
        with pytest.raises(SystemRefused) as caught:
            await plane.start(Ears())
    finally:
        await plane.close()
    assert process.wait(10) == 1
    return str(caught.value)


def test_a_device_in_use_is_refused_with_a_remedy() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        text = await _refusal(west.host, UserSettings(nat_port=4600))
        assert "ipsec0 is in use" in text
        assert "another name" in text

    _run(check)


def test_a_port_in_use_is_refused_with_a_remedy() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        text = await _refusal(west.host, UserSettings(tun_name="ipsec1"))
        assert "0.0.0.0:4500 is taken" in text

    _run(check)


def test_an_address_that_the_host_does_not_have_is_refused() -> None:
    async def main() -> None:
        with Lab("refusal") as lab:
            text = await _refusal(lab.host("west"), UserSettings(listen=("192.0.2.77",)))
            assert "does not have the address 192.0.2.77" in text

    asyncio.run(main())


def test_missing_capabilities_are_named() -> None:
    async def main() -> None:
        with Lab("capabilities") as lab:
            host = lab.host("west")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = host.call(lambda: _without_capabilities(theirs.fileno()))
            plane = UserDataPlane(ours)
            with pytest.raises(SystemRefused, match=r"CAP_NET_RAW|CAP_NET_ADMIN"):
                await plane.start(Ears())
            await plane.close()
            assert process.wait(10) == 1

    asyncio.run(main())


def _without_capabilities(descriptor: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            "setpriv",
            "--bounding-set=-net_admin,-net_raw",
            "--inh-caps=-net_admin,-net_raw",
            sys.executable,
            "-m",
            "ipsecme.dataplane.user.process",
            "--channel-fd",
            str(descriptor),
            "--settings",
            UserSettings().to_json(),
        ],
        pass_fds=(descriptor,),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("tun_name", ""), ("tun_name", "x" * 16), ("tun_name", "a/b"), ("mtu", 576), ("mtu", 70000)],
)
def test_settings_that_cannot_be_are_refused_at_once(field: str, value: object) -> None:
    with pytest.raises(ConfigError):
        UserSettings(**{field: value})  # type: ignore[arg-type]


def test_signals_are_left_to_the_supervisor() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path())
        await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(west.process.pid, number)
        inner = udp(WEST, EAST, b"still at work...")
        west.inject(inner)
        await eventually(lambda: has_come(inner, east), "the packet")

    _run(check)


def test_the_process_ends_with_its_channel() -> None:
    with Lab("channel") as lab:
        host = lab.host("west")
        process, channel = host.call(lambda: launch(UserSettings()))
        assert channel.recv(100) == b"\x07", "it says that it is ready"
        assert "ipsec0" in host.interfaces()
        channel.close()  # nobody says goodbye
        assert process.wait(10) == 0
        assert "ipsec0" not in host.interfaces()


def test_a_message_that_makes_no_sense_ends_the_process() -> None:
    with Lab("channel") as lab:
        host = lab.host("west")
        process, channel = host.call(lambda: launch(UserSettings()))
        with channel:
            channel.send(b"\xee nonsense")
            assert process.wait(10) == 0


def test_death_is_reported_and_ends_all_waiting() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        os.kill(west.process.pid, signal.SIGSTOP)
        installation = west.plane.install(make_ends(path=outer_path()).west)
        counting = asyncio.ensure_future(west.plane.counters())
        await asyncio.sleep(0)
        os.kill(west.process.pid, signal.SIGKILL)
        with pytest.raises(DataPlaneLost):
            await installation
        with pytest.raises(DataPlaneLost):
            await counting
        assert west.ears.failures == ["the packet process has ended by itself"]
        with pytest.raises(DataPlaneLost):
            await west.plane.counters()

    _run(check)


def test_a_burst_of_messages_waits_for_a_slow_process() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        os.kill(west.process.pid, signal.SIGSTOP)
        for number in range(3000):
            west.plane.send(number.to_bytes(2) + bytes(1000), outer_path())
        ends = make_ends(path=outer_path())
        installation = west.plane.install(ends.west)
        os.kill(west.process.pid, signal.SIGCONT)
        await installation
        await east.plane.install(ends.east)
        await eventually(lambda: bool(east.ears.ike), "the messages")
        numbers = [int.from_bytes(data[:2]) for data, _ in east.ears.ike]
        assert numbers == sorted(numbers)

    _run(check)


def test_hostile_datagrams_are_counted_and_nothing_else() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path())
        await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))
        spi = (0x2001).to_bytes(4)
        hostile = [
            *(bytes(size) for size in range(1, 4)),
            b"\xff",
            b"\xff\xff",
            b"\x00\x00\x00\x01" + bytes(100),
            spi,
            spi + bytes(20),
            spi + b"\x01" * 200,
            b"\xab" * 9000,
        ]
        udp_socket, raw = west.host.call(_sockets)
        with udp_socket, raw:
            for octets in hostile:
                udp_socket.sendto(octets, (OUTER[1], 4500))
                raw.sendto(octets, (OUTER[1], 0))
        inner = udp(WEST, EAST, b"honest packet...")
        west.inject(inner)
        await eventually(lambda: has_come(inner, east), "the honest packet")
        counters = await east.plane.counters()
        expected = {
            DropReason.UNKNOWN_SPI: 6 + 7,  # on the port, a lone 0xff is a keepalive
            DropReason.BAD_LENGTH: 4,
            DropReason.BAD_ICV: 2,
        }
        assert counters.totals.drops == expected
        assert east.ears.ike == []
        assert len(east.delivered()) == 1

    _run(check)


def _sockets() -> tuple[socket.socket, socket.socket]:
    return (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 50),
    )


def test_what_the_firewall_refuses_is_counted_and_the_loop_lives() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path())
        await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))
        rules = (
            "add table inet t",
            "add chain inet t o { type filter hook output priority 0; }",
            "add rule inet t o udp dport 4500 drop",
        )
        for rule in rules:
            west.host.run(["nft", *rule.split()])
        west.inject(udp(WEST, EAST, b"is refused ....."))
        for _ in range(200):
            drops = (await west.plane.counters()).totals.drops
            if drops.get(DropReason.SEND_REFUSED):
                break
            await asyncio.sleep(0.02)
        assert drops == {DropReason.SEND_REFUSED: 1}
        west.host.run(["nft", "delete", "table", "inet", "t"])
        inner = udp(WEST, EAST, b"passes again ...")
        west.inject(inner)
        await eventually(lambda: has_come(inner, east), "the packet")

    _run(check)


def test_port_unreachable_is_no_reason_to_stop() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        await west.plane.install(make_ends(path=outer_path()).west)
        await east.plane.close()
        for _ in range(5):
            west.inject(udp(WEST, EAST))
            west.plane.send(b"anybody there?", outer_path())
            await asyncio.sleep(0.02)
        counters = await west.plane.counters()
        assert counters.totals.packets_out == 5

    _run(check)


def test_answers_leave_from_the_address_that_was_asked() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        east.host.add_address("eth0", "192.0.2.200/24")
        asked = outer_path((OUTER[0], "192.0.2.200"))
        west.plane.send(b"to your second address", asked)
        await eventually(lambda: bool(east.ears.ike), "the message")
        message, path = east.ears.ike[0]
        assert path.local.address == "192.0.2.200"
        east.plane.send(message, path)
        await eventually(lambda: bool(west.ears.ike), "the answer")
        assert west.ears.ike[0][1].remote.address == "192.0.2.200"

    _run(check)


def test_many_packets_at_once_all_arrive() -> None:
    """Batches, segmentation on the way out and coalescing on the way in change nothing."""

    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path())
        await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))
        sender, receiver = west.host.call(_udp_socket), east.host.call(_udp_socket)
        with sender, receiver:
            receiver.bind((EAST, 9000))
            receiver.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
            receiver.setblocking(False)
            sender.bind((WEST, 0))
            sent = [n.to_bytes(4) + bytes((n * 7) % 1300) for n in range(1000)]
            os.kill(west.process.pid, signal.SIGSTOP)
            for octets in sent:
                sender.sendto(octets, (EAST, 9000))
            os.kill(west.process.pid, signal.SIGCONT)
            got: list[bytes] = []
            await eventually(lambda: _drain(receiver, got) == len(sent), "all packets")
            assert got == sent

    _run(check)


def _udp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _drain(sock: socket.socket, into: list[bytes]) -> int:
    while True:
        try:
            into.append(sock.recv(2000))
        except BlockingIOError:
            return len(into)
