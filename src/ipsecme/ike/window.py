"""Message IDs, windows, retransmission and remembered answers (RFC 7296, sections 2.1 to 2.3).

Each direction of requests has counters of its own. Nothing outside this module counts Message IDs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.tasks.base import Task

__all__ = [
    "LAST_MESSAGE_ID",
    "MANY_MESSAGE_IDS",
    "MAX_WINDOW",
    "Outstanding",
    "RequestWindow",
    "ResponseWindow",
]

LAST_MESSAGE_ID = 0xFFFFFFFF
MANY_MESSAGE_IDS = 1 << 31
"""From here on the IKE SA should be rekeyed: its counters must not wrap (section 2.2)."""

MAX_WINDOW = 64


@dataclass(slots=True)
class Outstanding:
    """A request of ours that waits for its response, and the tasks that will read it."""

    message_id: int
    datagrams: list[bytes]
    context: ExchangeContext
    tasks: list[Task]
    sendings: int = 1


class RequestWindow:
    """Our requests. `size` is how many the peer takes at once."""

    __slots__ = ("next_id", "outstanding", "size")

    def __init__(self, next_id: int = 0) -> None:
        self.next_id = next_id
        self.size = 1
        self.outstanding: dict[int, Outstanding] = {}

    @property
    def is_open(self) -> bool:
        """True when another request may leave: X waits for all responses through X - size."""
        if self.next_id > LAST_MESSAGE_ID:
            return False
        return not self.outstanding or self.next_id - min(self.outstanding) < self.size

    def add(
        self, datagrams: list[bytes], context: ExchangeContext, tasks: list[Task]
    ) -> Outstanding:
        """Count and remember a request that leaves now."""
        request = Outstanding(self.next_id, datagrams, context, tasks)
        self.outstanding[self.next_id] = request
        self.next_id += 1
        return request


class ResponseWindow:
    """The peer's requests: which are expected, and the answers to the last ones.

    With a `size` above one requests may come in any order within the window (section 2.3).
    """

    __slots__ = ("_answers", "next_id", "size")

    def __init__(self, size: int = 1) -> None:
        self.next_id = 0  # the lowest that is not answered
        self.size = size
        self._answers: dict[int, tuple[bytes, list[bytes]]] = {}

    def is_expected(self, message_id: int) -> bool:
        """Tell whether this is a request that the peer may send now and has not sent before."""
        in_window = self.next_id <= message_id < self.next_id + self.size
        return in_window and message_id not in self._answers

    def repeated(self, message_id: int, request: bytes) -> list[bytes] | None:
        """Return the remembered answer when `request` is the same, octet for octet, as before.

        Of a request in fragments the first stands for all (RFC 7383, section 2.6.1).
        """
        digest, response = self._answers.get(message_id, (b"", []))
        return response if response and digest == _digest(request) else None

    def answer(self, message_id: int, request: bytes, response: list[bytes]) -> None:
        """Remember the answer; forget those that a full window has passed."""
        self._answers[message_id] = _digest(request), response
        while self.next_id in self._answers:
            self.next_id += 1
        for old in [mid for mid in self._answers if mid < self.next_id - self.size]:
            del self._answers[old]


def _digest(request: bytes) -> bytes:
    return hashlib.sha256(request).digest()
