"""One program that runs in a namespace: its log, its end.

Owns start, stop and log of a child; only children that it started are ever signalled, by their
pid and, when they do not end, the session that they lead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final

from ipsecme.lab.errors import LabUnavailable, StepFailed
from ipsecme.lab.wait import patience, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ipsecme.lab.namespace import Namespace

__all__ = ["Process"]

_LOG_LINES_SHOWN: Final = 40


class Process:
    """A running program; `log` receives what it prints."""

    def __init__(
        self,
        namespace: Namespace,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        private_run: bool = False,
    ) -> None:
        """Start it; raises `LabUnavailable` when the program is not there."""
        self.name = name
        self.log = log
        try:
            with log.open("ab") as output:
                self._child = namespace.spawn(
                    argv, output=output, environment=environment, private_run=private_run
                )
        except FileNotFoundError as error:
            raise LabUnavailable(f"{name} cannot start: {argv[0]} is not installed") from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal, None while it runs."""
        return self._child.poll()

    def wait_ready(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        """Wait until `condition` holds; raises `StepFailed` with the log if it ends or stalls."""

        def ready_or_ended() -> bool:
            if self.exit_status is not None:
                raise StepFailed(
                    f"{self.name} ended with status {self.exit_status} before {what}\n"
                    f"{self.log_tail()}"
                )
            return bool(condition())

        wait_until(ready_or_ended, f"{self.name}: {what}", seconds=seconds, explain=self.log_tail)

    def wait_ended(self, seconds: float) -> int:
        """Wait for the program to end by itself and return its exit status."""
        try:
            return self._child.wait(patience(seconds))
        except subprocess.TimeoutExpired as error:
            raise StepFailed(
                f"{self.name} still runs after {seconds:g} s\n{self.log_tail()}"
            ) from error

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Ask it to end; kill it, and what it started, if it has not after `grace_seconds`."""
        if self.exit_status is None:
            self._child.terminate()
            try:
                self._child.wait(patience(grace_seconds))
            except subprocess.TimeoutExpired:
                self._kill_session()
                self._child.wait(grace_seconds)

    def kill(self) -> None:
        """End it at once, without a chance to say goodbye to its peers."""
        self._kill_session()
        self._child.wait(10.0)

    def log_text(self) -> str:
        """Return everything that it printed so far."""
        return self.log.read_text(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines of the log, with its place."""
        lines = self.log_text().splitlines()[-_LOG_LINES_SHOWN:]
        return "\n".join([f"-- end of {self.log} --", *lines])

    def _kill_session(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
