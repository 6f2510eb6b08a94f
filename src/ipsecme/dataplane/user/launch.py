"""Starting the packet process, and waiting for its end."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ipsecme.dataplane.user.settings import UserSettings

__all__ = ["PacketProcess", "launch"]

_CHANNEL_BUFFER = 1 << 20


class PacketProcess(NamedTuple):
    """A running packet process and our end of its channel.

    Whoever closes the last copy of `channel` ends the process.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket


def launch(settings: UserSettings) -> PacketProcess:
    """Start the packet process in the network namespace of the calling thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHANNEL_BUFFER)
    descriptor = str(theirs.fileno())
    arguments = ["--channel-fd", descriptor, "--settings", settings.to_json()]
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "ipsecme.dataplane.user.process", *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    return PacketProcess(process, ours)
