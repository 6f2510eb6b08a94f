"""What every data plane does, whatever it is made of."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Incompatible, IpsecmeError, LocalMisuse, Path, Transport
from ipsecme.crypto.suite import EspSuite
from ipsecme.dataplane import DataPlaneLost, DropReason
from ipsecme.esp.ecn import traffic_class
from ipsecme.policy.parameters import Mode
from ipsecme.wire.numbers import EncrId, IntegId, IpProtocol
from support.esp import (
    CBC_SUITE,
    EAST,
    EAST6,
    ESN_SUITE,
    GCM_SUITE,
    WEST,
    WEST6,
    Ends,
    make_ends,
    packet,
    udp,
)
from support.planes import OUTER, OUTER6, eventually, memory_planes, outer_path, user_planes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from ipsecme.dataplane import Counters, DataPlane
    from support.planes import Side

    Check = Callable[[Side, Side], Awaitable[None]]

_PLANES = [
    pytest.param(memory_planes, id="memory"),
    pytest.param(user_planes, id="user", marks=pytest.mark.root),
]
_INNER = [(WEST, EAST), (WEST6, EAST6)]


@pytest.fixture(params=_PLANES)
def on_planes(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """Run a check with two joined planes of each kind."""
    joined: Callable[[], AbstractAsyncContextManager[tuple[Side, Side]]] = request.param

    def run(check: Check) -> None:
        async def main() -> None:
            async with joined() as (west, east):
                await check(west, east)
                assert west.ears.failures == east.ears.failures == []

        asyncio.run(main())

    return run


async def _install(west: Side, east: Side, ends: Ends) -> None:
    await asyncio.gather(west.plane.install(ends.west), east.plane.install(ends.east))


async def _counted(plane: DataPlane, condition: Callable[[Counters], bool], what: str) -> Counters:
    counters = await plane.counters()
    for _ in range(500):
        if condition(counters):
            return counters
        await asyncio.sleep(0.02)
        counters = await plane.counters()
    raise AssertionError(f"did not come: {what}; counters are {counters}")


async def _crosses(one: Side, other: Side, packet: bytes) -> None:
    one.inject(packet)
    await eventually(lambda: _payload(packet) in map(_payload, other.delivered()), "the packet")


def _payload(packet: bytes) -> bytes:
    return packet[-16:]


@pytest.mark.parametrize("suite", [GCM_SUITE, ESN_SUITE, CBC_SUITE], ids=str)
def test_inner_packets_cross_both_ways(on_planes: Callable[[Check], None], suite: EspSuite) -> None:
    async def check(west: Side, east: Side) -> None:
        await _install(west, east, make_ends(suite, path=outer_path()))
        for near, far in _INNER:
            await _crosses(west, east, udp(near, far, b"there: " + bytes(600)))
            await _crosses(east, west, udp(far, near, b"and back" + bytes(8)))

    on_planes(check)


@pytest.mark.parametrize("addresses", [OUTER, OUTER6], ids=["over IPv4", "over IPv6"])
@pytest.mark.parametrize("encapsulated", [True, False], ids=["in UDP", "protocol 50"])
def test_every_kind_of_outer_path(
    on_planes: Callable[[Check], None], addresses: tuple[str, str], *, encapsulated: bool
) -> None:
    async def check(west: Side, east: Side) -> None:
        path = outer_path(addresses, encapsulated=encapsulated)
        await _install(west, east, make_ends(path=path))
        for near, far in _INNER:
            await _crosses(west, east, udp(near, far, b"over any path 16"))
            await _crosses(east, west, udp(far, near, b"and all the way."))

    on_planes(check)


@pytest.mark.parametrize("addresses", [OUTER, OUTER6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("encapsulated", [True, False], ids=["in UDP", "protocol 50"])
def test_transport_mode_between_the_hosts_themselves(
    on_planes: Callable[[Check], None], addresses: tuple[str, str], *, encapsulated: bool
) -> None:
    async def check(west: Side, east: Side) -> None:
        path = outer_path(addresses, encapsulated=encapsulated)
        ends = make_ends(path=path, west_ts=addresses[:1], east_ts=addresses[1:])
        await _install(
            west, east, Ends(*(dataclasses.replace(p, mode=Mode.TRANSPORT) for p in ends))
        )
        near, far = addresses
        await _crosses(west, east, udp(near, far, b"to the other host"))
        await _crosses(east, west, udp(far, near, b"and back again..."))
        # The header that travels is the only one: what it says of the class comes out again.
        for mark in (2, 3, 0xB9):
            body = udp(near, far, b"with a class: %03d" % mark)[-26:]
            west.inject(packet(near, far, IpProtocol.UDP, body, ecn=mark))
            await eventually(
                lambda m=mark, b=body: (
                    (m, b[-16:])  # type: ignore[misc]
                    in [(traffic_class(p), p[-16:]) for p in east.delivered()]
                ),
                "the packet with its traffic class",
            )
        counters = await _counted(
            east.plane, lambda c: c.totals.packets_in >= 4, "four packets in transport mode"
        )
        assert set(counters.totals.drops) <= {DropReason.NO_POLICY}

    on_planes(check)


@pytest.mark.requirement("R7296-152", "M-80")
def test_each_end_takes_esp_in_udp_and_as_protocol_50_whatever_it_sends(
    on_planes: Callable[[Check], None],
) -> None:
    async def check(west: Side, east: Side) -> None:
        for number, addresses in enumerate((OUTER, OUTER6)):
            for swap in (False, True):
                spis = 0x1000 + 2 * number + swap, 0x2000 + 2 * number + swap
                ends = make_ends(path=outer_path(addresses, encapsulated=swap), spis=spis)
                other_way = ends.east.path._replace(encapsulated=not swap)
                other = dataclasses.replace(ends.east, path=other_way)
                await _install(west, east, Ends(ends.west, other))
                await _crosses(west, east, udp(WEST, EAST, b"%04d one way there" % spis[0]))
                await _crosses(east, west, udp(EAST, WEST, b"%04d other way back" % spis[1]))

    on_planes(check)


@pytest.mark.parametrize("encapsulated", [True, False], ids=["in UDP", "protocol 50"])
def test_congestion_marks_cross_a_tunnel(
    on_planes: Callable[[Check], None], *, encapsulated: bool
) -> None:
    async def check(west: Side, east: Side) -> None:
        for number, addresses in enumerate((OUTER, OUTER6)):
            path = outer_path(addresses, encapsulated=encapsulated)
            spis = 0x1000 + number, 0x2000 + number
            await _install(west, east, make_ends(path=path, spis=spis))
            for near, far in _INNER:
                for mark in range(4):
                    body = udp(near, far, b"%02d marked with %02d" % (number, mark))[-26:]
                    west.inject(packet(near, far, IpProtocol.UDP, body, ecn=mark))
                    await eventually(
                        lambda m=mark, b=body: (
                            (m, b[-16:])  # type: ignore[misc]
                            in [(traffic_class(p), p[-16:]) for p in east.delivered()]
                        ),
                        "the marked packet",
                    )

    on_planes(check)


def test_packets_larger_than_the_path_cross_in_fragments(
    on_planes: Callable[[Check], None],
) -> None:
    async def check(west: Side, east: Side) -> None:
        widest = EspSuite(EncrId.ENCR_AES_CBC, 256, IntegId.AUTH_HMAC_SHA2_512_256, esn=False)
        for number, addresses in enumerate((OUTER, OUTER6)):
            spis = 0x1000 + number, 0x2000 + number
            ends = make_ends(widest, path=outer_path(addresses), spis=spis)
            await _install(west, east, ends)
            await _crosses(west, east, udp(WEST, EAST, bytes(1350) + b"the last octets."))

    on_planes(check)


def test_ike_messages_cross_with_their_paths(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        for addresses in (OUTER, OUTER6):
            path = outer_path(addresses)
            message = b"an IKE message by " + addresses[0].encode()
            west.plane.send(message, path)
            west.plane.send(b"\xff", path)  # a NAT-keepalive is for no one
            back = Path(path.remote, path.local, encapsulated=True)
            await eventually(lambda m=message, b=back: (m, b) in east.ears.ike, "the message")  # type: ignore[misc]
            east.plane.send(b"the answer", back)
            await eventually(lambda p=path: (b"the answer", p) in west.ears.ike, "the answer")  # type: ignore[misc]
        assert len(east.ears.ike) == 2
        assert len(west.ears.ike) == 2

    on_planes(check)


def test_largest_ike_messages_cross(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        message = bytes(range(256)) * 250
        west.plane.send(message, outer_path())
        await eventually(lambda: bool(east.ears.ike), "the message")
        assert east.ears.ike[0][0] == message

    on_planes(check)


def test_what_is_sent_after_an_install_leaves_after_it(
    on_planes: Callable[[Check], None],
) -> None:
    """A peer that hears the message may send on the SA at once."""

    async def check(west: Side, east: Side) -> None:
        await east.plane.install(make_ends(path=outer_path()).east)
        installation = west.plane.install(make_ends(path=outer_path()).west)
        west.plane.send(b"I can receive now", outer_path())
        await eventually(lambda: bool(east.ears.ike), "the message")
        await _crosses(east, west, udp(EAST, WEST, b"sent at once by!"))
        await installation

    on_planes(check)


def test_a_second_install_of_an_spi_fails_alone(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        ends = make_ends(path=outer_path())
        await _install(west, east, ends)
        with pytest.raises(LocalMisuse, match="installed already"):
            await west.plane.install(ends.west)
        await _crosses(west, east, udp(WEST, EAST, b"still carries it"))

    on_planes(check)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"mode": Mode.TRANSPORT}, LocalMisuse, "between two hosts"),
        ({"replay_window": 7}, LocalMisuse, "replay window"),
        (
            {"suite": EspSuite(EncrId.ENCR_AES_CBC, 128, IntegId.NONE, esn=False)},
            Incompatible,
            "integrity",
        ),
    ],
    ids=["mode", "window", "suite"],
)
def test_what_cannot_be_installed_says_why_and_leaves_nothing(
    on_planes: Callable[[Check], None],
    change: dict[str, object],
    error: type[IpsecmeError],
    word: str,
) -> None:
    async def check(west: Side, east: Side) -> None:
        pair = make_ends(path=outer_path()).west
        with pytest.raises(error, match=word):
            await west.plane.install(dataclasses.replace(pair, **change))  # type: ignore[arg-type]
        for side in (west, east):
            assert list((await side.plane.counters()).sas) == []
        await west.plane.install(pair)

    on_planes(check)


def test_the_peer_is_heard_before_a_new_sa_is_used(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        await _install(west, east, make_ends(path=outer_path()))
        new = make_ends(
            path=outer_path(),
            spis=(0x1002, 0x2002),
            replaces=(0x1001, 0x2001),
            ready=(False, True),
            seed=8,
        )
        await _install(west, east, new)

        await _crosses(west, east, udp(WEST, EAST, b"on the old SA..."))
        await _crosses(east, west, udp(EAST, WEST, b"on the new SA..."))
        await _crosses(west, east, udp(WEST, EAST, b"now on the new.."))
        counters = await _counted(
            east.plane, lambda c: c.totals.packets_in >= 2, "two packets at east"
        )
        assert {sa.spi: sa.packets_in for sa in counters.sas} == {0x2001: 1, 0x2002: 1}

    on_planes(check)


def test_a_retired_sa_hears_and_a_removed_one_does_not(
    on_planes: Callable[[Check], None],
) -> None:
    async def check(west: Side, east: Side) -> None:
        await _install(west, east, make_ends(path=outer_path()))
        west.plane.retire(0x1001)
        await _crosses(east, west, udp(EAST, WEST, b"heard when alive"))

        west.inject(udp(WEST, EAST, b"is not sent ...."))
        dropped = DropReason.NO_POLICY
        await _counted(west.plane, lambda c: c.totals.drops.get(dropped) == 1, "the drop")

        west.plane.remove(0x1001)
        await _counted(west.plane, lambda c: not c.sas, "the removal")
        east.inject(udp(EAST, WEST, b"for nobody ....."))
        unknown = DropReason.UNKNOWN_SPI
        await _counted(west.plane, lambda c: c.totals.drops.get(unknown) == 1, "the drop")

    on_planes(check)


@pytest.mark.requirement("R7296-025")
@pytest.mark.parametrize("encapsulated", [True, False])
def test_esp_for_no_sa_is_reported_with_the_way_back(
    on_planes: Callable[[Check], None], *, encapsulated: bool
) -> None:
    ends = make_ends(GCM_SUITE, path=outer_path(encapsulated=encapsulated))

    async def check(west: Side, east: Side) -> None:
        await west.plane.install(ends.west)
        west.inject(udp(WEST, EAST))
        await eventually(lambda: bool(east.ears.unknown), "the report")
        spi, path = east.ears.unknown[0]
        assert spi == ends.west.outbound.spi
        assert (path.local.address, path.remote.address) == OUTER[::-1]
        assert path.encapsulated == encapsulated
        counters = await east.plane.counters()
        assert counters.totals.drops[DropReason.UNKNOWN_SPI] >= 1

    on_planes(check)


def test_unknown_spis_are_ignored(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        west.plane.retire(0x9999)
        west.plane.remove(0x9999)
        west.plane.update_path(0x9999, outer_path())
        assert list((await west.plane.counters()).sas) == []
        assert list((await east.plane.counters()).sas) == []

    on_planes(check)


def test_packets_follow_an_updated_path(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        nowhere = outer_path()._replace(remote=Transport("203.0.113.99", 4500))
        ends = make_ends(path=outer_path())
        await west.plane.install(dataclasses.replace(ends.west, path=nowhere))
        await east.plane.install(ends.east)
        west.inject(udp(WEST, EAST, b"goes nowhere ..."))
        refused = DropReason.SEND_REFUSED
        await _counted(west.plane, lambda c: c.totals.drops.get(refused) == 1, "the refusal")

        west.plane.update_path(0x1001, outer_path(OUTER6, encapsulated=False))
        await _crosses(west, east, udp(WEST, EAST, b"arrives by IPv6."))

    on_planes(check)


def test_packets_outside_the_selectors_do_not_come_out(
    on_planes: Callable[[Check], None],
) -> None:
    async def check(west: Side, east: Side) -> None:
        wide = make_ends(path=outer_path(), west_ts=("10.0.0.0/8",), east_ts=("10.2.0.0/16",))
        strict = make_ends(path=outer_path(), west_ts=("10.1.0.0/16",), east_ts=("10.2.0.0/16",))
        await west.plane.install(wide.west)
        await east.plane.install(strict.east)

        west.inject(udp("10.7.0.1", EAST, b"from a stranger."))
        wrong = DropReason.WRONG_SELECTORS
        counters = await _counted(east.plane, lambda c: c.totals.drops.get(wrong) == 1, "the drop")
        assert counters.sas[0].drops == {wrong: 1}
        await _crosses(west, east, udp(WEST, EAST, b"from a member ok"))
        assert b"from a stranger." not in map(_payload, east.delivered())

    on_planes(check)


def test_counters_count_inner_traffic(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        await _install(west, east, make_ends(path=outer_path()))
        (before,) = (await east.plane.counters()).sas
        assert before.last_inbound is None
        packet = udp(WEST, EAST, bytes(400))
        for _ in range(3):
            west.inject(packet)
        counters = await _counted(east.plane, lambda c: c.totals.packets_in == 3, "three packets")
        (sa,) = counters.sas
        assert (sa.spi, sa.packets_in, sa.octets_in) == (0x2001, 3, 3 * len(packet))
        assert sa.last_inbound is not None
        (out,) = (await west.plane.counters()).sas
        assert (out.spi, out.packets_out, out.octets_out) == (0x1001, 3, 3 * len(packet))
        east.plane.remove(0x2001)
        gone = await east.plane.counters()
        assert list(gone.sas) == []
        assert gone.totals.packets_in == 3

    on_planes(check)


def test_many_pairs_are_all_counted(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        count = 300
        for number in range(count):
            address = f"10.9.{number // 256}.{number % 256}"
            ends = make_ends(
                path=outer_path(), spis=(0x1000 + number, 0x2000 + number), east_ts=(address,)
            )
            await west.plane.install(ends.west)
        counters = await west.plane.counters()
        assert {sa.spi for sa in counters.sas} == {0x1000 + number for number in range(count)}
        assert list((await east.plane.counters()).sas) == []

    on_planes(check)


def test_nothing_works_after_close(on_planes: Callable[[Check], None]) -> None:
    async def check(west: Side, east: Side) -> None:
        ends = make_ends(path=outer_path())
        await _install(west, east, ends)
        await west.plane.close()
        await west.plane.close()
        west.plane.send(b"into the void", outer_path())
        west.plane.remove(0x1001)
        with pytest.raises(DataPlaneLost):
            await west.plane.install(ends.west)

    on_planes(check)
