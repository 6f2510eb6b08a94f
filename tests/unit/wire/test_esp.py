"""ESP framing."""

from __future__ import annotations

import pytest

from ipsecme.base import MalformedMessage
from ipsecme.wire.esp import PADDING, encode_header, encode_trailer, split_trailer, trailers


def test_the_header_holds_the_low_half_of_the_number() -> None:
    assert encode_header(0x4321, 0x0000_0001_0000_0007) == bytes.fromhex("0000432100000007")


@pytest.mark.parametrize(
    ("size", "alignment", "trailer"),
    [
        (64, 4, "01020204"),
        (61, 4, "010104"),
        (62, 4, "0004"),
        (63, 4, "0102030304"),
        (64, 16, "0102030405060708090a0b0c0d0e0e04"),
        (62, 16, "0004"),
    ],
)
def test_the_shortest_trailers(size: int, alignment: int, trailer: str) -> None:
    assert encode_trailer(size, alignment, 4) == bytes.fromhex(trailer)
    assert trailers(alignment, 4)[size % alignment] == bytes.fromhex(trailer)


def test_longer_padding_on_demand() -> None:
    assert encode_trailer(64, 4, 4, pad=20) == PADDING[:22] + bytes((22, 4))
    with pytest.raises(MalformedMessage, match="allows 255"):
        encode_trailer(64, 4, 4, pad=255)


@pytest.mark.parametrize(
    "plain", [b"", b"\x04", b"\x01\x04", b"\x02\x02\x04", b"\x02\x01\x02\x04", b"\xff" * 255]
)
def test_trailers_that_lie_are_refused(plain: bytes) -> None:
    with pytest.raises(MalformedMessage):
        split_trailer(plain)


def test_a_trailer_may_be_all_there_is() -> None:
    assert split_trailer(b"\x00\x3b") == (b"", 59)
    assert split_trailer(PADDING + b"\xff\x3b") == (b"", 59)
