"""Talking to a running daemon: a client of its control socket, and what can go wrong on the way.

    from ipsecme.api import Client

    async with Client() as client:
        reply = await client.up("office")

Importing this folder is cheap; aiohttp is loaded with the first request.
"""

from __future__ import annotations

from ipsecme.api.client import Client, ask
from ipsecme.api.errors import (
    AccessDenied,
    ControlError,
    DaemonTimeout,
    DaemonUnreachable,
    RequestRefused,
    UnexpectedReply,
)

__all__ = [
    "AccessDenied",
    "Client",
    "ControlError",
    "DaemonTimeout",
    "DaemonUnreachable",
    "RequestRefused",
    "UnexpectedReply",
    "ask",
]
