"""A child process of the supervisor: how it is started, watched, and ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from ipsecme.base import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Child"]


class Child:
    """A Python module that runs as a process of its own.

    It is in a process group of its own, so that a Ctrl-C on the terminal reaches the supervisor
    alone. The current directory is not a place that it imports from. `descriptor` is readable once
    it has ended.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        *,
        pass_fds: Sequence[int],
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        argv = [sys.executable, "-P", "-m", module, *arguments]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                argv,
                stdin=subprocess.DEVNULL,
                pass_fds=pass_fds,
                env=dict(environment),
                process_group=0,
            )
        except OSError as error:
            raise SystemRefused(f"{name} cannot be started: {error.strerror}") from None
        self.descriptor = os.pidfd_open(self._process.pid)

    @property
    def is_running(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    @property
    def outcome(self) -> str:
        """How it ended, in words; empty after success."""
        status = self._process.poll()
        if not status:
            return ""
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it has come."""
        select.select([self.descriptor], [], [], max(seconds, 0))
        return not self.is_running

    def end(self, seconds: float) -> None:
        """Wait for the end, and bring it about by SIGTERM and at last SIGKILL."""
        if not self.wait(seconds):
            self.send_signal(signal.SIGTERM)
            if not self.wait(seconds):
                self.send_signal(signal.SIGKILL)
                self._process.wait()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
