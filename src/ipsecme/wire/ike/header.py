"""The IKE header (RFC 7296, section 3.1).

 0                   1                   2                   3
+-------------------------------+-------------------------------+
|                 IKE SA Initiator's SPI (8)                    |
|                 IKE SA Responder's SPI (8)                    |
|  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
|                          Message ID                           |
|                            Length                             |
+---------------------------------------------------------------+
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import ExchangeType

__all__ = ["FLAG_INITIATOR", "FLAG_RESPONSE", "HEADER_OCTETS", "NO_SPI", "VERSION", "Header"]

HEADER_OCTETS = 28
VERSION = 0x20  # major 2, minor 0
FLAG_INITIATOR = 0x08  # sent by the original initiator of the IKE SA
FLAG_RESPONSE = 0x20
NO_SPI = bytes(8)

_LAYOUT = struct.Struct("!8s8sBBBBII")


class Header(NamedTuple):
    """The fixed part of an IKE message. `length` counts the whole message, header included."""

    spi_i: bytes
    spi_r: bytes
    next_payload: int
    version: int
    exchange: ExchangeType
    flags: int
    message_id: int
    length: int

    @classmethod
    def decode(cls, datagram: bytes) -> Header:
        """Read the header of `datagram`; its length must be that of the datagram (section 3.1)."""
        if len(datagram) < HEADER_OCTETS:
            raise MalformedMessage(f"{len(datagram)} octets are too few for an IKE header")
        spi_i, spi_r, nxt, version, exchange, flags, mid, length = _LAYOUT.unpack_from(datagram)
        if length != len(datagram):
            raise MalformedMessage(f"length {length} in a datagram of {len(datagram)} octets")
        return cls(spi_i, spi_r, nxt, version, ExchangeType.of(exchange), flags, mid, length)

    def encode(self) -> bytes:
        """Return the 28 octets."""
        return _LAYOUT.pack(*self)

    @property
    def is_response(self) -> bool:
        """True when the R flag is set."""
        return bool(self.flags & FLAG_RESPONSE)

    @property
    def from_original_initiator(self) -> bool:
        """True when the I flag is set."""
        return bool(self.flags & FLAG_INITIATOR)

    @property
    def major_version(self) -> int:
        """The upper half of the version octet."""
        return self.version >> 4
