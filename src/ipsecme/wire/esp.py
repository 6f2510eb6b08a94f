"""ESP framing (RFC 4303, section 2): what stands around the payload, keys not needed.

    SPI (4) | sequence number, low half (4) | IV | payload | padding | pad length (1) |
    next header (1) | ICV

Encryption covers payload to next header, integrity covers all before the ICV. What the sequence
number must be, and the keys, belong to `ipsecme.esp`.
"""

from __future__ import annotations

from ipsecme.base import MalformedMessage

__all__ = [
    "HEADER_OCTETS",
    "MAX_PAD",
    "PADDING",
    "TRAILER_OCTETS",
    "encode_header",
    "encode_trailer",
    "split_trailer",
    "trailers",
]

HEADER_OCTETS = 8
"""SPI and sequence number."""

TRAILER_OCTETS = 2
"""Pad length and next header."""

MAX_PAD = 255

PADDING = bytes(range(1, MAX_PAD + 1))
"""The default padding counts 1, 2, 3 ... (section 2.4); shorter paddings are its beginnings."""


def encode_header(spi: int, sequence: int) -> bytes:
    """Return SPI and the low 32 bits of the sequence number."""
    return spi.to_bytes(4) + (sequence & 0xFFFFFFFF).to_bytes(4)


def encode_trailer(payload_octets: int, alignment: int, next_header: int, pad: int = 0) -> bytes:
    """Return padding, pad length and next header that follow a payload of so many octets.

    The trailer ends on a multiple of `alignment` (a power of two, at least 4); `pad` asks for that
    many octets of padding before alignment.
    """
    count = pad + (-(payload_octets + pad + TRAILER_OCTETS) % alignment)
    if count > MAX_PAD:
        raise MalformedMessage(f"{count} octets of padding where ESP allows {MAX_PAD}")
    return PADDING[:count] + bytes((count, next_header))


def trailers(alignment: int, next_header: int) -> tuple[bytes, ...]:
    """Return the shortest trailer for each payload size, indexed by that size modulo alignment."""
    return tuple(encode_trailer(size, alignment, next_header) for size in range(alignment))


def split_trailer(plain: bytes) -> tuple[bytes, int]:
    """Return payload and next header of decrypted octets.

    Raises `MalformedMessage` when the pad length points before the payload or the padding does not
    count 1, 2, 3 (section 2.4).
    """
    if len(plain) < TRAILER_OCTETS:
        raise MalformedMessage("decrypted octets without pad length and next header")
    pad = plain[-2]
    end = len(plain) - TRAILER_OCTETS - pad
    if end < 0:
        raise MalformedMessage(f"pad length {pad} in {len(plain)} octets")
    if plain[end:-TRAILER_OCTETS] != PADDING[:pad]:
        raise MalformedMessage("padding that does not count 1, 2, 3")
    return plain[:end], plain[-1]
