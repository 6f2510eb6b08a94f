"""The chain of payloads after the header (RFC 7296, sections 2.5, 3.1 and 3.2).

A generic payload header is Next Payload (1), the critical bit (1 of 8 bits), Payload Length (2, its
own four octets included). SK and SKF end the chain: what follows their Next Payload is inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ipsecme.base import MalformedMessage, Reader, Writer
from ipsecme.wire.ike.encrypted import EncryptedFragmentPayload, EncryptedPayload
from ipsecme.wire.ike.header import HEADER_OCTETS, VERSION, Header
from ipsecme.wire.ike.payload import Payload, UnknownPayload
from ipsecme.wire.ike.registry import DECODERS
from ipsecme.wire.numbers import ExchangeType, PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_PAYLOADS", "Message", "decode_chain", "encode_chain"]

MAX_PAYLOADS = 128
"""A message with more payloads than this is refused: no honest peer comes near it."""

P = TypeVar("P", bound=Payload)

_GENERIC_OCTETS = 4


@dataclass(slots=True)
class Message:
    """An IKE message whose payloads are in the order of the wire."""

    spi_i: bytes
    spi_r: bytes
    exchange: ExchangeType
    flags: int
    message_id: int
    payloads: list[Payload] = field(default_factory=list)
    version: int = VERSION

    @classmethod
    def decode(cls, datagram: bytes, header: Header | None = None) -> Message:
        """Read a whole message; raises `MalformedMessage` and nothing else."""
        head = header or Header.decode(datagram)
        payloads = decode_chain(head.next_payload, datagram, HEADER_OCTETS)
        return cls(
            head.spi_i,
            head.spi_r,
            head.exchange,
            head.flags,
            head.message_id,
            payloads,
            head.version,
        )

    def encode(self) -> bytes:
        """Return the message in the clear."""
        first, chain = encode_chain(self.payloads)
        return self.header(first, len(chain)).encode() + chain

    def header(self, first_payload: int, chain_octets: int) -> Header:
        """Return the header for a chain of that many octets."""
        return Header(
            self.spi_i,
            self.spi_r,
            first_payload,
            self.version,
            self.exchange,
            self.flags,
            self.message_id,
            HEADER_OCTETS + chain_octets,
        )


def decode_chain(first: int, data: bytes, start: int = 0) -> list[Payload]:
    """Read payloads from `start` to the end of `data`, the first being of type `first`."""
    payloads: list[Payload] = []
    reader = Reader(data, start)
    kind = first
    while kind:
        if len(payloads) == MAX_PAYLOADS:
            raise MalformedMessage(f"more than {MAX_PAYLOADS} payloads")
        following = reader.uint8()
        flags = reader.uint8()
        body = reader.fence(reader.uint16() - _GENERIC_OCTETS)
        if kind in (PayloadType.SK, PayloadType.SKF):
            payloads.append(_decode_encrypted(kind, following, body))
            break
        decoder = DECODERS.get(kind)
        if decoder is None:
            payloads.append(UnknownPayload(PayloadType.of(kind), flags, body.rest()))
        else:
            payloads.append(decoder(body))
            body.finish()
        kind = following
    reader.finish()
    return payloads


def _decode_encrypted(kind: int, first_inside: int, body: Reader) -> Payload:
    inside = PayloadType.of(first_inside)
    if kind == PayloadType.SK:
        return EncryptedPayload.decode(body, inside)
    return EncryptedFragmentPayload.decode(body, inside)


def encode_chain(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    """Return the type of the first payload (0 for none) and the octets of the chain."""
    writer = Writer()
    last = len(payloads) - 1
    for index, payload in enumerate(payloads):
        start = writer.size
        if index < last:
            writer.uint8(payloads[index + 1].payload_type)
        elif isinstance(payload, (EncryptedPayload, EncryptedFragmentPayload)):
            writer.uint8(payload.first_inside)
        else:
            writer.uint8(0)
        writer.uint8(payload.flags if isinstance(payload, UnknownPayload) else 0)
        writer.uint16(0)
        payload.encode(writer)
        writer.patch16(start + 2, writer.size - start)
    return (payloads[0].payload_type if payloads else 0), writer.getvalue()
