"""EAP payload: one EAP packet (RFC 7296, section 3.16; RFC 3748, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike.payload import Payload
from ipsecme.wire.numbers import EapCode, EapType, PayloadType

if TYPE_CHECKING:
    from ipsecme.base import Reader, Writer

__all__ = ["EapPayload"]

_HEADER_OCTETS = 4


@dataclass(slots=True)
class EapPayload(Payload):
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
        """Read the packet; its length must be that of the payload."""
        octets = reader.remaining
        code = EapCode.of(reader.uint8())
        identifier = reader.uint8()
        length = reader.uint16()
        if length != octets:
            raise MalformedMessage(f"EAP packet of {length} octets in a payload of {octets}")
        if not reader.remaining:
            return cls(code, identifier)
        return cls(code, identifier, EapType.of(reader.uint8()), reader.rest())

    def encode(self, writer: Writer) -> None:
        """Append the packet."""
        writer.uint8(self.code)
        writer.uint8(self.identifier)
        if self.type is None:
            writer.uint16(_HEADER_OCTETS)
            return
        writer.uint16(_HEADER_OCTETS + 1 + len(self.data))
        writer.uint8(self.type)
        writer.raw(self.data)
