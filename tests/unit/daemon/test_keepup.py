"""Connections that are to be up are tried again, with growing waits, until the operator says no."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ipsecme.base import Path, Transport
from ipsecme.daemon.keepup import KeepUp
from ipsecme.ike import events

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import pytest

PATH = Path(Transport("192.0.2.1", 500), Transport("192.0.2.2", 500))
FAILED = events.IkeSaFailed("site", "01", True, "unreachable", "no answer", PATH)
CLOSED = events.IkeSaClosed("site", "01", "unreachable", "no answer")


def established() -> events.IkeSaEstablished:
    return events.IkeSaEstablished(
        "site",
        "01",
        True,
        "east",
        PATH,
        None,  # type: ignore[arg-type]  # not looked at
        "none",
    )


class NoJitter:
    def octets(self, count: int) -> bytes:
        return bytes(count)

    def fraction(self) -> float:
        return 0.0


class Clock:
    """Stands in for the event loop's timers: collects them and fires the earliest on demand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.delays: list[float] = []
        self._calls: list[tuple[asyncio.TimerHandle, Callable[..., object], tuple[object, ...]]]
        self._calls = []
        self._loop = loop

    def call_later(
        self, delay: float, callback: Callable[..., object], *arguments: object
    ) -> asyncio.TimerHandle:
        self.delays.append(delay)
        handle = asyncio.TimerHandle(0, callback, arguments, self._loop)
        self._calls.append((handle, callback, arguments))
        return handle

    def fire(self) -> None:
        for handle, callback, arguments in self._calls[:]:
            self._calls.pop(0)
            if not handle.cancelled():
                callback(*arguments)


def with_keep_up(
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[KeepUp, Clock, list[str]], None],
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock, calls = Clock(loop), list[str]()
        monkeypatch.setattr(loop, "call_later", clock.call_later)
        scenario(KeepUp(("site",), calls.append, NoJitter()), clock, calls)
        monkeypatch.undo()

    runner: Coroutine[object, object, None] = main()
    asyncio.run(runner)


def test_tries_double_their_waits_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario(keep: KeepUp, clock: Clock, calls: list[str]) -> None:
        keep.start()
        clock.fire()
        for _ in range(8):
            keep(FAILED, 100.0)
            keep(FAILED, 100.0)  # a second failure at once asks for no second try
            clock.fire()
        assert calls == ["site"] * 9
        assert clock.delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]

    with_keep_up(monkeypatch, scenario)


def test_a_connection_that_was_stable_starts_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario(keep: KeepUp, clock: Clock, calls: list[str]) -> None:
        for _ in range(3):
            keep(FAILED, 0.0)
            clock.fire()
        keep(established(), 10.0)
        keep(CLOSED, 500.0)
        clock.fire()
        keep(established(), 501.0)
        keep(CLOSED, 502.0)  # not stable: the wait grows
        assert clock.delays == [1, 2, 4, 1, 2]
        assert len(calls) == 4

    with_keep_up(monkeypatch, scenario)


def test_a_lost_child_sa_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario(keep: KeepUp, clock: Clock, calls: list[str]) -> None:
        keep(established(), 0.0)
        keep(events.ChildSaClosed("site", "net", "01", 7, "rekeyed"), 1.0)
        keep(events.ChildSaClosed("site", "net", "01", 7, "ike_sa_closed"), 1.0)
        assert clock.delays == []
        keep(events.ChildSaClosed("site", "net", "01", 7, "deleted_by_peer"), 2.0)
        clock.fire()
        keep(events.ChildSaFailed("site", "net", "01", "ts_unacceptable", ""), 3.0)
        clock.fire()
        assert calls == ["site", "site"]

    with_keep_up(monkeypatch, scenario)


def test_the_operator_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario(keep: KeepUp, clock: Clock, calls: list[str]) -> None:
        keep(FAILED, 0.0)
        keep.leave("site")
        clock.fire()
        keep(FAILED, 1.0)
        assert not keep.is_wanted("site")
        assert calls == []
        keep.want("site")
        keep.want("unknown")
        keep(FAILED, 2.0)
        clock.fire()
        assert calls == ["site"]
        assert not keep.is_wanted("unknown")
        keep(FAILED, 3.0)
        keep.stop()
        clock.fire()
        assert calls == ["site"]

    with_keep_up(monkeypatch, scenario)


def test_a_gateway_without_addresses_is_left_alone_for_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scenario(keep: KeepUp, clock: Clock, calls: list[str]) -> None:
        keep(established(), 100.0)
        shortage = "internal_address_failure"
        keep(events.ChildSaFailed("site", "net", "01", shortage, "none left"), 100.0)
        clock.fire()
        keep(events.ChildSaFailed("site", "net", "01", shortage, "none left"), 280.0)
        keep(events.IkeSaClosed("site", "01", shortage, "deleted here"), 280.0)
        clock.fire()
        assert calls == ["site", "site"]
        assert clock.delays == [180, 180]

    with_keep_up(monkeypatch, scenario)
