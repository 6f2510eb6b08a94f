"""The client alone: the test holds the packet process' end of the channel."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Incompatible, LocalMisuse, Path, SystemRefused, Transport
from ipsecme.dataplane import DataPlaneLost, DropReason, SaCounters, Totals
from ipsecme.dataplane.user import UserDataPlane, channel as ch
from support.esp import make_ends
from support.planes import Ears, eventually, outer_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Check = Callable[[UserDataPlane, Ears, "_FarEnd"], Awaitable[None]]

_TOTALS = Totals(1, 2, 3, 4, {DropReason.BAD_ICV: 5})


class _FarEnd:
    """The packet process' end."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.setblocking(False)

    def say(self, *messages: ch.Message) -> None:
        for message in messages:
            self._channel.send(ch.encode(message))

    def say_octets(self, octets: bytes) -> None:
        self._channel.send(octets)

    async def hear(self) -> ch.Message:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            return ch.decode(await loop.sock_recv(self._channel, ch.MAX_MESSAGE))

    def close(self) -> None:
        self._channel.close()


def _run(check: Check, *, is_ready: bool = True) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plane, ears, far = UserDataPlane(ours), Ears(), _FarEnd(theirs)
        try:
            if is_ready:
                far.say(ch.Ready())
                await plane.start(ears)
            await check(plane, ears, far)
        finally:
            far.close()
            await plane.close()

    asyncio.run(main())


def test_a_refusal_is_the_error_of_start() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        far.say(ch.Refused("load the module tun"))
        with pytest.raises(SystemRefused, match="load the module tun"):
            await plane.start(ears)
        assert ears.failures == []

    _run(check, is_ready=False)


def test_a_death_before_it_is_ready_is_the_error_of_start() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        far.close()
        with pytest.raises(SystemRefused, match="ended by itself"):
            await plane.start(ears)

    _run(check, is_ready=False)


def test_calls_arrive_in_their_order() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        del ears
        pair, path = make_ends().west, outer_path()
        installation = plane.install(pair)
        plane.send(b"message", path)
        plane.update_path(7, path)
        plane.retire(8)
        plane.remove(9)
        heard = [await far.hear() for _ in range(5)]
        assert heard == [
            ch.Install(1, pair),
            ch.SendIke(path, b"message"),
            ch.UpdatePath(7, path),
            ch.Retire(8),
            ch.Remove(9),
        ]
        far.say(ch.Installed(1, "", ""))
        await installation

    _run(check)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("LocalMisuse", LocalMisuse),
        ("Incompatible", Incompatible),
        ("SystemRefused", SystemRefused),
        ("SomethingNew", DataPlaneLost),
    ],
)
def test_errors_of_an_installation_keep_their_class(name: str, error: type[Exception]) -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        del ears
        installation = plane.install(make_ends().west)
        far.say(ch.Installed(1, name, "the reason"))
        with pytest.raises(error, match="the reason"):
            await installation

    _run(check)


def test_reports_reach_the_listener() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        del plane
        path = Path(Transport("::1", 4500), Transport("2001:db8::9", 61000), encapsulated=True)
        far.say(ch.Expiring(0x1001), ch.ReceivedIke(path, b"message"), ch.Expiring(0x1002))
        await eventually(lambda: len(ears.expired) == 2, "the reports")
        assert ears.expired == [0x1001, 0x1002]
        assert ears.ike == [(b"message", path)]

    _run(check)


def test_counters_come_in_parts() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        del ears
        asked = [asyncio.ensure_future(plane.counters()) for _ in range(2)]
        numbers = []
        for _ in asked:
            question = await far.hear()
            assert isinstance(question, ch.AskCounters)
            numbers.append(question.number)
        one = SaCounters(1, 2, 3, 4, 5, None, {})
        other = SaCounters(6, 7, 8, 9, 10, 11.5, {DropReason.STALE: 12})
        far.say(
            ch.CountersPart(numbers[1], (one, other), None),
            ch.CountersPart(numbers[0], (one,), None),
            ch.CountersPart(numbers[1], (), _TOTALS),
            ch.CountersPart(numbers[0], (other,), _TOTALS),
            ch.CountersPart(99, (one,), _TOTALS),  # nobody asked
        )
        for counters in [await answer for answer in asked]:
            assert list(counters.sas) == [one, other]
            assert counters.totals == _TOTALS

    _run(check)


@pytest.mark.parametrize(
    "octets",
    [b"\xee", b"\x0b\x00", ch.encode(ch.Retire(5))],
    ids=["unknown", "cut off", "wrong direction"],
)
def test_a_process_that_makes_no_sense_is_left(octets: bytes) -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        installation = plane.install(make_ends().west)
        far.say_octets(octets)
        with pytest.raises(DataPlaneLost, match="cannot be understood"):
            await installation
        assert len(ears.failures) == 1

    _run(check)


def test_a_death_is_reported_once() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        far.say(ch.Expiring(1))
        far.close()
        await eventually(lambda: bool(ears.failures), "the bad news")
        plane.send(b"too late", outer_path())
        plane.retire(1)
        await asyncio.sleep(0)
        assert ears.failures == ["the packet process has ended by itself"]
        assert ears.expired == [1]

    _run(check)


def test_an_ordered_end_is_no_failure() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        closing = asyncio.ensure_future(plane.close())
        await asyncio.sleep(0)
        far.say(ch.Expiring(1))  # crosses the farewell
        with pytest.raises(DataPlaneLost):
            await plane.counters()
        far.close()
        await closing
        assert ears.failures == []
        assert ears.expired == []

    _run(check)


def test_what_does_not_fit_waits_its_turn() -> None:
    async def check(plane: UserDataPlane, ears: Ears, far: _FarEnd) -> None:
        del ears
        path, count = outer_path(), 2000
        for number in range(count):
            plane.send(number.to_bytes(2) + bytes(2000), path)
        plane.retire(77)
        for number in range(count):
            message = await far.hear()
            assert isinstance(message, ch.SendIke)
            assert message.data[:2] == number.to_bytes(2)
        assert await far.hear() == ch.Retire(77)

    _run(check)
