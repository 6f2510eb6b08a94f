"""Traffic that proves a path: one big transfer, and a steady stream that counts every loss.

Owns the sockets at both ends; they are opened inside the namespaces, so that no program is needed
there. Echo requests are in `ping`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import os
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from ipsecme.lab.errors import StepFailed
from ipsecme.lab.wait import patience

if TYPE_CHECKING:
    from types import TracebackType

    from ipsecme.lab.host import Host

__all__ = ["Stream", "StreamReport", "TransferReport", "transfer"]

_PIECE_OCTETS: Final = 64 * 1024
_SEQUENCE: Final = struct.Struct("!Q")
_DATAGRAM_OCTETS: Final = 200
_LINGER_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a TCP transfer moved: octets received, whether SHA-256 agrees, duration."""

    octets: int
    intact: bool
    seconds: float


def transfer(
    sender: tuple[Host, str], receiver: tuple[Host, str], octets: int, *, seconds: float = 120.0
) -> TransferReport:
    """Send random octets over TCP from one host and address to another and compare their hashes.

    Raises `StepFailed` when the connection fails, or stalls for `seconds`.
    """
    (source_host, source), (target_host, target) = sender, receiver
    family = _family(target)
    seconds = patience(seconds)
    listener = target_host.call(lambda: socket.create_server((target, 0), family=family))
    outgoing = source_host.call(lambda: socket.socket(family, socket.SOCK_STREAM))
    started = time.monotonic()
    with listener, outgoing, ThreadPoolExecutor(1) as pool:
        listener.settimeout(seconds)
        outgoing.settimeout(seconds)
        arriving = pool.submit(_receive, listener, seconds)
        try:
            outgoing.bind((source, 0))
            outgoing.connect(listener.getsockname()[:2])
            sent = _send(outgoing, octets)
            received, count = arriving.result()
        except OSError as error:
            listener.shutdown(socket.SHUT_RDWR)  # the receiver waits no longer for a connection
            raise StepFailed(f"TCP from {source} to {target}: {error}") from error
    return TransferReport(count, sent == received, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What became of the datagrams of a stream.

    `arrived` counts different datagrams at the far end, `returned` different echoes at the near
    end; `refused` of those `sent` were not taken by the sending kernel. `lost_at_seconds` tells
    when the datagrams were sent whose echo did not return; `longest_silence_seconds` is the
    longest time between two echoes.
    """

    sent: int
    refused: int
    arrived: int
    returned: int
    repeated: int
    lost_at_seconds: tuple[float, ...]
    longest_silence_seconds: float

    @property
    def lost(self) -> int:
        """Datagrams that did not make it there and back."""
        return self.sent - self.returned


class Stream:
    """Numbered UDP datagrams, sent steadily and echoed by the far end, while a `with` block runs.

    Read `report` after the block: by then every datagram has had time to return.
    """

    def __init__(
        self,
        near: tuple[Host, str],
        far: tuple[Host, str],
        *,
        interval_seconds: float = 0.01,
    ) -> None:
        self.report: StreamReport | None = None
        self._interval = interval_seconds
        self._near = _datagram_socket(*near)
        self._far = _datagram_socket(*far)
        self._stopping = threading.Event()
        self._sent_at: list[float] = []
        self._refused = 0
        self._arrived: set[int] = set()
        self._returned: dict[int, float] = {}
        self._repeated = 0
        self._thread = threading.Thread(target=self._run, name="stream")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._near.close()
        self._far.close()
        self.report = self._make_report()

    @property
    def sent(self) -> int:
        """Datagrams sent so far."""
        return len(self._sent_at)

    def _run(self) -> None:
        """Send, echo and receive in one thread, so that the counts need no locks."""
        target = self._far.getsockname()
        started = due = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= due:
                self._send(target, now - started)
                due = max(due + self._interval, now)  # no burst after a pause of the machine
            self._poll(max(0.0, due - time.monotonic()), started)
        deadline = time.monotonic() + patience(_LINGER_SECONDS)
        while len(self._returned) < len(self._sent_at) and time.monotonic() < deadline:
            self._poll(0.1, started)

    def _send(self, target: tuple[str, int], moment: float) -> None:
        number = len(self._sent_at)
        self._sent_at.append(moment)
        try:
            self._near.sendto(_SEQUENCE.pack(number).ljust(_DATAGRAM_OCTETS, b"."), target)
        except OSError:  # no route or no policy at this moment: as lost as any other
            self._refused += 1

    def _poll(self, seconds: float, started: float) -> None:
        readable, _, _ = select.select([self._far, self._near], [], [], seconds)
        if self._far in readable:
            data, sender = self._far.recvfrom(2048)
            self._arrived.add(_SEQUENCE.unpack_from(data)[0])
            try:
                self._far.sendto(data, sender)
            except OSError:
                self._refused += 1
        if self._near in readable:
            number = _SEQUENCE.unpack_from(self._near.recv(2048))[0]
            if number in self._returned:
                self._repeated += 1
            else:
                self._returned[number] = time.monotonic() - started

    def _make_report(self) -> StreamReport:
        times = sorted(self._returned.values())
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return StreamReport(
            sent=len(self._sent_at),
            refused=self._refused,
            arrived=len(self._arrived),
            returned=len(self._returned),
            repeated=self._repeated,
            lost_at_seconds=tuple(
                moment
                for number, moment in enumerate(self._sent_at)
                if number not in self._returned
            ),
            longest_silence_seconds=max(gaps, default=0.0),
        )


def _send(outgoing: socket.socket, octets: int) -> bytes:
    digest = hashlib.sha256()
    left = octets
    while left:
        piece = os.urandom(min(left, _PIECE_OCTETS))
        digest.update(piece)
        outgoing.sendall(piece)
        left -= len(piece)
    outgoing.shutdown(socket.SHUT_WR)
    return digest.digest()


def _receive(listener: socket.socket, seconds: float) -> tuple[bytes, int]:
    digest = hashlib.sha256()
    count = 0
    incoming, _ = listener.accept()
    with incoming:
        incoming.settimeout(seconds)
        while piece := incoming.recv(_PIECE_OCTETS):
            digest.update(piece)
            count += len(piece)
    return digest.digest(), count


def _datagram_socket(host: Host, address: str) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(_family(address), socket.SOCK_DGRAM)
        made.bind((address, 0))
        return made

    return host.call(make)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
