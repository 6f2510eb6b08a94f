"""``ipsecme rekey``: new keys for the SAs of a connection, now."""

from __future__ import annotations

from typing import Annotated

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

__all__ = ["rekey"]


@guarded
def rekey(
    context: typer.Context,
    name: Name,
    *,
    ike: Annotated[bool, typer.Option("--ike", help="The IKE SA, not its Child SAs.")] = False,
    child: Child = None,
    timeout: Timeout = 10.0,
    as_json: Json = False,
    control: Control = None,
) -> None:
    """Replace the Child SAs of a connection, or with --ike its IKE SA.

    The exit status is 0 when all were replaced, 1 when not.
    """
    if ike and child:
        raise typer.BadParameter("--ike and --child exclude each other")
    path = control_path(context, control)
    reply = ask(path, lambda client: client.rekey(name, child=child, ike=ike, timeout=timeout))
    kind = "IKE SA" if ike else "Child SA"
    if as_json:
        print_json(to_json(reply))
    elif not reply.started:
        tell_failure(f"{name} has no {kind} to rekey", f"ipsecme up {name}")
    elif not reply.done:
        tell_failure(
            f"{name}: not all SAs were replaced within {timeout:g} s; the old ones are in use",
            f"ipsecme status {name}",
        )
    else:
        typer.echo(f"{name}: {count(reply.started, kind)} replaced")
    if not reply.done:
        raise typer.Exit(NOT_SO)
