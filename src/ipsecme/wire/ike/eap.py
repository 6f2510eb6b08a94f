"""EAP payload: one EAP packet (RFC 7296, section 3.16; RFC 3748, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import EapCode, EapType, PayloadType

if TYPE_CHECKING:
    from ipsecme.base import Reader

__all__ = ["EapPayload"]

_HEADER_OCTETS = 4
_BARE = frozenset({EapCode.SUCCESS, EapCode.FAILURE})


@dataclass(slots=True)
class EapPayload:
    """Code, identifier and, in requests and responses, a type with its data."""

    code: EapCode
    identifier: int
    type: EapType | None = None
    data: bytes = b""

    @property
    def payload_type(self) -> PayloadType:
        """EAP."""
        return PayloadType.EAP

    @classmethod
    def decode(cls, reader: Reader) -> EapPayload:
        """Read the packet; its length must be that of the payload.

        A request or response has a type, and Success and Failure have none and nothing after it.
        """
        octets = reader.remaining
        code = EapCode.of(reader.uint8())
        identifier = reader.uint8()
        length = reader.uint16()
        if length != octets:
            raise MalformedMessage(f"EAP packet of {length} octets in a payload of {octets}")
        if not reader.remaining:
            if code in (EapCode.REQUEST, EapCode.RESPONSE):
                raise MalformedMessage(f"EAP {code.name} without a type")
            return cls(code, identifier)
        if code in _BARE:
            raise MalformedMessage(f"EAP {code.name} of {length} octets; it has four")
        return cls(code, identifier, EapType.of(reader.uint8()), reader.rest())

    def body(self) -> bytes:
        """Return the packet."""
        inside = b"" if self.type is None else bytes((self.type,)) + self.data
        size = _HEADER_OCTETS + len(inside)
        return bytes((self.code, self.identifier)) + size.to_bytes(2) + inside
