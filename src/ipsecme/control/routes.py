"""Paths of the control socket's HTTP interface.

    GET  /v1/version                     -> VersionReply
    GET  /v1/status                      -> StatusReply
    POST /v1/connections/NAME/up         UpRequest -> UpReply
    POST /v1/connections/NAME/down       DownRequest -> DownReply
    POST /v1/connections/NAME/rekey      RekeyRequest -> RekeyReply
    GET  /v1/events                      -> one JSON object a line, until the client goes

An answer with another status than 200 has an ErrorReply as its body. Each event has `time` (in
seconds since 1970), `level` (``info`` or ``warning``), `event` (its name in snake case), `text` (a
sentence), `connection`, and fields of its own.
"""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["DOWN", "EVENTS", "REKEY", "STATUS", "UP", "VERSION", "connection_path"]

VERSION = "/v1/version"
STATUS = "/v1/status"
EVENTS = "/v1/events"
UP = "/v1/connections/{name}/up"
DOWN = "/v1/connections/{name}/down"
REKEY = "/v1/connections/{name}/rekey"


def connection_path(route: str, name: str) -> str:
    """Return the path of a route for one connection, its name quoted."""
    return route.replace("{name}", quote(name, safe=""))
