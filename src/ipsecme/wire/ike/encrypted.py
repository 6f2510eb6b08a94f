"""Framing of the Encrypted payload SK and of encrypted fragments SKF (RFC 7296, 3.14; RFC 7383).

No keys here: the body stays as it is. The generic header's Next Payload announces the first payload
inside, so both carry it as a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import PayloadType

if TYPE_CHECKING:
    from ipsecme.base import Reader

__all__ = ["EncryptedFragmentPayload", "EncryptedPayload"]


@dataclass(slots=True)
class EncryptedPayload:
    """IV, ciphertext and ICV of the protected payloads. Always the last payload of a message."""

    first_inside: PayloadType
    octets: bytes

    @property
    def payload_type(self) -> PayloadType:
        """SK."""
        return PayloadType.SK

    @classmethod
    def decode(cls, reader: Reader, first_inside: PayloadType) -> EncryptedPayload:
        """Take the body as it is."""
        return cls(first_inside, reader.rest())

    def body(self) -> bytes:
        """Return the body as it is."""
        return self.octets


@dataclass(slots=True)
class EncryptedFragmentPayload:
    """One of `total` fragments, counted from 1; the first announces the first payload inside."""

    first_inside: PayloadType
    number: int
    total: int
    octets: bytes

    @property
    def payload_type(self) -> PayloadType:
        """SKF."""
        return PayloadType.SKF

    @classmethod
    def decode(cls, reader: Reader, first_inside: PayloadType) -> EncryptedFragmentPayload:
        """Read fragment number and total (RFC 7383, section 2.5)."""
        number, total = reader.uint16(), reader.uint16()
        if not 1 <= number <= total:
            raise MalformedMessage(f"fragment {number} of {total}")
        return cls(first_inside, number, total, reader.rest())

    def body(self) -> bytes:
        """Return numbers and what is encrypted."""
        return self.number.to_bytes(2) + self.total.to_bytes(2) + self.octets
