"""Configuration payload CP (RFC 7296, section 3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import ConfigAttributeType, ConfigType, PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.base import Reader

__all__ = ["ConfigAttribute", "ConfigPayload", "attribute_sizes"]

_MOST_OCTETS = 0xFFFF
_ANY_SIZE = range(_MOST_OCTETS + 1)
_T = ConfigAttributeType

# RFC 7296, section 3.15.1; RFC 5739, section 5. A wish is empty where no value can be wished for.
_SIZES: dict[int, Sequence[int]] = {
    **dict.fromkeys(
        (
            _T.INTERNAL_IP4_ADDRESS,
            _T.INTERNAL_IP4_NETMASK,
            _T.INTERNAL_IP4_DNS,
            _T.INTERNAL_IP4_NBNS,
            _T.INTERNAL_IP4_DHCP,
        ),
        (0, 4),
    ),
    _T.INTERNAL_IP6_ADDRESS: (0, 17),
    _T.INTERNAL_IP6_DNS: (0, 16),
    _T.INTERNAL_IP6_DHCP: (0, 16),
    _T.INTERNAL_IP4_SUBNET: (0, 8),
    _T.INTERNAL_IP6_SUBNET: (0, 17),  # peers that ask for it send it empty, as with IPv4
    _T.SUPPORTED_ATTRIBUTES: range(0, _MOST_OCTETS, 2),
    _T.INTERNAL_IP6_LINK: range(8, _MOST_OCTETS + 1),
    _T.INTERNAL_IP6_PREFIX: (17,),
}


def attribute_sizes(kind: ConfigAttributeType) -> Sequence[int]:
    """Return how many octets the value of an attribute may have; any number if it is unknown."""
    return _SIZES.get(kind, _ANY_SIZE)


class ConfigAttribute(NamedTuple):
    """One attribute: an IPv4 address or mask of 4 octets, an IPv6 address of 16, with prefix 17.

    An empty value in a request asks for any.
    """

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
        """Read type and attributes; the reserved bit of an attribute's type is ignored.

        Raises `MalformedMessage` for known attributes of a size that they cannot have.
        """
        kind = ConfigType.of(reader.uint8())
        reader.take(3)
        attributes = []
        while reader.remaining:
            number = ConfigAttributeType.of(reader.uint16() & 0x7FFF)
            value = reader.take(reader.uint16())
            if len(value) not in attribute_sizes(number):
                raise MalformedMessage(f"{number.name} of {len(value)} octets")
            attributes.append(ConfigAttribute(number, value))
        return cls(kind, tuple(attributes))

    def body(self) -> bytes:
        """Return type and attributes."""
        attributes = [
            attribute.type.to_bytes(2) + len(attribute.value).to_bytes(2) + attribute.value
            for attribute in self.attributes
        ]
        return bytes((self.type, 0, 0, 0)) + b"".join(attributes)
