"""The anti-replay window (RFC 4303, sections 3.4.3 and A2), with and without ESN.

`locate` before the ICV check, `mark` after it: a packet that fails the check never moves the
window.
"""

from __future__ import annotations

from ipsecme.base import LocalMisuse

__all__ = ["MAX_WINDOW", "MIN_WINDOW", "SEEN", "STALE", "EsnWindow", "ReplayWindow"]

MIN_WINDOW = 32
MAX_WINDOW = 1 << 20

STALE = 0
SEEN = -1

_LOW_MASK = 0xFFFFFFFF
_LAST_ESN = (1 << 64) - 1


class ReplayWindow:
    """Which of the last `size` sequence numbers, up to `top`, have arrived.

    Each sequence number has the slot of its remainder by `size`, so that the window moves by one
    without touching the others.
    """

    __slots__ = ("_seen", "_size", "top")

    def __init__(self, size: int, top: int = 0) -> None:
        if not MIN_WINDOW <= size <= MAX_WINDOW:
            raise LocalMisuse(
                f"a replay window of {size} packets; use {MIN_WINDOW} to {MAX_WINDOW} "
                "(RFC 4303, section 3.4.3)"
            )
        self._size = size
        self._seen = bytearray(size)
        self.top = top

    def locate(self, low: int) -> int:
        """Return the sequence number of a packet that is new, otherwise STALE or SEEN.

        `low` is the number on the wire.
        """
        if low > self.top:
            return low
        if low <= self.top - self._size or not low:
            return STALE
        return SEEN if self._seen[low % self._size] else low

    def mark(self, sequence: int) -> None:
        """Note the arrival of an authentic packet that `locate` found to be new."""
        size = self._size
        advance = sequence - self.top
        if advance > 0:
            if advance > 1:
                self._forget(self.top + 1, min(advance - 1, size))
            self.top = sequence
        self._seen[sequence % size] = 1

    def _forget(self, first: int, count: int) -> None:
        """Empty the slots that the numbers from `first` on take over."""
        start = first % self._size
        end = min(start + count, self._size)
        self._seen[start:end] = bytes(end - start)
        wrapped = count - (end - start)
        self._seen[:wrapped] = bytes(wrapped)


class EsnWindow(ReplayWindow):
    """The window of an SA with extended sequence numbers: 64 bits of which 32 are on the wire.

    The upper half is inferred as appendix A2.2 says. The resynchronisation after a loss of more
    than 2^32 packets (A3) is left out: such an SA is better rekeyed.
    """

    __slots__ = ()

    def locate(self, low: int) -> int:
        """Return the full sequence number of a packet that is new, otherwise STALE or SEEN."""
        # The one number with these low bits among the 2^32 that start at the window's left edge.
        bottom = self.top - self._size + 1
        sequence = bottom + ((low - bottom) & _LOW_MASK)
        if sequence > self.top:
            return sequence if sequence <= _LAST_ESN else STALE
        if sequence <= 0:
            return STALE
        return SEEN if self._seen[sequence % self._size] else sequence
