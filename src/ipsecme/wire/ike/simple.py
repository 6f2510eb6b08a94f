"""Payloads of one or two fields: KE, CERT, CERTREQ, AUTH, Nonce, Vendor ID (RFC 7296, section 3).

CERT, CERTREQ and AUTH start with one octet that says how to read the rest; AUTH and KE have
reserved octets, which are sent as zero and ignored (section 2.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.numbers import AuthMethod, CertEncoding, KeId, PayloadType

if TYPE_CHECKING:
    from ipsecme.base import Reader

__all__ = [
    "AuthPayload",
    "CertPayload",
    "CertReqPayload",
    "KePayload",
    "NoncePayload",
    "VendorIdPayload",
]

_NONCE_OCTETS = range(16, 257)


@dataclass(slots=True)
class KePayload:
    """A public value of a Key Exchange method (section 3.4)."""

    method: KeId
    data: bytes

    @property
    def payload_type(self) -> PayloadType:
        """KE."""
        return PayloadType.KE

    @classmethod
    def decode(cls, reader: Reader) -> KePayload:
        """Read method and public value."""
        method = KeId.of(reader.uint16())
        reader.take(2)
        return cls(method, reader.rest())

    def body(self) -> bytes:
        """Return method, reserved octets and public value."""
        return self.method.to_bytes(2) + b"\0\0" + self.data


@dataclass(slots=True)
class CertPayload:
    """A certificate or what stands for one (section 3.6)."""

    encoding: CertEncoding
    data: bytes

    @property
    def payload_type(self) -> PayloadType:
        """CERT."""
        return PayloadType.CERT

    @classmethod
    def decode(cls, reader: Reader) -> CertPayload:
        """Read encoding and data."""
        return cls(CertEncoding.of(reader.uint8()), reader.rest())

    def body(self) -> bytes:
        """Return encoding and data."""
        return bytes((self.encoding,)) + self.data


@dataclass(slots=True)
class CertReqPayload:
    """A wish for certificates under certain authorities (section 3.7)."""

    encoding: CertEncoding
    authorities: bytes

    @property
    def payload_type(self) -> PayloadType:
        """CERTREQ."""
        return PayloadType.CERTREQ

    @classmethod
    def decode(cls, reader: Reader) -> CertReqPayload:
        """Read encoding and the authorities' hashes."""
        return cls(CertEncoding.of(reader.uint8()), reader.rest())

    def body(self) -> bytes:
        """Return encoding and hashes."""
        return bytes((self.encoding,)) + self.authorities


@dataclass(slots=True)
class AuthPayload:
    """Proof of identity (section 3.8)."""

    method: AuthMethod
    data: bytes

    @property
    def payload_type(self) -> PayloadType:
        """AUTH."""
        return PayloadType.AUTH

    @classmethod
    def decode(cls, reader: Reader) -> AuthPayload:
        """Read method and data."""
        method = AuthMethod.of(reader.uint8())
        reader.take(3)
        return cls(method, reader.rest())

    def body(self) -> bytes:
        """Return method, reserved octets and data."""
        return bytes((self.method, 0, 0, 0)) + self.data


@dataclass(slots=True)
class NoncePayload:
    """A nonce of 16 to 256 octets (section 3.9)."""

    data: bytes

    @property
    def payload_type(self) -> PayloadType:
        """Ni or Nr."""
        return PayloadType.NONCE

    @classmethod
    def decode(cls, reader: Reader) -> NoncePayload:
        """Read the nonce and check its size."""
        data = reader.rest()
        if len(data) not in _NONCE_OCTETS:
            raise MalformedMessage(f"a nonce of {len(data)} octets; 16 to 256 are allowed")
        return cls(data)

    def body(self) -> bytes:
        """Return the nonce."""
        return self.data


@dataclass(slots=True)
class VendorIdPayload:
    """What a vendor calls itself (section 3.12)."""

    data: bytes

    @property
    def payload_type(self) -> PayloadType:
        """Vendor ID."""
        return PayloadType.VENDOR_ID

    @classmethod
    def decode(cls, reader: Reader) -> VendorIdPayload:
        """Take it as it is."""
        return cls(reader.rest())

    def body(self) -> bytes:
        """Return it."""
        return self.data
