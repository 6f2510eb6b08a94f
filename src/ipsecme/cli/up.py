"""``ipsecme up``: bring a connection up and say what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from ipsecme.api import ask
from ipsecme.cli.amounts import duration
from ipsecme.cli.options import (
    Child,
    Control,
    Json,
    Name,
    Timeout,
    control_path,
)
from ipsecme.cli.outcome import NOT_SO, guarded, print_json, tell_failure
from ipsecme.control import to_json

if TYPE_CHECKING:
    from ipsecme.control import UpReply

__all__ = ["up"]


@guarded
def up(
    context: typer.Context,
    name: Name,
    *,
    child: Child = None,
    timeout: Timeout = 30.0,
    as_json: Json = False,
    control: Control = None,
) -> None:
    """Bring a connection up and wait for the outcome.

    The exit status is 0 when it is up, 1 when it is not, 2 when the daemon cannot be asked.
    """
    began = time.monotonic()
    path = control_path(context, control)
    reply = ask(path, lambda client: client.up(name, child=child, timeout=timeout))
    seconds = time.monotonic() - began
    if as_json:
        print_json({**to_json(reply), "seconds": round(seconds, 3)})
    elif reply.result == "up":
        _tell_success(name, reply, seconds)
    else:
        _tell_failure(name, reply, seconds)
    if reply.result != "up":
        raise typer.Exit(NOT_SO)


def _tell_success(name: str, reply: UpReply, seconds: float) -> None:
    from ipsecme.cli.status_view import show_up  # noqa: PLC0415 - rich is for this alone

    show_up(name, reply.connection, seconds)


def _tell_failure(name: str, reply: UpReply, seconds: float) -> None:
    """Say why it is not up: what the daemon reported now, or else what it reported last."""
    last = reply.connection.last_error if reply.connection else None
    hint = reply.hint
    if reply.result == "failed":
        reason = reply.reason.replace("_", " ")
        message = f"{name} did not come up after {duration(seconds)}: {reason}"
    else:
        message = f"{name} is not up after {duration(seconds)}; the daemon keeps trying"
    if reply.result == "failed" and reply.detail:
        message += f"\n{reply.detail}"
    elif last:
        message += f"\nlast error: {last.reason.replace('_', ' ')}: {last.detail}"
        hint = hint or last.hint
    tell_failure(message, hint or f"ipsecme status {name}, and the log of the daemon")
