"""MD4 (RFC 1320), which is broken. It exists for the password hash of MS-CHAPv2 and nothing else.

Neither `cryptography` nor OpenSSL 3 offers it any more.
"""

from __future__ import annotations

import struct

__all__ = ["md4"]

_WORD = 0xFFFFFFFF
_BLOCK_OCTETS = 64
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
# Of each round: the constant, the order in which words are taken, and how far they are rotated.
_ROUNDS = (
    (0x00000000, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)


def md4(data: bytes) -> bytes:
    """Return the digest of 16 octets."""
    padding = b"\x80" + bytes((55 - len(data)) % _BLOCK_OCTETS)
    padded = data + padding + struct.pack("<Q", len(data) * 8 & 0xFFFFFFFFFFFFFFFF)
    state: tuple[int, ...] = _START
    for at in range(0, len(padded), _BLOCK_OCTETS):
        mixed = _mixed(state, struct.unpack_from("<16I", padded, at))
        state = tuple((old + new) & _WORD for old, new in zip(state, mixed, strict=True))
    return struct.pack("<4I", *state)


def _mixed(state: tuple[int, ...], words: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = state
    for number, (constant, order, turns) in enumerate(_ROUNDS):
        for step, index in enumerate(order):
            total = a + _choice(number, b, c, d) + words[index] + constant & _WORD
            turn = turns[step % 4]
            a, b, c, d = d, (total << turn | total >> 32 - turn) & _WORD, b, c
    return a, b, c, d


def _choice(number: int, x: int, y: int, z: int) -> int:
    """Return F, G or H of RFC 1320, section 3.4."""
    if number == 0:
        return x & y | ~x & z
    if number == 1:
        return x & y | x & z | y & z
    return x ^ y ^ z
