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

__all__ = ["LAST_MESSAGE_ID", "Outstanding", "RequestWindow", "ResponseWindow"]

LAST_MESSAGE_ID = 0xFFFFFFFF


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
    """The peer's requests: the one expected next, and the answer to the last one."""

    __slots__ = ("_answered", "_digest", "_response", "next_id")

    def __init__(self, next_id: int = 0) -> None:
        self.next_id = next_id
        self._answered = -1
        self._digest = b""
        self._response: list[bytes] = []

    def is_expected(self, message_id: int) -> bool:
        """Tell whether this is the peer's next request."""
        return message_id == self.next_id

    def repeated(self, message_id: int, request: bytes) -> list[bytes] | None:
        """Return the remembered answer when `request` is the same, octet for octet, as before.

        Of a request in fragments the first stands for all (RFC 7383, section 2.6.1).
        """
        if message_id != self._answered or _digest(request) != self._digest:
            return None
        return self._response

    def answer(self, message_id: int, request: bytes, response: list[bytes]) -> None:
        """Remember the answer and expect the next request."""
        self._answered = message_id
        self._digest = _digest(request)
        self._response = response
        self.next_id = message_id + 1


def _digest(request: bytes) -> bytes:
    return hashlib.sha256(request).digest()
