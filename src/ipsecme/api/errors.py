"""Why a request to the daemon did not succeed. Each error has a stable code and a hint."""

from __future__ import annotations

from ipsecme.base import IpsecmeError

__all__ = [
    "AccessDenied",
    "ControlError",
    "DaemonTimeout",
    "DaemonUnreachable",
    "RequestRefused",
    "UnexpectedReply",
]


class ControlError(IpsecmeError):
    """A request did not succeed: `code` is stable, `hint` says what to do about it."""

    code = "control_error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DaemonUnreachable(ControlError):
    """Nobody answers at the control socket, or the daemon went away while it answered."""

    code = "daemon_unreachable"


class AccessDenied(ControlError):
    """The daemon or the file system does not let this user in."""

    code = "access_denied"


class DaemonTimeout(ControlError):
    """The daemon took the request and did not answer in time."""

    code = "timeout"


class RequestRefused(ControlError):
    """The daemon said no; `code` and `status` (HTTP) are its words."""

    def __init__(self, code: str, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.code = code
        self.status = status


class UnexpectedReply(ControlError):
    """The answer is not one of this interface: another version, or another program."""

    code = "unexpected_reply"
