"""What the packet process does for the IKE process, and what it tells it.

Owns the channel's near end: requests are carried out in the order in which they came, answers wait
in a bounded queue while the other side is slow. IKE messages that do not fit are lost, as on any
network.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipsecme.base import IpsecmeError, MalformedMessage
from ipsecme.dataplane.user import channel as ch
from ipsecme.dataplane.user.way import Way

if TYPE_CHECKING:
    import socket

    from ipsecme.base import Path
    from ipsecme.dataplane.user.loop import PacketLoop
    from ipsecme.dataplane.user.routes import Routes
    from ipsecme.dataplane.user.sockets import OuterSockets
    from ipsecme.esp import Processor
    from ipsecme.policy.parameters import SaPair

__all__ = ["Control"]

_BATCH = 64
_MOST_WAYS = 4096
_MOST_WAITING = 4096
_REPORTS_PER_SECOND = 5  # of ESP that is for no SA
_LAST_RESERVED_SPI = 255


class Control:
    """Serves the channel, and stops the loop when the IKE process has gone."""

    def __init__(
        self,
        channel: socket.socket,
        processor: Processor,
        routes: Routes,
        sockets: OuterSockets,
        loop: PacketLoop,
    ) -> None:
        self._channel = channel
        self._processor = processor
        self._routes = routes
        self._sockets = sockets
        self._loop = loop
        self._waiting: deque[bytes] = deque()
        self._ways: dict[Path, Way] = {}
        self._paths: dict[int, Path] = {}
        self._second = 0.0
        self._reports = 0

    # requests

    def on_readable(self) -> None:
        """Carry out the requests that have come."""
        for _ in range(_BATCH):
            try:
                octets = self._channel.recv(ch.MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                octets = b""
            if not octets:
                self._loop.stop()
                return
            try:
                self._carry_out(ch.decode(octets))
            except MalformedMessage:
                self._loop.stop()  # the other side is another version: nothing can be trusted
                return

    def _carry_out(self, message: ch.Message) -> None:
        match message:
            case ch.SendIke(path, data):
                self._way(path).send_ike(data)
            case ch.Install(number, pair):
                self._tell(self._install(number, pair))
            case ch.UpdatePath(spi, path):
                if spi in self._paths:
                    self._paths[spi] = path
                    self._processor.update_path(spi, path)
            case ch.Retire(spi):
                self._processor.retire(spi)
            case ch.Remove(spi):
                self._processor.remove(spi)
                self._routes.remove(spi)
                self._paths.pop(spi, None)
            case ch.AskCounters(number):
                self._count(number)
            case _:
                raise MalformedMessage(f"{type(message).__name__} in the wrong direction")

    def _install(self, number: int, pair: SaPair) -> ch.Installed:
        try:
            self._processor.install(pair)
            try:
                self._routes.add(pair)
            except BaseException:
                self._processor.remove(pair.spi)
                raise
        except IpsecmeError as error:
            return ch.Installed(number, type(error).__name__, str(error))
        self._paths[pair.spi] = pair.path
        return ch.Installed(number, "", "")

    def _count(self, number: int) -> None:
        counters = self._processor.counters()
        sas = tuple(counters.sas)
        for start in range(0, len(sas), ch.SAS_IN_PART):
            self._tell(ch.CountersPart(number, sas[start : start + ch.SAS_IN_PART], None))
        self._tell(ch.CountersPart(number, (), counters.totals))

    # paths

    def way(self, spi: int) -> Way:
        """Return how the packets of a pair leave."""
        return self._way(self._paths[spi])

    def _way(self, path: Path) -> Way:
        way = self._ways.get(path)
        if way is None:
            if len(self._ways) >= _MOST_WAYS:
                self._ways.clear()
            way = self._ways[path] = Way(path, self._sockets)
        return way

    # reports

    def receive_ike(self, path: Path, data: bytes) -> None:
        """Pass on an IKE message."""
        if not self._waiting:
            self._send(ch.encode(ch.ReceivedIke(path, data)), may_wait=False)

    def expiring(self, spi: int) -> None:
        """Report a pair whose sequence numbers run out."""
        self._tell(ch.Expiring(spi))

    def unknown_spi(self, path: Path, packet: bytes, now: float) -> None:
        """Report ESP on an SPI that no pair has, a few times a second at most."""
        if now - self._second >= 1:
            self._second, self._reports = now, 0
        self._reports += 1
        spi = int.from_bytes(packet[:4])
        if self._reports <= _REPORTS_PER_SECOND and spi > _LAST_RESERVED_SPI:
            self._send(ch.encode(ch.UnknownSpi(spi, path)), may_wait=False)

    def on_writable(self) -> None:
        """Send what waits."""
        while self._waiting:
            try:
                self._channel.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                break
            self._waiting.popleft()
        self._waiting.clear()
        self._loop.want_write(self._channel.fileno(), None)

    def _tell(self, message: ch.Message) -> None:
        self._send(ch.encode(message), may_wait=True)

    def _send(self, octets: bytes, *, may_wait: bool) -> None:
        if not self._waiting:
            try:
                self._channel.send(octets)
            except BlockingIOError:
                pass
            except OSError:
                return  # gone; the channel says so when it is read
            else:
                return
        if may_wait and len(self._waiting) < _MOST_WAITING:
            self._waiting.append(octets)
            self._loop.want_write(self._channel.fileno(), self.on_writable)
