"""Identification payloads IDi and IDr (RFC 7296, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import IdType, PayloadType

if TYPE_CHECKING:
    from ipsecme.base import Reader

__all__ = ["IdentityPayload"]

_FIXED_OCTETS = {IdType.ID_IPV4_ADDR: 4, IdType.ID_IPV6_ADDR: 16, IdType.ID_NULL: 0}
_TEXT = frozenset({IdType.ID_FQDN, IdType.ID_RFC822_ADDR})


@dataclass(slots=True)
class IdentityPayload:
    """Who the sender is (IDi, IDr) or whom the initiator wants to meet (IDr in a request).

    `reserved` keeps the three octets as they came, because AUTH covers them (section 2.15).
    """

    role: PayloadType
    id_type: IdType
    data: bytes
    reserved: bytes = b"\x00\x00\x00"

    @property
    def payload_type(self) -> PayloadType:
        """IDi or IDr, the role."""
        return self.role

    @classmethod
    def decode(cls, reader: Reader, role: PayloadType) -> IdentityPayload:
        """Read type and data; addresses must have their size, names no control characters."""
        id_type = IdType.of(reader.uint8())
        reserved = reader.take(3)
        data = reader.rest()
        wanted = _FIXED_OCTETS.get(id_type)
        if wanted is not None and len(data) != wanted:
            raise MalformedMessage(f"{id_type.name} of {len(data)} octets instead of {wanted}")
        if id_type in _TEXT and (not data or min(data) < 0x20):
            raise MalformedMessage(f"{id_type.name} is empty or holds control characters")
        return cls(role, id_type, data, reserved)

    def body(self) -> bytes:
        """Return type, reserved octets and data: what AUTH covers as ID' (section 2.15)."""
        return bytes((self.id_type,)) + self.reserved + self.data
