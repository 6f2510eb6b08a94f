"""Reader: a checked cursor over bytes.

Owns every length check of the decoders. A decoder never slices a buffer by its own arithmetic: it
asks for octets here, and a length that does not fit raises `Truncated`.
"""

from __future__ import annotations

from ipsecme.base.errors import MalformedMessage, Truncated

__all__ = ["Reader"]


class Reader:
    """A cursor over `data`: hands out integers and octets and never leaves its bounds."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._position = start
        self._end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        """Octets not yet read."""
        return self._end - self._position

    @property
    def position(self) -> int:
        """Octets from the start of the underlying buffer."""
        return self._position

    def uint8(self) -> int:
        """Read one octet."""
        position = self._position
        if position >= self._end:
            raise Truncated(1, 0)
        self._position = position + 1
        return self._data[position]

    def uint16(self) -> int:
        """Read two octets."""
        position = self._position
        end = position + 2
        if end > self._end:
            raise Truncated(2, self._end - position)
        self._position = end
        data = self._data
        return data[position] << 8 | data[position + 1]

    def uint32(self) -> int:
        """Read four octets."""
        return int.from_bytes(self.take(4))

    def take(self, count: int) -> bytes:
        """Read exactly `count` octets."""
        position = self._position
        end = position + count
        if end > self._end or count < 0:
            raise Truncated(count, self._end - position)
        self._position = end
        return self._data[position:end]

    def rest(self) -> bytes:
        """Read all that is left, perhaps nothing."""
        position, self._position = self._position, self._end
        return self._data[position : self._end]

    def fence(self, count: int) -> Reader:
        """Split off a reader of exactly the next `count` octets; close it with `finish`."""
        position = self._position
        end = position + count
        if end > self._end or count < 0:
            raise Truncated(count, self._end - position)
        self._position = end
        return Reader(self._data, position, end)

    def finish(self) -> None:
        """Raise `MalformedMessage` unless everything was read."""
        if self._position != self._end:
            raise MalformedMessage(
                f"{self._end - self._position} octets left over after the last field"
            )
