"""The anti-replay window against a naive model, at its edges and across 2^32."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme.base import LocalMisuse
from ipsecme.esp.replay import SEEN, STALE, EsnWindow, ReplayWindow

_MASK = 0xFFFFFFFF


class _Naive:
    """Remembers everything (RFC 4303, section 3.4.3 in the plainest words)."""

    def __init__(self, size: int, top: int = 0) -> None:
        self.size, self.top = size, top
        self.seen: set[int] = set()

    def judge(self, sequence: int) -> int:
        if sequence <= 0 or sequence <= self.top - self.size:
            return STALE
        return SEEN if sequence in self.seen else sequence

    def mark(self, sequence: int) -> None:
        self.seen.add(sequence)
        self.top = max(self.top, sequence)


_steps = st.lists(st.tuples(st.integers(-80, 120), st.booleans()), max_size=200)


@given(size=st.integers(32, 100), steps=_steps)
def test_window_agrees_with_the_model(size: int, steps: list[tuple[int, bool]]) -> None:
    window, model = ReplayWindow(size), _Naive(size)
    for offset, is_authentic in steps:
        sequence = model.top + offset
        if not 0 <= sequence <= _MASK:
            continue
        assert window.locate(sequence) == model.judge(sequence)
        if is_authentic and model.judge(sequence) > 0:
            window.mark(sequence)
            model.mark(sequence)
        assert window.top == model.top


@given(
    size=st.integers(32, 100),
    top=st.integers((1 << 32) - 200, (1 << 32) + 200),
    steps=_steps,
)
def test_esn_window_agrees_with_the_model_across_the_wrap(
    size: int, top: int, steps: list[tuple[int, bool]]
) -> None:
    window, model = EsnWindow(size, top), _Naive(size, top)
    for offset, is_authentic in steps:
        sequence = model.top + offset
        verdict = model.judge(sequence)
        found = window.locate(sequence & _MASK)
        if verdict == STALE:
            # 32 bits cannot tell an old number from one that is 2^32 later; the ICV does.
            assert found == sequence + (1 << 32)
            continue
        assert found == verdict
        if is_authentic and verdict > 0:
            window.mark(sequence)
            model.mark(sequence)


@given(size=st.integers(32, 64), jump=st.integers(1, 10_000))
def test_a_jump_forgets_exactly_what_falls_out(size: int, jump: int) -> None:
    window = ReplayWindow(size)
    for sequence in range(1, size + 1):
        window.mark(sequence)
    window.mark(size + jump)
    for sequence in range(1, size + jump):
        if sequence <= size + jump - size:
            assert window.locate(sequence) == STALE
        else:
            assert window.locate(sequence) == (SEEN if sequence <= size else sequence)


@pytest.mark.parametrize("size", [32, 64, 1024, 4096])
def test_edges_are_exact(size: int) -> None:
    window = ReplayWindow(size)
    window.mark(5000)

    assert window.locate(5000) == SEEN
    assert window.locate(5000 - size + 1) == 5000 - size + 1
    assert window.locate(5000 - size) == STALE


def test_number_zero_is_never_accepted_at_the_start() -> None:
    assert ReplayWindow(32).locate(0) == STALE
    assert EsnWindow(32).locate(0) == STALE


def test_esn_starts_in_the_first_subspace() -> None:
    window = EsnWindow(1024)
    assert window.locate(1) == 1
    # Far from the window's left edge the number belongs to the time before the SA.
    assert window.locate(_MASK) == STALE


def test_esn_stops_at_the_last_number() -> None:
    last = (1 << 64) - 1
    window = EsnWindow(32, last - 5)
    assert window.locate(_MASK) == last
    window.mark(last)
    assert window.locate(0) == STALE
    assert window.locate(_MASK - 1) == last - 1


def test_locating_does_not_move_the_window() -> None:
    window = ReplayWindow(64)
    window.mark(10)
    assert window.locate(0xFFFFFFF0) == 0xFFFFFFF0
    assert window.top == 10
    assert window.locate(9) == 9


@pytest.mark.parametrize("size", [-1, 0, 31, (1 << 20) + 1])
def test_sizes_out_of_bounds_are_refused(size: int) -> None:
    with pytest.raises(LocalMisuse, match="replay window"):
        ReplayWindow(size)


@settings(max_examples=20)
@given(st.lists(st.integers(0, _MASK), max_size=100))
def test_any_numbers_leave_the_slots_bounded(numbers: list[int]) -> None:
    window = ReplayWindow(64)
    for number in numbers:
        if window.locate(number) > 0:
            window.mark(number)
    assert len(window._seen) == 64
