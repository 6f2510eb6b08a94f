"""UserDataPlane: the data plane as the IKE process sees it, which is the far end of a channel."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from ipsecme.base import Incompatible, IpsecmeError, LocalMisuse, MalformedMessage, SystemRefused
from ipsecme.dataplane.base import Counters, DataPlaneLost
from ipsecme.dataplane.user import channel as ch

if TYPE_CHECKING:
    import socket

    from ipsecme.base import Path
    from ipsecme.dataplane.base import Listener
    from ipsecme.esp import SaCounters, Totals
    from ipsecme.policy.parameters import SaPair

__all__ = ["UserDataPlane"]

_BATCH = 64
_MOST_WAITING = 65536  # messages; reached only when the packet process hangs
_READY_SECONDS = 30.0
_CLOSE_SECONDS = 10.0
_ERRORS: dict[str, type[IpsecmeError]] = {
    "LocalMisuse": LocalMisuse,
    "Incompatible": Incompatible,
    "SystemRefused": SystemRefused,
}


class UserDataPlane:
    """Talks to a packet process over `channel`, which it owns from now on.

    The process itself belongs to whoever started it (`launch`); it ends when the channel closes.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None
        self._ready: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_closing = False
        self._waiting: deque[bytes] = deque()
        self._number = 0
        self._installs: dict[int, asyncio.Future[None]] = {}
        self._counts: dict[int, tuple[asyncio.Future[Counters], list[SaCounters]]] = {}

    async def start(self, listener: Listener) -> None:
        """Wait until the packet process has its device and sockets."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._ready = self._loop.create_future()
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._channel, self._on_readable)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready
        except TimeoutError:
            self._end("", is_expected=True)
            raise SystemRefused(
                f"the packet process was not ready within {_READY_SECONDS:.0f} seconds"
            ) from None

    async def close(self) -> None:
        """Have the packet process remove everything and end; wait for that."""
        self._is_closing = True
        if self._ended is None or self._ended.done():
            self._end("", is_expected=True)
            return
        with contextlib.suppress(OSError):
            self._channel.shutdown(1)  # SHUT_WR: it reads the end, and its own end is ours to read
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.shield(self._ended)
        self._end("", is_expected=True)

    def install(self, pair: SaPair) -> asyncio.Future[None]:
        """Ask for a pair; the future ends when the packet process has it."""
        done = asyncio.get_running_loop().create_future()
        self._number += 1
        self._installs[self._number] = done
        try:
            self._tell(ch.Install(self._number, pair))
        except DataPlaneLost as error:
            del self._installs[self._number]
            done.set_exception(error)
        return done

    def update_path(self, spi: int, path: Path) -> None:
        """Ask for another path."""
        self._tell_if_alive(ch.UpdatePath(spi, path))

    def retire(self, spi: int) -> None:
        """Ask to use the outbound half no longer."""
        self._tell_if_alive(ch.Retire(spi))

    def remove(self, spi: int) -> None:
        """Ask to forget a pair."""
        self._tell_if_alive(ch.Remove(spi))

    def send(self, data: bytes, path: Path) -> None:
        """Ask to send an IKE message or a NAT-keepalive."""
        self._tell_if_alive(ch.SendIke(path, data))

    async def counters(self) -> Counters:
        """Ask for the counters and wait for them."""
        future: asyncio.Future[Counters] = asyncio.get_running_loop().create_future()
        self._number += 1
        number = self._number
        self._counts[number] = future, []
        try:
            self._tell(ch.AskCounters(number))
            return await future
        finally:
            self._counts.pop(number, None)

    # to the packet process

    def _tell_if_alive(self, message: ch.Message) -> None:
        with contextlib.suppress(DataPlaneLost):
            self._tell(message)

    def _tell(self, message: ch.Message) -> None:
        if self._loop is None or self._is_closing or self._ended is None or self._ended.done():
            raise DataPlaneLost("the packet process has ended")
        octets = ch.encode(message)
        if not self._waiting:
            try:
                self._channel.send(octets)
            except BlockingIOError:
                self._loop.add_writer(self._channel, self._on_writable)
            except OSError:
                raise DataPlaneLost("the packet process has ended") from None
            else:
                return
        if len(self._waiting) >= _MOST_WAITING:
            raise DataPlaneLost("the packet process does not take its messages")
        self._waiting.append(octets)

    def _on_writable(self) -> None:
        while self._waiting:
            try:
                self._channel.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                break  # its end is read, too
            self._waiting.popleft()
        if self._loop is not None:
            self._loop.remove_writer(self._channel)

    # from the packet process

    def _on_readable(self) -> None:
        for _ in range(_BATCH):
            if self._channel.fileno() < 0:
                return  # what was heard last was the end
            try:
                octets = self._channel.recv(ch.MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                octets = b""
            if not octets:
                self._end("the packet process has ended by itself", is_expected=self._is_closing)
                return
            try:
                self._hear(ch.decode(octets))
            except MalformedMessage as error:
                self._end(f"the packet process cannot be understood: {error}", is_expected=False)
                return

    def _hear(self, message: ch.Message) -> None:
        match message:
            case ch.ReceivedIke(path, data):
                if self._listener is not None and not self._is_closing:
                    self._listener.receive_ike(data, path)
            case ch.Installed(number, error, text):
                _settle(self._installs.pop(number, None), error, text)
            case ch.CountersPart(number, sas, totals):
                self._collect(number, sas, totals)
            case ch.Expiring(spi):
                if self._listener is not None and not self._is_closing:
                    self._listener.expiring(spi)
            case ch.UnknownSpi(spi, path):
                if self._listener is not None and not self._is_closing:
                    self._listener.unknown_spi(spi, path)
            case ch.Ready():
                _settle(self._ready, "", "")
            case ch.Refused(text):
                _settle(self._ready, "SystemRefused", text)
                self._end(text, is_expected=True)
            case _:
                raise MalformedMessage(f"{type(message).__name__} in the wrong direction")

    def _collect(self, number: int, sas: tuple[SaCounters, ...], totals: Totals | None) -> None:
        waiting = self._counts.get(number)
        if waiting is None:
            return
        future, collected = waiting
        collected.extend(sas)
        if totals is not None and not future.done():
            future.set_result(Counters(collected, totals))

    def _end(self, text: str, *, is_expected: bool) -> None:
        """Close the channel and tell everybody who waits, once."""
        if self._channel.fileno() < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
        self._channel.close()
        was_ready = self._ready is not None and self._ready.done()
        lost = text or "the data plane was closed"
        _settle(self._ready, "DataPlaneLost", lost)
        for done in self._installs.values():
            _settle(done, "DataPlaneLost", lost)
        self._installs.clear()
        for future, _ in self._counts.values():
            if not future.done():
                future.set_exception(DataPlaneLost(lost))
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
            if was_ready and not is_expected and self._listener is not None:
                self._listener.failed(text)


def _settle(future: asyncio.Future[None] | None, error: str, text: str) -> None:
    if future is None or future.done():
        return
    if error:
        future.set_exception(_ERRORS.get(error, DataPlaneLost)(text))
    else:
        future.set_result(None)
