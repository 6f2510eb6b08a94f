"""The chain of payloads after the header (RFC 7296, sections 2.5, 3.1 and 3.2).

A generic payload header is Next Payload (1), the critical bit (1 of 8 bits), Payload Length (2, its
own four octets included). SK and SKF end the chain: what follows their Next Payload is inside.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage, Reader, Truncated
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

_GENERIC = struct.Struct("!BBH")
_ENCRYPTED = frozenset({PayloadType.SK, PayloadType.SKF})


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
    end = len(data)
    kind = first
    while kind:
        if len(payloads) == MAX_PAYLOADS:
            raise MalformedMessage(f"more than {MAX_PAYLOADS} payloads")
        if start + _GENERIC.size > end:
            raise Truncated(_GENERIC.size, end - start)
        following, flags, length = _GENERIC.unpack_from(data, start)
        if length < _GENERIC.size or start + length > end:
            raise MalformedMessage(f"a payload of {length} octets where {end - start} are left")
        body = Reader(data, start + _GENERIC.size, start + length)
        start += length
        if kind in _ENCRYPTED:
            payloads.append(_decode_encrypted(kind, following, body))
            break
        decoder = DECODERS.get(kind)
        if decoder is None:
            payloads.append(UnknownPayload(PayloadType.of(kind), flags, body.rest()))
        else:
            payloads.append(decoder(body))
            body.finish()
        kind = following
    if start != end:
        raise MalformedMessage(f"{end - start} octets left over after the last payload")
    return payloads


def _decode_encrypted(kind: int, first_inside: int, body: Reader) -> Payload:
    inside = PayloadType.of(first_inside)
    if kind == PayloadType.SK:
        return EncryptedPayload.decode(body, inside)
    return EncryptedFragmentPayload.decode(body, inside)


def encode_chain(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    """Return the type of the first payload (0 for none) and the octets of the chain."""
    following = 0
    parts: list[bytes] = []
    for payload in reversed(payloads):
        flags = 0
        if isinstance(payload, UnknownPayload):
            flags = payload.flags
        elif isinstance(payload, (EncryptedPayload, EncryptedFragmentPayload)):
            following = payload.first_inside
        body = payload.body()
        parts.append(body)
        parts.append(_GENERIC.pack(following, flags, _GENERIC.size + len(body)))
        following = payload.payload_type
    parts.reverse()
    return following, b"".join(parts)
