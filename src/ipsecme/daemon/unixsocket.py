"""The listening end of the control socket: a file that its owner and root alone may open."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

from ipsecme.base import SystemRefused

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ControlSocket", "peer_uid"]

_BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class ControlSocket:
    """Listens at `path`; its folder is made if need be.

    A file that a dead daemon left behind is replaced. Raises `SystemRefused` when a living one
    listens there, or the place cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove_dead(path)
            # The mode must be right from the start, not after somebody has connected.
            mask = os.umask(0o177)
            try:
                self.sock.bind(str(path))
            finally:
                os.umask(mask)
            self.sock.listen(_BACKLOG)
            self._inode = path.stat().st_ino
        except OSError as error:
            self.sock.close()
            raise SystemRefused(_explanation(error, path)) from None
        except BaseException:
            self.sock.close()
            raise

    def close(self) -> None:
        """Stop listening and remove the file, unless somebody has put another in its place."""
        self.sock.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()


def peer_uid(sock: socket.socket) -> int:
    """Return the user who connected, as the kernel saw it."""
    octets = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(octets)[1]
    return uid


def _remove_dead(path: Path) -> None:
    """Remove the socket of a daemon that is gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SystemRefused(f"{path} is in the way of the control socket; move it, or set control")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT):  # a full backlog: it lives
                raise
    raise SystemRefused(
        f"another daemon listens on {path}; stop it, or set control in [daemon] to another path"
    )


def _explanation(error: OSError, path: Path) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"the control socket {path} cannot be made ({error.strerror}); run as root, or set "
            "control in [daemon] to a path of your own"
        )
    if "too long" in str(error):
        return f"the control socket's path {path} is too long for the system (107 octets)"
    return f"the control socket {path} cannot be made: {error.strerror}"
