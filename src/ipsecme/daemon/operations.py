"""What an operator may ask of a running daemon: up, down, rekey, and to be told what comes of it.

Owns waiting for the outcome. Who may ask, and in what form, is the business of `control`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ipsecme.base import LocalMisuse
from ipsecme.daemon.hints import hint
from ipsecme.ike import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.daemon.driver import Driver
    from ipsecme.daemon.keepup import KeepUp
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.status import ChildSaStatus, IkeSaStatus

__all__ = ["Operator", "Outcome", "UnknownConnection"]

Step = tuple[str, str | int | None]
"""Something that happens to an SA: ``up``, ``replaced`` or ``gone``, and the name or SPI of it."""

_LIVE = ("half-open", "established")


class UnknownConnection(LocalMisuse):
    """There is no connection of this name."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """What came of bringing a connection up.

    ``up``: it carries traffic. ``failed``: it does not, `reason`, `detail` and `hint` say why.
    ``pending``: neither was known when the wait was over.
    """

    result: Literal["up", "failed", "pending"]
    reason: str = ""
    detail: str = ""
    hint: str = ""


class _Wait:
    """Somebody who waits until all of `missing` has happened on a connection.

    `ike_spi` is the IKE SA that is being brought up: None when none is, empty while it has no name.
    """

    def __init__(self, connection: str, missing: set[Step]) -> None:
        self.connection = connection
        self.missing = missing
        self.ike_spi: str | None = None
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(self, outcome: Outcome) -> None:
        """End the wait, unless it has ended."""
        if not self.done.done():
            self.done.set_result(outcome)

    def check(self) -> None:
        """End the wait when nothing is missing any more."""
        if not self.missing:
            self.settle(Outcome("up"))


class Operator:
    """Carries out what operators ask. It reads the engine's events."""

    def __init__(self, driver: Driver, keep_up: KeepUp) -> None:
        self._endpoint = driver.endpoint
        self._operate = driver.operate
        self._keep_up = keep_up
        self._waits: list[_Wait] = []

    async def up(self, name: str, child: str | None, seconds: float) -> Outcome:
        """Bring a connection up, or one of its Child SAs, and wait for the outcome.

        Raises `LocalMisuse` for unknown names and for connections that cannot be called.
        """
        peer = self._peer(name)
        wanted = {child} if child else {config.name for config in peer.children}
        wait = _Wait(name, {("up", one) for one in wanted})
        wait.ike_spi = ""
        self._waits.append(wait)
        try:
            wait.ike_spi = self._operate(lambda now: self._endpoint.initiate(name, child, now))
            self._keep_up.want(name)
            wait.missing -= {("up", sa.name) for sa in self._children(name)}
            return await _outcome(wait, seconds)
        finally:
            self._waits.remove(wait)

    async def down(self, name: str, child: str | None, seconds: float) -> tuple[int, bool]:
        """Take a connection down, or one Child SA; return how many SAs go, and if they are gone."""
        self._peer(name)
        if child is None:
            self._keep_up.leave(name)
            going: set[Step] = {("gone", _handle(sa)) for sa in self._ike_sas(name)}
        else:
            going = {("gone", sa.inbound_spi) for sa in self._children(name) if sa.name == child}
        wait = _Wait(name, going)
        self._waits.append(wait)
        try:
            count = self._operate(lambda now: self._endpoint.terminate(name, child, now))
            return count, (await _outcome(wait, seconds)).result == "up"
        finally:
            self._waits.remove(wait)

    async def rekey(
        self, name: str, child: str | None, seconds: float, *, ike: bool
    ) -> tuple[int, bool]:
        """Make new keys for the Child SAs, one of them, or the IKE SA.

        Return how many were begun, and whether all were replaced in time.
        """
        peer = self._peer(name)
        names = [None] if ike else [child] if child else [c.name for c in peer.children]
        if ike:
            old: set[Step] = {("replaced", _handle(sa)) for sa in self._ike_sas(name)}
        else:
            old = {("replaced", sa.inbound_spi) for sa in self._children(name) if sa.name in names}
        wait = _Wait(name, old)
        self._waits.append(wait)
        try:
            count = self._operate(
                lambda now: sum(self._endpoint.rekey(name, one, now) for one in names)
            )
            done = (await _outcome(wait, seconds)).result == "up"
            return count, done and count > 0
        finally:
            self._waits.remove(wait)

    def __call__(self, event: events.Event, now: float) -> None:
        """Tell those who wait."""
        for wait in self._waits:
            if wait.connection == event.connection:
                wait.missing.difference_update(_steps(event))
                wait.check()
                _tell_failure(wait, event)

    def _peer(self, name: str) -> PeerConfig:
        peers = self._endpoint.config.peers
        for peer in peers:
            if peer.name == name:
                return peer
        known = ", ".join(peer.name for peer in peers) or "none"
        raise UnknownConnection(f"there is no connection {name!r}; configured: {known}")

    def _ike_sas(self, name: str) -> Iterator[IkeSaStatus]:
        for connection in self._endpoint.status():
            if connection.name == name:
                yield from (sa for sa in connection.ike_sas if sa.state in _LIVE)

    def _children(self, name: str) -> Iterator[ChildSaStatus]:
        for sa in self._ike_sas(name):
            yield from (child for child in sa.children if child.state == "installed")


async def _outcome(wait: _Wait, seconds: float) -> Outcome:
    wait.check()
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(wait.done)
    except TimeoutError:
        return Outcome("pending", detail=f"not up after {seconds:g} s, still trying")


def _handle(sa: IkeSaStatus) -> str:
    """Return the name of an IKE SA in events: its local SPI."""
    return sa.spi_i if sa.original_initiator else sa.spi_r


def _steps(event: events.Event) -> set[Step]:
    """Return what has happened to which SA."""
    match event:
        case events.ChildSaCreated(child=child, replaces=replaces):
            return {("up", child), ("replaced", replaces)}
        case events.IkeSaRekeyed(old_ike_spi=spi):
            return {("replaced", spi)}
        case events.IkeSaClosed(ike_spi=spi) | events.IkeSaFailed(ike_spi=spi):
            return {("gone", spi)}
        case events.ChildSaClosed(inbound_spi=inbound):
            return {("gone", inbound)}
    return set()


def _tell_failure(wait: _Wait, event: events.Event) -> None:
    match event:
        case events.ChildSaFailed(child=child, reason=reason, detail=detail):
            is_ours = ("up", child) in wait.missing
        case (
            events.IkeSaFailed(ike_spi=spi, reason=reason, detail=detail)
            | events.IkeSaClosed(ike_spi=spi, reason=reason, detail=detail)
        ):
            # The handle is not known yet while the engine is being asked.
            is_ours = wait.ike_spi in ("", spi) or ("replaced", spi) in wait.missing
        case events.ChildSaClosed(inbound_spi=inbound, reason=reason):
            is_ours, detail = ("replaced", inbound) in wait.missing, "the Child SA is gone"
        case _:
            return
    if is_ours:
        wait.settle(Outcome("failed", reason, detail, hint(reason)))
