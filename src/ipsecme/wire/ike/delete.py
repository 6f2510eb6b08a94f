"""Delete payload (RFC 7296, section 3.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import PayloadType, ProtocolId

if TYPE_CHECKING:
    from ipsecme.base import Reader

__all__ = ["DeletePayload"]


@dataclass(slots=True)
class DeletePayload:
    """What the sender closes: the IKE SA itself, or Child SAs by the sender's inbound SPIs."""

    protocol: ProtocolId
    spis: tuple[bytes, ...] = ()

    @property
    def payload_type(self) -> PayloadType:
        """Delete."""
        return PayloadType.DELETE

    @classmethod
    def decode(cls, reader: Reader) -> DeletePayload:
        """Read protocol and SPIs; the SPI size is 0 for IKE and 4 for ESP and AH."""
        protocol = ProtocolId.of(reader.uint8())
        spi_octets = reader.uint8()
        count = reader.uint16()
        if protocol == ProtocolId.IKE:
            if spi_octets or count:
                raise MalformedMessage("Delete of an IKE SA carries no SPI")
        elif spi_octets != 4:
            raise MalformedMessage(f"Delete with SPIs of {spi_octets} octets")
        spis = tuple(reader.take(4) for _ in range(count))
        reader.finish()
        return cls(protocol, spis)

    def body(self) -> bytes:
        """Return protocol, SPI size, count and SPIs."""
        size = 0 if self.protocol == ProtocolId.IKE else 4
        return bytes((self.protocol, size)) + len(self.spis).to_bytes(2) + b"".join(self.spis)
