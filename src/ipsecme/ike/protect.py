"""Messages into SK and SKF payloads and out (RFC 7296, section 3.14; RFC 7383)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.ike.reassembly import Fragment
from ipsecme.wire.ike import (
    HEADER_OCTETS,
    EncryptedFragmentPayload,
    EncryptedPayload,
    Message,
    decode_chain,
    encode_chain,
)
from ipsecme.wire.numbers import PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.crypto.protection import Protection
    from ipsecme.wire.ike import Header, Payload

__all__ = ["inside", "open_message", "seal_fragments", "seal_message"]

_GENERIC_OCTETS = 4
_FRAGMENT_OCTETS = 8  # generic header, fragment number, total fragments


def seal_message(message: Message, protection: Protection) -> bytes:
    """Return `message` with all its payloads inside one SK payload."""
    return _seal_whole(message, *encode_chain(message.payloads), protection)


def _seal_whole(message: Message, first: int, chain: bytes, protection: Protection) -> bytes:
    octets = _GENERIC_OCTETS + protection.sealed_octets(len(chain))
    header = message.header(PayloadType.SK, octets)
    front = header.encode() + bytes((first, 0)) + octets.to_bytes(2)
    return front + protection.seal(front, chain)


def seal_fragments(message: Message, protection: Protection, limit: int) -> list[bytes]:
    """Return `message` in datagrams of at most `limit` octets (RFC 7383, section 2.5).

    A message that fits is one SK payload; otherwise each part of the chain is sealed by itself, and
    only the first fragment announces the first payload.
    """
    first, chain = encode_chain(message.payloads)
    whole = HEADER_OCTETS + _GENERIC_OCTETS + protection.sealed_octets(len(chain))
    if whole <= limit:
        return [_seal_whole(message, first, chain, protection)]
    room = _part_octets(protection, limit)
    parts = [chain[start : start + room] for start in range(0, len(chain), room)]
    datagrams = []
    for number, part in enumerate(parts, start=1):
        octets = _FRAGMENT_OCTETS + protection.sealed_octets(len(part))
        header = message.header(PayloadType.SKF, octets)
        generic = bytes((first if number == 1 else 0, 0)) + octets.to_bytes(2)
        front = header.encode() + generic + number.to_bytes(2) + len(parts).to_bytes(2)
        datagrams.append(front + protection.seal(front, part))
    return datagrams


def _part_octets(protection: Protection, limit: int) -> int:
    """Return the longest part of a chain whose fragment is within `limit`."""
    room = limit - HEADER_OCTETS - _FRAGMENT_OCTETS
    part = room - protection.sealed_octets(0)
    while part > 1 and protection.sealed_octets(part) > room:
        part -= 1
    return max(part, 1)


def open_message(datagram: bytes, header: Header, protection: Protection) -> bytes | Fragment:
    """Check integrity and return the first payload's type (one octet) and the chain inside.

    What comes in fragments is returned as one. Raises `MalformedMessage` when there is no SK or SKF
    payload and `IntegrityFailure` when it is not the peer's. Payloads outside are covered by the
    ICV and otherwise ignored.
    """
    if header.next_payload == PayloadType.SK:  # the usual case, without a walk along the chain
        body = datagram[HEADER_OCTETS + _GENERIC_OCTETS :]
        length = int.from_bytes(datagram[HEADER_OCTETS + 2 : HEADER_OCTETS + 4])
        if length != len(datagram) - HEADER_OCTETS:
            raise MalformedMessage("the Encrypted payload is not the last")
        front = datagram[: HEADER_OCTETS + _GENERIC_OCTETS]
        return datagram[HEADER_OCTETS : HEADER_OCTETS + 1] + protection.open(front, body)
    payloads = Message.decode(datagram, header).payloads
    last = payloads[-1] if payloads else None
    if not isinstance(last, EncryptedPayload | EncryptedFragmentPayload):
        raise MalformedMessage("no Encrypted payload")
    plain = protection.open(datagram[: len(datagram) - len(last.octets)], last.octets)
    if isinstance(last, EncryptedFragmentPayload):
        return Fragment(last.number, last.total, last.first_inside, plain)
    return bytes((last.first_inside,)) + plain


def inside(opened: bytes) -> Sequence[Payload]:
    """Decode what `open_message` returned; an SK payload inside is malformed."""
    payloads = decode_chain(opened[0], opened, 1)
    if payloads and payloads[-1].payload_type in (PayloadType.SK, PayloadType.SKF):
        raise MalformedMessage("an Encrypted payload inside another")
    return payloads
