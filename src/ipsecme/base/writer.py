"""Writer: builds bytes in wire order, patching lengths when the end of a structure is known."""

from __future__ import annotations

__all__ = ["Writer"]


class Writer:
    """Appends big-endian integers and octets to a buffer.

    A structure that starts with its own length is written as `start = w.mark()`, the fields with a
    zero length, and `w.patch16(offset, w.size - start)` at its end.
    """

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = bytearray()

    @property
    def size(self) -> int:
        """Octets written so far."""
        return len(self.buffer)

    def uint8(self, value: int) -> None:
        """Append one octet."""
        self.buffer.append(value)

    def uint16(self, value: int) -> None:
        """Append two octets."""
        self.buffer += value.to_bytes(2)

    def uint32(self, value: int) -> None:
        """Append four octets."""
        self.buffer += value.to_bytes(4)

    def raw(self, data: bytes) -> None:
        """Append `data` as it is."""
        self.buffer += data

    def patch16(self, offset: int, value: int) -> None:
        """Overwrite the two octets at `offset`."""
        self.buffer[offset : offset + 2] = value.to_bytes(2)

    def patch8(self, offset: int, value: int) -> None:
        """Overwrite the octet at `offset`."""
        self.buffer[offset] = value

    def getvalue(self) -> bytes:
        """Return what was written."""
        return bytes(self.buffer)
