"""One of the two daemons of the demonstration: its files, ``ipsecme run``, and what is asked of it.

The configuration is what a user would write; it lies in a private folder, with its random secret.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, TypeVar

from ipsecme.api import Client, ControlError, ask
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.ipsecme import render_tunnel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ipsecme import control
    from ipsecme.lab.peer import Site, Tunnel
    from ipsecme.lab.process import Process

__all__ = ["CONNECTION", "Gateway"]

CONNECTION: Final = "tunnel"
_STEP_SECONDS: Final = 10.0

_T = TypeVar("_T")


class Gateway:
    """The daemon at `site`, started by `start`; `wait_ready` returns once it answers."""

    def __init__(
        self, site: Site, tunnel: Tunnel, *, remote: Site, keys: Path | None = None
    ) -> None:
        self.site = site
        self.name = site.host.name
        self.folder = site.host.folder
        self.control = self.folder / "control.sock"
        self.configuration = self.folder / "ipsecme.toml"
        self.process: Process | None = None
        lines = ["[daemon]", f'control = "{self.control}"']
        if keys is not None:
            lines.append(f'keylog = "{keys}"')
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(
            "\n".join([*lines, "", render_tunnel(tunnel, local=site, remote=remote)])
        )

    @property
    def log(self) -> Path:
        """The file that it logs to."""
        return self.folder / "ipsecme.log"

    def start(self) -> None:
        """Start it as its users do."""
        self.process = self.site.host.start(
            "ipsecme",
            [
                *(sys.executable, "-P", "-m", "ipsecme.cli"),
                *("run", "--json", "--config", str(self.configuration)),
            ],
        )

    def wait_ready(self) -> None:
        """Wait until it answers at its control socket."""
        if self.process is None:
            raise StepFailed(f"the daemon of {self.name} was not started")
        self.process.wait_ready(self._answers, "it answers at its control socket")

    def stop(self) -> int | None:
        """Stop it and return its exit status, None if it never ran."""
        if self.process is None:
            return None
        self.process.stop(grace_seconds=15.0)
        return self.process.exit_status

    def up(self) -> None:
        """Bring the tunnel up; raises `StepFailed` with the daemon's words if it does not."""
        reply = self._ask(lambda client: client.up(CONNECTION, timeout=_STEP_SECONDS))
        if reply.result != "up":
            reason = reply.reason.replace("_", " ")
            raise StepFailed(f"the tunnel is not up: {reply.result} {reason}: {reply.detail}")

    def rekey(self, *, ike: bool) -> None:
        """Replace the IKE SA or the Child SA."""
        reply = self._ask(lambda client: client.rekey(CONNECTION, ike=ike, timeout=_STEP_SECONDS))
        if not reply.done:
            kind = "IKE SA" if ike else "Child SA"
            raise StepFailed(f"{self.name} could not rekey the {kind} in {_STEP_SECONDS:g} s")

    def status(self) -> control.StatusReply:
        """Return what it says of itself."""
        return self._ask(lambda client: client.status())

    def _ask(self, question: Callable[[Client], Awaitable[_T]]) -> _T:
        try:
            return ask(self.control, question)
        except ControlError as error:
            tail = f"\n{self.process.log_tail()}" if self.process else ""
            raise StepFailed(f"the daemon of {self.name}: {error}{tail}") from error

    def _answers(self) -> bool:
        try:
            ask(self.control, lambda client: client.version())
        except ControlError:
            return False
        return True
