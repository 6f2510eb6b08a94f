"""What every payload has, and the payload that nobody knows (RFC 7296, sections 2.5 and 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ipsecme.wire.numbers import PayloadType

__all__ = ["Payload", "UnknownPayload"]


class Payload(Protocol):
    """A payload without its generic header. `payload_type` is fixed by the class or the instance.

    Each class has a classmethod `decode` that reads the whole body or raises `MalformedMessage`;
    `wire.ike.registry` says which type of payload it belongs to.
    """

    @property
    def payload_type(self) -> PayloadType:
        """The number by which the previous payload announces this one."""
        ...

    def body(self) -> bytes:
        """Return what follows the generic header."""
        ...


@dataclass(slots=True)
class UnknownPayload:
    """A payload of a type that this library does not interpret; re-encodes byte for byte.

    `flags` is the octet with the critical bit (0x80) as it came.
    """

    type: PayloadType
    flags: int
    octets: bytes

    @property
    def payload_type(self) -> PayloadType:
        """The number as it came."""
        return self.type

    @property
    def critical(self) -> bool:
        """True when the sender insists on being understood."""
        return bool(self.flags & 0x80)

    def body(self) -> bytes:
        """Return the body as it came."""
        return self.octets
