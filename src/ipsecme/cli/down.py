"""``ipsecme down``: delete the SAs of a connection."""

from __future__ import annotations

import typer

from ipsecme.api import ask
from ipsecme.cli.amounts import count
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

__all__ = ["down"]


@guarded
def down(
    context: typer.Context,
    name: Name,
    *,
    child: Child = None,
    timeout: Timeout = 10.0,
    as_json: Json = False,
    control: Control = None,
) -> None:
    """Take a connection down and keep it down.

    The exit status is 0 when it is down, 1 when the peer has not confirmed it in time.
    """
    path = control_path(context, control)
    reply = ask(path, lambda client: client.down(name, child=child, timeout=timeout))
    what = f"{name}, Child SA {child}" if child else name
    if as_json:
        print_json(to_json(reply))
    elif not reply.done:
        tell_failure(
            f"{what}: the peer has not confirmed the end yet; nothing is sent any more",
            f"ipsecme status {name}",
        )
    elif reply.closing:
        typer.echo(f"{what} is down ({count(reply.closing, 'SA')} deleted)")
    else:
        typer.echo(f"{what} was down already")
    if not reply.done:
        raise typer.Exit(NOT_SO)
