"""``ipsecme status``: what the daemon and its connections are doing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ipsecme.api import RequestRefused, ask
from ipsecme.cli.options import Control, Json, control_path
from ipsecme.cli.outcome import NOT_SO, guarded, print_json
from ipsecme.control import to_json

if TYPE_CHECKING:
    from ipsecme.control import StatusReply

__all__ = ["status"]


@guarded
def status(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these connections.")
    ] = None,
    as_json: Json = False,
    control: Control = None,
) -> None:
    """Show connections: state, peers, SAs, traffic, last error.

    The exit status is 0 when all of them are up, 1 when not, 2 when the daemon cannot be asked.
    """
    reply = _only(ask(control_path(context, control), lambda client: client.status()), names)
    if as_json:
        print_json(to_json(reply))
    else:
        from ipsecme.cli.status_view import show_status  # noqa: PLC0415 - rich is for this alone

        show_status(reply)
    if not reply.connections or any(one.state != "up" for one in reply.connections):
        raise typer.Exit(NOT_SO)


def _only(reply: StatusReply, names: list[str] | None) -> StatusReply:
    """Return the reply with the connections of these names, in this order."""
    if not names:
        return reply
    known = {connection.name: connection for connection in reply.connections}
    for name in names:
        if name not in known:
            configured = ", ".join(known) or "none"
            raise RequestRefused(
                "unknown_connection",
                f"there is no connection {name!r}",
                f"one of those that are configured: {configured}",
                404,
            )
    return replace(reply, connections=tuple(known[name] for name in dict.fromkeys(names)))
