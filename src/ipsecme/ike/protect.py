"""Whole messages into SK payloads and out (RFC 7296, section 3.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import HEADER_OCTETS, EncryptedPayload, Message, decode_chain, encode_chain
from ipsecme.wire.numbers import PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.crypto.protection import Protection
    from ipsecme.wire.ike import Header, Payload

__all__ = ["inside", "open_message", "seal_message"]

_GENERIC_OCTETS = 4


def seal_message(message: Message, protection: Protection) -> bytes:
    """Return `message` with all its payloads inside one SK payload."""
    first, chain = encode_chain(message.payloads)
    octets = _GENERIC_OCTETS + protection.sealed_octets(len(chain))
    header = message.header(PayloadType.SK, octets)
    front = header.encode() + bytes((first, 0)) + octets.to_bytes(2)
    return front + protection.seal(front, chain)


def open_message(datagram: bytes, header: Header, protection: Protection) -> bytes:
    """Check integrity and return the first payload's type (one octet) and the chain inside.

    Raises `MalformedMessage` when there is no SK payload and `IntegrityFailure` when it is not the
    peer's. Payloads outside SK are covered by the ICV and otherwise ignored.
    """
    if header.next_payload == PayloadType.SK:  # the usual case, without a walk along the chain
        body = datagram[HEADER_OCTETS + _GENERIC_OCTETS :]
        length = int.from_bytes(datagram[HEADER_OCTETS + 2 : HEADER_OCTETS + 4])
        if length != len(datagram) - HEADER_OCTETS:
            raise MalformedMessage("the Encrypted payload is not the last")
        first = datagram[HEADER_OCTETS : HEADER_OCTETS + 1]
    else:
        payloads = Message.decode(datagram, header).payloads
        last = payloads[-1] if payloads else None
        if not isinstance(last, EncryptedPayload):
            raise MalformedMessage("no Encrypted payload")
        body, first = last.octets, bytes((last.first_inside,))
    front = datagram[: len(datagram) - len(body)]
    return first + protection.open(front, body)


def inside(opened: bytes) -> Sequence[Payload]:
    """Decode what `open_message` returned; an SK payload inside is malformed."""
    payloads = decode_chain(opened[0], opened, 1)
    if payloads and payloads[-1].payload_type in (PayloadType.SK, PayloadType.SKF):
        raise MalformedMessage("an Encrypted payload inside another")
    return payloads
