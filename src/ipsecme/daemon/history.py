"""What happened to each connection, in bounded memory: errors, rekeyings, how often it was up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ipsecme.ike import events

__all__ = ["ConnectionHistory", "History", "PastError"]

_KEPT_ERRORS = 10
_UNREMARKABLE = frozenset({"deleted", "deleted_by_peer", "rekeyed", "replaced", "ike_sa_closed"})


class PastError(NamedTuple):
    """A failure: a stable word, the words for people, the Child SA if one failed, and when."""

    at: float
    reason: str
    detail: str
    child: str = ""


@dataclass(slots=True)
class ConnectionHistory:
    """Counts since the start of the daemon; `errors` are the latest, the newest last.

    `is_error_open` tells that nothing has put the newest of them right.
    """

    established: int = 0
    ike_rekeys: int = 0
    child_rekeys: int = 0
    is_error_open: bool = False
    errors: deque[PastError] = field(default_factory=lambda: deque(maxlen=_KEPT_ERRORS))


class History:
    """Reads the engine's events. Only configured connections are remembered."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._connections = {name: ConnectionHistory() for name in names}

    def of(self, name: str) -> ConnectionHistory:
        """Return the history of a configured connection."""
        return self._connections[name]

    def open_error(self, name: str) -> PastError | None:
        """Return the latest error that was not put right by a success since."""
        history = self._connections[name]
        return history.errors[-1] if history.errors and history.is_error_open else None

    def __call__(self, event: events.Event, now: float) -> None:
        """Read an event."""
        history = self._connections.get(event.connection)
        if history is None:
            return
        match event:
            case events.IkeSaEstablished():
                history.established += 1
                self._put_right(history)
            case events.IkeSaRekeyed():
                history.ike_rekeys += 1
            case events.ChildSaCreated(replaces=replaces, child=child):
                history.child_rekeys += replaces is not None
                self._put_right(history, child)
            case _:
                if (error := _error(event, now)) is not None:
                    history.errors.append(error)
                    history.is_error_open = True

    @staticmethod
    def _put_right(history: ConnectionHistory, child: str = "") -> None:
        if history.errors and history.errors[-1].child == child:
            history.is_error_open = False


def _error(event: events.Event, now: float) -> PastError | None:
    match event:
        case events.IkeSaFailed(reason=reason, detail=detail):
            return PastError(now, reason, detail)
        case events.IkeSaClosed(reason=reason, detail=detail) if reason not in _UNREMARKABLE:
            return PastError(now, reason, detail)
        case events.ChildSaFailed(reason=reason, detail=detail, child=child):
            return PastError(now, reason, detail, child)
        case events.ChildSaClosed(reason=reason, child=child) if reason not in _UNREMARKABLE:
            return PastError(now, reason, "", child)
    return None
