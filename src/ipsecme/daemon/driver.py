"""Driver: feeds the engine, and carries out what it says, in the order that it says it.

Owns the order of commands and datagrams, and the one timer. A responder must be able to receive on
a Child SA before its answer leaves (RFC 7296, section 2.8): what goes by the NAT traversal port
follows the installation in the data plane's own order; what goes by the IKE port waits for the
acknowledgement.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import traceback
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeVar

from ipsecme.base import IpsecmeError
from ipsecme.daemon.answers import Answers
from ipsecme.daemon.log import log
from ipsecme.daemon.own_dates import Reminder
from ipsecme.daemon.own_ocsp import OwnCertificate, OwnOcsp
from ipsecme.ike.commands import (
    CheckChain,
    FetchCertificates,
    InstallSa,
    RemoveSa,
    RetireSa,
    Sign,
    UpdatePath,
)
from ipsecme.ike.events import Event, IkeKeysDerived

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipsecme.base import Path
    from ipsecme.daemon.answers import Question
    from ipsecme.daemon.keylog import KeyLog
    from ipsecme.dataplane import Counters, DataPlane
    from ipsecme.ike.commands import Command
    from ipsecme.ike.endpoint import Endpoint
    from ipsecme.ike.services import Datagram
    from ipsecme.policy.parameters import SaPair

__all__ = ["Driver", "Reader"]

T = TypeVar("T")

_POLL_SECONDS = 3.0
_QUIET_SECONDS = 60.0  # between two complaints about the same destination
_MOST_COMPLAINTS = 256


class Reader(Protocol):
    """Hears every event, at a monotonic time. It must not call the driver from there."""

    def __call__(self, event: Event, now: float, /) -> None:
        """Take an event."""
        ...


class Driver:
    """Runs one endpoint in the event loop. It is the listener of the data plane.

    `send` sends a datagram from the IKE port and returns what the system had against it.
    `on_lost` hears why when the data plane ends by itself.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        data_plane: DataPlane,
        send: Callable[[bytes, Path], OSError | None],
        *,
        on_lost: Callable[[str], None],
        key_log: KeyLog | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.data_plane = data_plane
        self._send_from_ike_port = send
        self._reminder = Reminder(endpoint.config.peers, dt.datetime.now(dt.UTC))
        self._readers: list[Reader] = []
        self._on_lost = on_lost
        self._key_log = key_log
        self._loop = asyncio.get_running_loop()
        self._answers = Answers(self._answer_later)
        self.started_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at: float | None = None
        self._installs = 0
        self._pending: dict[int, asyncio.Future[None]] = {}  # installations under way, in order
        self._held: deque[tuple[int, Datagram]] = deque()
        self._is_stopping = False
        self._idle = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._complaints: dict[tuple[str, int], float] = {}

    def add_reader(self, reader: Reader) -> None:
        """Let a reader hear all events from now on."""
        self._readers.append(reader)

    async def start(self) -> None:
        """Begin to count traffic as signs of life. The data plane has been started."""
        self._tell_time()
        self._background = [
            asyncio.create_task(self._watch_traffic()),
            asyncio.create_task(self._keep_ocsp()),
        ]
        self._drain()

    # what comes in

    def receive(self, batch: Sequence[tuple[bytes, Path]]) -> None:
        """Take datagrams that came to the IKE port."""
        now = self._loop.time()
        for data, path in batch:
            self._feed(self.endpoint.receive_datagram, data, path, now)
        self._drain()

    def receive_ike(self, data: bytes, path: Path) -> None:
        """Take a message that came to the NAT traversal port."""
        self._feed(self.endpoint.receive_datagram, data, path, self._loop.time())
        self._drain()

    def expiring(self, spi: int) -> None:
        """Rekey a Child SA whose sequence numbers run out."""
        self._feed(self.endpoint.handle_expiring, spi, self._loop.time())
        self._drain()

    def unknown_spi(self, spi: int, path: Path) -> None:
        """Tell a peer that it sends on an SPI that is not ours."""
        self._feed(self.endpoint.handle_unknown_spi, spi, path, self._loop.time())
        self._drain()

    def note_addresses(self, addresses: Sequence[str], route: Callable[[str], str | None]) -> None:
        """Tell the engine which addresses this host has, and by which it reaches others."""
        self._feed(self.endpoint.handle_addresses, addresses, self._loop.time(), route)
        self._drain()

    def failed(self, text: str) -> None:
        """Pass on that the data plane has ended."""
        self._on_lost(text)

    def operate(self, verb: Callable[[float], T]) -> T:
        """Call a verb of the endpoint with the time, and carry out what follows.

        What it raises is raised here, after everything else was carried out.
        """
        try:
            return verb(self._loop.time())
        finally:
            self._drain()

    async def shut_down(self, seconds: float) -> bool:
        """Delete all IKE SAs; tell whether the peers confirmed it within so many seconds."""
        self._is_stopping = True
        self.operate(self.endpoint.shutdown)
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Do nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        await self._answers.stop()
        waiting: list[asyncio.Future[None]] = [*self._pending.values()]
        for task in self._background:
            task.cancel()
            waiting.append(task)
        for future in self._pending.values():
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def _feed(self, verb: Callable[..., None], *arguments: object) -> None:
        """Call the engine. A fault in it must not end every other tunnel."""
        try:
            verb(*arguments)
        except Exception as error:  # noqa: BLE001 - a fault of ours, whatever it is
            self.endpoint.counters["internal_errors"] += 1
            if self._may_complain("internal", 0):
                text = "".join(traceback.format_exception(error))
                log.error("internal_error", msg=f"{error!r}; please report this", traceback=text)

    # what goes out

    def _drain(self) -> None:
        endpoint = self.endpoint
        while (command := endpoint.next_command()) is not None:
            self._carry_out(command)
        for datagram in endpoint.datagrams_to_send():
            self._send(datagram)
        while (event := endpoint.next_event()) is not None:
            self._publish(event)
        self._arm()
        if self._is_stopping and endpoint.is_idle and not self._held:
            self._idle.set()

    def _carry_out(self, command: Command) -> None:
        match command:
            case CheckChain() | FetchCertificates() | Sign():
                self._answer(command)
            case InstallSa(pair):
                self._install(pair)
            case RetireSa(spi):
                self.data_plane.retire(spi)
            case RemoveSa(spi):
                self.data_plane.remove(spi)
            case UpdatePath(spi, path):
                self.data_plane.update_path(spi, path)

    def _answer(self, question: Question) -> None:
        """Answer at once; where that takes time, `_answer_later` follows."""
        answer = self._answers.take(question)
        if answer is not None:
            self._feed(self.endpoint.answer, question.number, answer, self._loop.time())

    def _answer_later(self, number: int, answer: object) -> None:
        self._feed(self.endpoint.answer, number, answer, self._loop.time())
        self._drain()

    def _install(self, pair: SaPair) -> None:
        if self._key_log is not None:
            self._key_log.write_esp(pair)
        self._installs += 1
        installation = asyncio.ensure_future(self.data_plane.install(pair))
        self._pending[self._installs] = installation
        installation.add_done_callback(
            functools.partial(self._on_installed, self._installs, pair.spi)
        )

    def _on_installed(self, number: int, spi: int, done: asyncio.Future[None]) -> None:
        self._pending.pop(number, None)
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            detail = str(error) if isinstance(error, IpsecmeError) else repr(error)
            self._feed(self.endpoint.handle_install_failed, spi, detail, self._loop.time())
        oldest = next(iter(self._pending), self._installs + 1)
        while self._held and self._held[0][0] < oldest:
            self._send_by_ike_port(self._held.popleft()[1])
        self._drain()

    def _send(self, datagram: Datagram) -> None:
        if datagram.path.encapsulated:
            self.data_plane.send(datagram.data, datagram.path)
        elif self._pending:
            self._held.append((self._installs, datagram))
        else:
            self._send_by_ike_port(datagram)

    def _send_by_ike_port(self, datagram: Datagram) -> None:
        error = self._send_from_ike_port(datagram.data, datagram.path)
        if error is None:
            return
        remote = datagram.path.remote
        if self._may_complain(remote.address, error.errno or 0):
            text = f"cannot send to {remote}: {error.strerror}"
            log.warning("datagram_not_sent", msg=text, remote=str(remote))

    def _may_complain(self, about: str, number: int) -> bool:
        now = self._loop.time()
        last = self._complaints.get((about, number))
        if last is not None and now - last < _QUIET_SECONDS:
            return False
        if len(self._complaints) >= _MOST_COMPLAINTS:
            self._complaints.clear()
        self._complaints[about, number] = now
        return True

    def _publish(self, event: Event) -> None:
        if isinstance(event, IkeKeysDerived) and self._key_log is not None:
            self._key_log.write_ike(event)
        now = self._loop.time()
        for reader in self._readers:
            reader(event, now)

    # time

    def _arm(self) -> None:
        at = self.endpoint.next_timeout()
        if at == self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = at
        self._timer = None if at is None else self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._armed_at = self._timer = None
        self._feed(self.endpoint.handle_timeout, self._loop.time())
        self._drain()

    async def _watch_traffic(self) -> None:
        """Tell the engine whose packets arrived, so that it need not ask whether they live."""
        seen: dict[int, float] = {}
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            self._tell_time()
            try:
                counters = await self.data_plane.counters()
            except IpsecmeError:
                return  # the data plane is gone, and says so by itself
            seen = self.note_traffic(counters, seen)

    async def _keep_ocsp(self) -> None:
        """Keep the OCSP responses about our own certificates fresh."""
        own = _own_certificates(self.endpoint)
        keeper = OwnOcsp(own, self.endpoint.handle_ocsp)
        while own:
            await keeper.refresh(dt.datetime.now(dt.UTC))
            await asyncio.sleep(_POLL_SECONDS)

    def _tell_time(self) -> None:
        wall = dt.datetime.now(dt.UTC)
        for connection, text in self._reminder.due(wall):
            log.warning("own_certificate_date", msg=text, connection=connection)
        self._feed(self.endpoint.handle_wall_clock, wall, self._loop.time())

    def note_traffic(self, counters: Counters, seen: dict[int, float]) -> dict[int, float]:
        """Report SAs with packets since `seen`; return when each was last heard of."""
        latest = {sa.spi: sa.last_inbound for sa in counters.sas if sa.last_inbound is not None}
        for spi, at in latest.items():
            if seen.get(spi) != at:
                self._feed(self.endpoint.handle_traffic, spi, at)
        return latest


def _own_certificates(endpoint: Endpoint) -> list[OwnCertificate]:
    return [
        OwnCertificate(credential.certificates[0], credential.issuer, credential.ocsp)
        for peer in endpoint.config.peers
        for credential in peer.credentials
        if credential.ocsp and credential.issuer is not None
    ]
