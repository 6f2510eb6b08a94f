"""Connections that are to be up: brought up at the start, and again after failure or loss.

Owns the waits between tries. A connection stays wanted until the operator takes it down.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ipsecme.base import SystemRng
from ipsecme.ike import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipsecme.base import Rng

__all__ = ["KeepUp"]

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_STABLE_SECONDS = 60.0  # a connection that was up for so long starts again with a short wait

_SHORTAGE_SECONDS = 180.0  # addresses that are lent out do not come back soon (RFC 7296, 3.15.4)
_SHORTAGE = "internal_address_failure"

_EXPECTED = frozenset({"rekeyed", "ike_sa_closed"})


class KeepUp:
    """Calls `initiate` with the names of wanted connections until they are up.

    Waits double from one second to one minute, a random quarter less, so that the peers of a
    gateway that returns do not all come at once. One that has no address to give is left alone for
    three minutes.
    """

    def __init__(
        self, names: Iterable[str], initiate: Callable[[str], object], rng: Rng | None = None
    ) -> None:
        self._configured = frozenset(names)
        self._wanted = set(self._configured)
        self._initiate = initiate
        self._rng = rng or SystemRng()
        self._waits: dict[str, float] = {}
        self._up_since: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Bring up all that is wanted, soon."""
        loop = asyncio.get_running_loop()
        for name in sorted(self._wanted):
            self._timers[name] = loop.call_later(0, self._try, name)

    def stop(self) -> None:
        """Bring up nothing any more."""
        self._wanted.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def want(self, name: str) -> None:
        """Keep a connection up again that was taken down, if the configuration says so."""
        if name in self._configured:
            self._wanted.add(name)

    def leave(self, name: str) -> None:
        """Let a connection go down and stay down."""
        self._wanted.discard(name)
        self._waits.pop(name, None)
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def is_wanted(self, name: str) -> bool:
        """Tell whether a connection will be brought up again."""
        return name in self._wanted

    def __call__(self, event: events.Event, now: float) -> None:
        """Read the events of the engine."""
        name = event.connection
        if name not in self._wanted:
            return
        match event:
            case events.IkeSaEstablished():
                self._up_since[name] = now
            case events.ChildSaFailed(reason=reason) | events.IkeSaClosed(reason=reason) if (
                reason == _SHORTAGE
            ):
                self._try_later(name, now, at_least=_SHORTAGE_SECONDS)
            case events.IkeSaFailed(initiator=True) | events.IkeSaClosed():
                self._try_later(name, now)
                self._up_since.pop(name, None)
            case events.ChildSaFailed():
                self._try_later(name, now)
            case events.ChildSaClosed(reason=reason) if reason not in _EXPECTED:
                self._try_later(name, now)

    def _try_later(self, name: str, now: float, at_least: float = 0.0) -> None:
        if name in self._timers:
            return
        if now - self._up_since.get(name, now) >= _STABLE_SECONDS:
            self._waits.pop(name, None)
            self._up_since[name] = now
        wait = self._waits.get(name, _FIRST_WAIT)
        self._waits[name] = min(wait * 2, _LONGEST_WAIT)
        delay = max(wait * (1 - self._rng.fraction() / 4), at_least)
        self._timers[name] = asyncio.get_running_loop().call_later(delay, self._try, name)

    def _try(self, name: str) -> None:
        self._timers.pop(name, None)
        if name in self._wanted:
            self._initiate(name)
