"""TimerTable: named deadlines of one object, and the earliest of them."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["TimerTable"]

K = TypeVar("K")


class TimerTable(Generic[K]):
    """At most one deadline for each purpose. Times are monotonic seconds, given by the caller."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: dict[K, float] = {}

    def arm(self, purpose: K, deadline: float) -> None:
        """Set the deadline of `purpose`, replacing an earlier one."""
        self._deadlines[purpose] = deadline

    def disarm(self, purpose: K) -> None:
        """Forget the deadline of `purpose`, if there is one."""
        self._deadlines.pop(purpose, None)

    def clear(self) -> None:
        """Forget all deadlines."""
        self._deadlines.clear()

    def deadline(self, purpose: K) -> float | None:
        """Return when `purpose` is due."""
        return self._deadlines.get(purpose)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline."""
        return min(self._deadlines.values(), default=None)

    def due(self, now: float) -> list[K]:
        """Remove and return the purposes whose time has come, earliest first."""
        passed = sorted(
            (at, i, k) for i, (k, at) in enumerate(self._deadlines.items()) if at <= now
        )
        for _, _, purpose in passed:
            del self._deadlines[purpose]
        return [purpose for _, _, purpose in passed]
