"""Configuration payload CP (RFC 7296, section 3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.wire.numbers import ConfigAttributeType, ConfigType, PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.base import Reader

__all__ = ["ConfigAttribute", "ConfigPayload"]


class ConfigAttribute(NamedTuple):
    """One attribute; an empty value in a request asks for any. Its user judges its size."""

    type: ConfigAttributeType
    value: bytes = b""


@dataclass(slots=True)
class ConfigPayload:
    """Request, reply, set or acknowledgement of configuration attributes."""

    type: ConfigType
    attributes: Sequence[ConfigAttribute]

    @property
    def payload_type(self) -> PayloadType:
        """CP."""
        return PayloadType.CP

    @classmethod
    def decode(cls, reader: Reader) -> ConfigPayload:
        """Read type and attributes; the reserved bit of an attribute's type is ignored."""
        kind = ConfigType.of(reader.uint8())
        reader.take(3)
        attributes = []
        while reader.remaining:
            number = ConfigAttributeType.of(reader.uint16() & 0x7FFF)
            attributes.append(ConfigAttribute(number, reader.take(reader.uint16())))
        return cls(kind, tuple(attributes))

    def body(self) -> bytes:
        """Return type and attributes."""
        attributes = [
            attribute.type.to_bytes(2) + len(attribute.value).to_bytes(2) + attribute.value
            for attribute in self.attributes
        ]
        return bytes((self.type, 0, 0, 0)) + b"".join(attributes)
