"""The supervisor: starts the IKE process and the packet process, and ends them in order.

The IKE process says goodbye to the peers first; when it closes the channel, the packet process
takes its device and routes away. It needs no privileges of its own, but both children inherit what
it has. It never sees a secret: the IKE process reads the configuration by itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from typing import TYPE_CHECKING

from ipsecme.base import SystemRefused
from ipsecme.daemon.children import Child
from ipsecme.daemon.notify import notify
from ipsecme.daemon.reports import READY, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ipsecme.dataplane.user.settings import UserSettings

__all__ = ["Supervisor"]

_MESSAGE_OCTETS = 64 << 10
_CHANNEL_OCTETS = 1 << 20
_FAREWELL_SECONDS = 10.0  # the IKE process gives its peers less
_CLEANUP_SECONDS = 5.0
_NEWS_SECONDS = 3.0  # for one process to notice the end of the other

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# The packet process gets none of the environment in which secrets may be.
_HARMLESS = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR")


class Supervisor:
    """Runs one daemon. `ready` is called when it serves."""

    def __init__(self, path: Path, settings: UserSettings, ready: Callable[[], None]) -> None:
        self._path = path
        self._settings = settings
        self._ready = ready
        self._refusal = ""

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP.

        Raises `SystemRefused` if the daemon ends by itself.
        """
        with _signals() as signals:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours:
                with theirs:
                    ike, packets = self._start(theirs)
                try:
                    is_wanted = self._watch(signals, ours, ike, packets)
                finally:
                    self._end(ike, packets, signals)
        if not is_wanted:
            raise SystemRefused(self._refusal or _unexpected(ike, packets))

    def _start(self, report: socket.socket) -> tuple[Child, Child]:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, other:
            for end in (one, other):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHANNEL_OCTETS)
            packets = Child(
                "the packet process",
                "ipsecme.dataplane.user.process",
                ("--channel-fd", str(other.fileno()), "--settings", self._settings.to_json()),
                pass_fds=(other.fileno(),),
                environment=_harmless(os.environ),
            )
            arguments = ("--config", str(self._path), "--channel-fd", str(one.fileno()))
            ike = Child(
                "the IKE process",
                "ipsecme.daemon.ike_process",
                (*arguments, "--report-fd", str(report.fileno())),
                pass_fds=(one.fileno(), report.fileno()),
                environment={k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"},
            )
        return ike, packets

    def _watch(self, signals: int, report: socket.socket, ike: Child, packets: Child) -> bool:
        """Wait for an end; return whether it was asked for."""
        watched: list[int | socket.socket] = [signals, report, ike.descriptor, packets.descriptor]
        while True:
            readable, _, _ = select.select(watched, [], [])
            if signals in readable:
                os.read(signals, 1)
                return True
            if report in readable and not self._hear(report):
                watched.remove(report)
            if packets.descriptor in readable:
                # Why it ended is known to the IKE process, which ends in turn.
                ike.wait(_NEWS_SECONDS)
            if packets.descriptor in readable or ike.descriptor in readable:
                with contextlib.suppress(BlockingIOError):
                    report.setblocking(False)
                    self._hear(report)
                return False

    def _hear(self, report: socket.socket) -> bool:
        """Take a report of the IKE process; return False at its end."""
        message = report.recv(_MESSAGE_OCTETS)
        if message == READY:
            notify("READY=1")
            self._ready()
        elif message.startswith(REFUSED):
            self._refusal = message.removeprefix(REFUSED).decode(errors="replace")
        return bool(message)

    def _end(self, ike: Child, packets: Child, signals: int) -> None:
        """End both, the IKE process first. A second signal makes it quick."""
        notify("STOPPING=1")
        ike.send_signal(signal.SIGTERM)
        select.select([ike.descriptor, signals], [], [], _FAREWELL_SECONDS)
        if ike.is_running:
            ike.send_signal(signal.SIGKILL)
        ike.end(_CLEANUP_SECONDS)
        packets.end(_CLEANUP_SECONDS)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Make the signals that ask for the end readable at the descriptor that is yielded."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {number: signal.getsignal(number) for number in _ENDING}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        for number in handlers:
            signal.signal(number, lambda *_: None)
        yield reading
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reading)
        os.close(writing)


def _harmless(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in environment.items()
        if key in _HARMLESS or key.startswith("PYTHON")
    }


def _unexpected(ike: Child, packets: Child) -> str:
    for child in (packets, ike):
        if child.outcome:
            return f"{child.name} {child.outcome} unexpectedly; the log says more"
    return f"{ike.name} ended unexpectedly; the log says more"
