"""TimerTable: named deadlines of one object, and the earliest of them."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["TimerTable"]

K = TypeVar("K")


class TimerTable(Generic[K]):
    """At most one deadline for each purpose. Times are monotonic seconds, given by the caller."""

    __slots__ = ("_deadlines", "_earliest", "_is_known")

    def __init__(self) -> None:
        self._deadlines: dict[K, float] = {}
        self._earliest: float | None = None
        self._is_known = True  # False when `_earliest` must be looked for

    def arm(self, purpose: K, deadline: float) -> None:
        """Set the deadline of `purpose`, replacing an earlier one."""
        before = self._deadlines.get(purpose)
        self._deadlines[purpose] = deadline
        if self._earliest is None or deadline <= self._earliest:
            self._earliest = deadline
        elif before == self._earliest:
            self._is_known = False

    def disarm(self, purpose: K) -> None:
        """Forget the deadline of `purpose`, if there is one."""
        if self._deadlines.pop(purpose, None) == self._earliest:
            self._is_known = False

    def clear(self) -> None:
        """Forget all deadlines."""
        self._deadlines.clear()
        self._earliest, self._is_known = None, True

    def deadline(self, purpose: K) -> float | None:
        """Return when `purpose` is due."""
        return self._deadlines.get(purpose)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline."""
        if not self._is_known:
            self._earliest = min(self._deadlines.values(), default=None)
            self._is_known = True
        return self._earliest

    def due(self, now: float) -> list[K]:
        """Remove and return the purposes whose time has come, earliest first."""
        passed = sorted(
            (at, i, k) for i, (k, at) in enumerate(self._deadlines.items()) if at <= now
        )
        for _, _, purpose in passed:
            self.disarm(purpose)
        return [purpose for _, _, purpose in passed]
