"""Fragments of one message until all are there (RFC 7383, section 2.6).

Only fragments whose integrity was checked come here, so only the peer can fill it. One set at a
time and direction; a set is bounded in fragments and octets, and goes in the step in which it
completes.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MAX_FRAGMENTS", "MAX_OCTETS", "Fragment", "Reassembly"]

MAX_FRAGMENTS = 64
MAX_OCTETS = 1 << 16


class Fragment(NamedTuple):
    """One of `total` parts of a chain of payloads, counted from 1, decrypted."""

    number: int
    total: int
    first_inside: int
    part: bytes


class Reassembly:
    """Collects the fragments of the message with one Message ID."""

    __slots__ = ("_first_inside", "_message_id", "_octets", "_parts", "_total")

    def __init__(self) -> None:
        self._forget(-1, 0)

    def _forget(self, message_id: int, total: int) -> None:
        self._message_id = message_id
        self._total = total
        self._parts: dict[int, bytes] = {}
        self._octets = 0
        self._first_inside = 0

    def add(self, message_id: int, fragment: Fragment) -> bytes | None:
        """Add a fragment; return the first payload's type and the chain when it was the last.

        A set with more fragments than the one so far replaces it: the peer learned of a smaller
        path and began anew. One with fewer is old and is ignored, as are fragments beyond the
        limits.
        """
        number, total, first_inside, part = fragment
        if message_id != self._message_id or total > self._total:
            self._forget(message_id, total)
        if total < self._total or total > MAX_FRAGMENTS or number in self._parts:
            return None
        if self._octets + len(part) > MAX_OCTETS:
            return None
        self._parts[number] = part
        self._octets += len(part)
        if number == 1:
            self._first_inside = first_inside
        if len(self._parts) < total:
            return None
        chain = b"".join(self._parts[n] for n in range(1, total + 1))
        opened = bytes((self._first_inside,)) + chain
        self._forget(-1, 0)
        return opened
