"""Notify payload (RFC 7296, section 3.10) and the sizes of its data (section 3.10.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import NotifyType, PayloadType, ProtocolId

if TYPE_CHECKING:
    from ipsecme.base import Reader

__all__ = ["NotifyPayload"]

_HEAD = struct.Struct("!BBH")

_N = NotifyType
_LONGEST = 0xFFFF
_DATA_OCTETS: dict[int, range] = {
    _N.UNSUPPORTED_CRITICAL_PAYLOAD: range(1, 2),
    _N.INVALID_MESSAGE_ID: range(4, 5),
    _N.INVALID_SPI: range(4, 5),
    _N.INVALID_KE_PAYLOAD: range(2, 3),
    _N.SET_WINDOW_SIZE: range(4, 5),
    _N.NAT_DETECTION_SOURCE_IP: range(20, 21),
    _N.NAT_DETECTION_DESTINATION_IP: range(20, 21),
    _N.COOKIE: range(1, 65),
    _N.IPCOMP_SUPPORTED: range(3, _LONGEST),  # CPI, Transform ID, attributes (section 2.22)
}


@dataclass(slots=True)
class NotifyPayload:
    """An error or status report; `protocol` and `spi` name a Child SA if it is about one."""

    type: NotifyType
    data: bytes = b""
    protocol: ProtocolId = ProtocolId.NONE
    spi: bytes = b""

    @property
    def payload_type(self) -> PayloadType:
        """Notify."""
        return PayloadType.NOTIFY

    @classmethod
    def decode(cls, reader: Reader) -> NotifyPayload:
        """Read protocol, SPI, type and data; data of a known type must have its size."""
        protocol = ProtocolId.of(reader.uint8())
        spi_octets = reader.uint8()
        kind = NotifyType.of(reader.uint16())
        spi = reader.take(spi_octets)
        data = reader.rest()
        sizes = _DATA_OCTETS.get(kind)
        if sizes is not None and len(data) not in sizes:
            raise MalformedMessage(f"{kind.name} with {len(data)} octets of data")
        return cls(kind, data, protocol, spi)

    def body(self) -> bytes:
        """Return protocol, SPI size, type, SPI and data."""
        return _HEAD.pack(self.protocol, len(self.spi), self.type) + self.spi + self.data
