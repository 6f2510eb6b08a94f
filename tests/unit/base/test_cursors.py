"""Reader and Writer: octets out and in, and never past the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage, Reader, Truncated, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

_READS: dict[str, tuple[int, Callable[[Reader], object]]] = {
    "uint8": (1, Reader.uint8),
    "uint16": (2, Reader.uint16),
    "uint32": (4, Reader.uint32),
    "take": (5, lambda reader: reader.take(5)),
    "fence": (5, lambda reader: reader.fence(5)),
}


def test_reads_are_big_endian_and_in_order() -> None:
    reader = Reader(bytes(range(1, 12)))
    assert reader.uint8() == 0x01
    assert reader.uint16() == 0x0203
    assert reader.uint32() == 0x04050607
    assert reader.position == 7
    assert reader.take(2) == b"\x08\x09"
    assert reader.remaining == 2
    assert reader.rest() == b"\x0a\x0b"
    assert reader.rest() == b""
    reader.finish()


@pytest.mark.parametrize("name", _READS)
def test_no_read_leaves_the_bounds(name: str) -> None:
    size, read = _READS[name]
    data = bytes(20)
    for octets in range(size):
        reader = Reader(data, 3, 3 + octets)
        with pytest.raises(Truncated, match=rf"octets wanted where {octets} are left"):
            read(reader)
        assert reader.remaining == octets, "a read that fails takes nothing"
    read(Reader(data, 3, 3 + size))


@pytest.mark.parametrize("count", [-1, -4])
def test_a_negative_count_is_truncation(count: int) -> None:
    """What a length field smaller than its own header comes to."""
    reader = Reader(bytes(8), 4)
    for read in (reader.take, reader.fence):
        with pytest.raises(Truncated):
            read(count)
    assert reader.position == 4


def test_a_fence_keeps_its_reader_in_and_the_outer_one_after_it() -> None:
    outer = Reader(b"\x01\x02\x03\x04\x05")
    outer.uint8()
    inner = outer.fence(2)
    assert outer.rest() == b"\x04\x05"
    with pytest.raises(MalformedMessage, match="2 octets left over"):
        inner.finish()
    assert inner.rest() == b"\x02\x03"
    inner.finish()


def test_an_empty_fence_is_allowed() -> None:
    outer = Reader(b"\x01")
    outer.fence(0).finish()
    assert outer.remaining == 1


def test_patches_reach_back() -> None:
    writer = Writer()
    writer.uint8(0)
    start = writer.size
    writer.uint16(0)
    writer.raw(b"abc")
    writer.patch16(start, writer.size - start)
    writer.patch8(0, 0xFF)
    assert writer.getvalue() == b"\xff\x00\x05abc"


@given(st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1))))
def test_what_was_written_is_read(fields: list[tuple[int, int]]) -> None:
    wanted = [(size, value % (1 << 8 * size)) for size, value in fields]
    writer = Writer()
    for size, value in wanted:
        {1: writer.uint8, 2: writer.uint16, 4: writer.uint32}[size](value)
    assert writer.size == sum(size for size, _ in wanted)
    reader = Reader(writer.getvalue())
    for size, value in wanted:
        assert {1: reader.uint8, 2: reader.uint16, 4: reader.uint32}[size]() == value
    reader.finish()
