"""OpenIntEnum: numbers that the registry does not know are values, too."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import OpenIntEnum


class Colour(OpenIntEnum):
    RED = 1
    GREEN = 2


def test_known_numbers_are_the_members() -> None:
    assert Colour.of(1) is Colour.RED
    assert Colour(2) is Colour.GREEN
    assert Colour.RED.is_known


@given(st.integers(0, 0xFFFF))
def test_any_number_survives(number: int) -> None:
    for member in (Colour.of(number), Colour(number)):
        assert isinstance(member, Colour)
        assert member == number
        assert int(member) == member.value == number
        assert hash(member) == hash(number)
        assert member.is_known == (number in (1, 2))
        assert member.to_bytes(2) == number.to_bytes(2)


def test_unknown_numbers_are_named_after_the_registry() -> None:
    unknown = Colour.of(77)
    assert unknown.name == "Colour_77"
    assert "77" in repr(unknown)


@pytest.mark.parametrize("number", [1, 77])
def test_any_number_is_copied_and_pickled(number: int) -> None:
    member = Colour.of(number)
    for copied in (copy.copy(member), copy.deepcopy(member), pickle.loads(pickle.dumps(member))):
        assert isinstance(copied, Colour)
        assert copied == member
        assert copied.name == member.name


def test_unknown_numbers_do_not_make_the_registry_grow() -> None:
    before = dict(Colour._value2member_map_)
    for number in range(1000, 1100):
        Colour.of(number)
        Colour(number)
    assert Colour._value2member_map_ == before
    assert len(Colour) == 2


@pytest.mark.parametrize("value", ["1", 1.5, None])
def test_what_is_no_integer_is_a_mistake_of_the_program(value: object) -> None:
    with pytest.raises(TypeError, match="takes an integer"):
        Colour(value)  # type: ignore[arg-type]
