"""What the packet process does to the routing of its host, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Incompatible, packed_address
from ipsecme.dataplane.user import UserSettings
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.network import Lab
from support.esp import EAST, EAST6, WEST, WEST6, make_ends, udp
from support.planes import (
    OUTER,
    UserSide,
    eventually,
    has_come,
    outer_path,
    user_planes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipsecme.lab.host import Host
    from ipsecme.policy.parameters import SaPair

pytestmark = pytest.mark.root

EVERYTHING = ("0.0.0.0/0", "::/0")


def _run(check: Callable[[UserSide, UserSide], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        async with user_planes(**settings) as (west, east):
            await check(west, east)

    asyncio.run(main())


def _state(host: Host) -> str:
    """Return all rules, routes and links of a host, as text."""
    commands = (
        ["ip", "rule"],
        ["ip", "-6", "rule"],
        ["ip", "route", "show", "table", "all"],
        ["ip", "-6", "route", "show", "table", "all"],
        ["ip", "-brief", "link"],
    )
    return "\n".join(host.run(command) for command in commands)


def _route(host: Host, destination: str, *more: str) -> dict[str, str]:
    """Ask the kernel where a packet would go."""
    family = "-6" if ":" in destination else "-4"
    (route,) = json.loads(host.run(["ip", family, "-j", "route", "get", destination, *more]))
    return dict(route)


def test_remote_prefixes_lead_to_the_device_with_the_inner_source() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        await west.plane.install(make_ends(path=outer_path()).west)
        for inner, far in ((WEST, EAST), (WEST6, EAST6)):
            route = _route(west.host, far)
            assert route["dev"] == "ipsec0"
            assert route["prefsrc"] == inner
        assert _route(west.host, OUTER[1])["dev"] == "eth0"
        assert "ipsec0" not in str(_route_or_refusal(east.host, WEST))

    _run(check)


def test_everything_is_gone_after_close() -> None:
    async def main() -> None:
        with Lab("gone") as lab:
            host = lab.host("west")
            host.add_address("lo", f"{WEST}/32")
            host.add_address("lo", f"{WEST6}/128")
            before = _state(host)
            side = UserSide(host, UserSettings())
            await side.plane.start(side.ears)
            for number, ts in enumerate(((EAST, EAST6), EVERYTHING)):
                spis = 0x1000 + number, 0x2000 + number
                await side.plane.install(make_ends(path=outer_path(), spis=spis, east_ts=ts).west)
            during = _state(host)
            side.close()
            await side.plane.close()
            assert side.process.wait(10) == 0
            assert during != before
            assert _state(host) == before

    asyncio.run(main())


def test_routes_go_with_the_last_pair_that_needs_them() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        for spi in (0x1000, 0x1001):
            await west.plane.install(make_ends(path=outer_path(), spis=(spi, spi + 16)).west)
        west.plane.remove(0x1000)
        await west.plane.counters()
        assert _route(west.host, EAST)["dev"] == "ipsec0"
        west.plane.remove(0x1001)
        await west.plane.counters()
        assert "10.2.0.0" not in _state(west.host)

    _run(check)


ASSIGNED = (("10.9.0.5", "fd00:9::5"), ("10.9.0.6", "fd00:9::6"))


def _assigned(number: int) -> SaPair:
    """Return a pair whose local side are the assigned addresses of this number."""
    addresses = ASSIGNED[number]
    spis = 0x1000 + number, 0x2000 + number
    ends = make_ends(path=outer_path(), spis=spis, west_ts=addresses)
    return replace(ends.west, own_addresses=tuple(map(packed_address, addresses)))


def test_assigned_addresses_stand_on_the_device_while_a_pair_needs_them() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        await west.plane.install(_assigned(0))
        for address, far in zip(ASSIGNED[0], (EAST, EAST6), strict=True):
            assert f" {address}/" in west.host.run(["ip", "addr", "show", "dev", "ipsec0"])
            route = _route(west.host, far)
            assert (route["dev"], route["prefsrc"]) == ("ipsec0", address)
        west.plane.remove(0x1000)
        await west.plane.counters()
        left = _state(west.host) + west.host.run(["ip", "addr"])
        assert not any(address in left for address in ASSIGNED[0])

    _run(check)


@pytest.mark.parametrize("first_to_go", [0, 1])
def test_routes_outlive_an_assigned_address_that_another_follows(first_to_go: int) -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        for number in (0, 1):
            await west.plane.install(_assigned(number))
        for address, far in zip(ASSIGNED[1], (EAST, EAST6), strict=True):
            assert _route(west.host, far)["prefsrc"] == address
        west.plane.remove(0x1000 + first_to_go)
        await west.plane.counters()
        for address, far in zip(ASSIGNED[1 - first_to_go], (EAST, EAST6), strict=True):
            route = _route(west.host, far)
            assert (route["dev"], route["prefsrc"]) == ("ipsec0", address)
        west.plane.remove(0x1001 - first_to_go)
        await west.plane.counters()
        left = _state(west.host) + west.host.run(["ip", "addr"])
        assert not any(address in left for pair in ASSIGNED for address in pair)

    _run(check)


def test_a_tunnel_may_cover_the_peer_itself() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path(), west_ts=EVERYTHING, east_ts=EVERYTHING)
        await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))
        inner = udp(WEST, EAST, b"through the whole tunnel")
        west.inject(inner)
        await eventually(lambda: has_come(inner, east), "the packet")
        to_the_peer = udp(OUTER[0], OUTER[1], b"even to the peer's outer address")
        west.inject(to_the_peer)
        await eventually(lambda: has_come(to_the_peer, east), "the packet to the peer")
        west.plane.send(b"and IKE passes by", outer_path())
        await eventually(lambda: bool(east.ears.ike), "the message")

    _run(check)


def test_a_tunnel_to_everywhere_leaves_others_and_the_local_network_alone() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        ends = make_ends(path=outer_path(), east_ts=EVERYTHING)
        await west.plane.install(ends.west)
        # From inside to anywhere: protected. From the outer address: not this policy's traffic.
        assert _route(west.host, "198.51.100.7")["dev"] == "ipsec0"
        assert _route(west.host, OUTER[1], "from", OUTER[0])["dev"] == "eth0"
        # Within the local prefix nothing leaves the local network.
        assert "ipsec0" not in str(_route_or_refusal(west.host, "10.1.0.77"))

    _run(check)


def _route_or_refusal(host: Host, destination: str) -> object:
    try:
        return _route(host, destination)
    except StepFailed as error:
        return error


def test_nothing_leaves_in_the_clear_when_the_process_is_killed() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path(), east_ts=("10.2.0.0/16", *EVERYTHING))
        west.host.add_route("default", OUTER[1])
        await west.plane.install(ends.west)
        await east.plane.install(ends.east)
        os.kill(west.process.pid, signal.SIGKILL)
        west.process.wait(10)
        await eventually(lambda: bool(west.ears.failures), "the bad news")
        for destination in (EAST, "198.51.100.7"):
            with pytest.raises(OSError, match=r"unreachable|No route"):
                west.inject(udp(WEST, destination))

        # The next start clears up.
        west.close()
        again = UserSide(west.host, west.settings)
        try:
            await again.plane.start(again.ears)
            assert _route(west.host, "198.51.100.7")["dev"] == "eth0"
        finally:
            again.close()
            await again.plane.close()
            again.process.wait(10)

    _run(check)


def test_ranges_that_need_too_many_routes_are_refused_whole() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        before = _state(west.host)
        ragged = tuple(f"10.{n}.0.1-10.{n}.255.254" for n in range(10, 30))
        with pytest.raises(Incompatible, match="more than 256 routes"):
            await west.plane.install(make_ends(path=outer_path(), east_ts=ragged).west)
        assert _state(west.host) == before
        assert list((await west.plane.counters()).sas) == []

    _run(check)


def test_an_address_that_comes_later_is_found() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        first = make_ends(path=outer_path(), west_ts=("10.77.0.0/24",), spis=(0x1100, 0x2100))
        await west.plane.install(first.west)
        west.host.add_address("lo", "10.78.0.1/32")
        await asyncio.sleep(0.1)
        later = make_ends(path=outer_path(), west_ts=("10.78.0.0/24",), east_ts=("10.88.0.0/16",))
        await west.plane.install(later.west)
        assert _route(west.host, "10.88.0.1")["prefsrc"] == "10.78.0.1"

    _run(check)


def test_an_ipv6_address_on_the_device_goes_with_its_pair() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        del east
        show = ["ip", "-6", "address", "show", "ipsec0"]
        await west.plane.install(make_ends(path=outer_path()).west)
        assert f"{WEST6}/128" in west.host.run(show)
        west.plane.remove(0x1001)
        await west.plane.counters()
        assert WEST6 not in west.host.run(show)
        assert WEST6 in west.host.run(["ip", "-6", "address", "show", "lo"])

    _run(check)


def test_other_names_and_numbers() -> None:
    async def check(west: UserSide, east: UserSide) -> None:
        ends = make_ends(path=outer_path())
        await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))
        state = _state(west.host)
        assert "tunnel7" in state
        assert "lookup 777" in state
        inner = udp(WEST, EAST, b"by another name")
        west.inject(inner)
        await eventually(lambda: has_come(inner, east), "the packet")
        assert "1300" in west.host.run(["ip", "link", "show", "tunnel7"])

    _run(check, tun_name="tunnel7", table=777, mark=77, rule_priority=700, mtu=1300)


def test_the_device_speaks_only_when_spoken_to() -> None:
    """No router solicitations, no group reports: those would only be dropped and counted."""

    async def check(west: UserSide, east: UserSide) -> None:
        del east
        await west.plane.install(make_ends(path=outer_path()).west)
        await asyncio.sleep(0.5)
        assert (await west.plane.counters()).totals.drops == {}
        addresses = west.host.run(["ip", "-6", "address", "show", "ipsec0"])
        assert "fe80" not in addresses

    _run(check)
