"""TimerTable beside a plain dictionary that is searched each time."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ipsecme.base import TimerTable

_PURPOSES = st.sampled_from(["retransmit", "liveness", "rekey", "expire"])
_TIMES = st.integers(0, 8).map(float)  # few, so that deadlines coincide


class TimerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table: TimerTable[str] = TimerTable()
        self.model: dict[str, float] = {}

    @rule(purpose=_PURPOSES, deadline=_TIMES)
    def arm(self, purpose: str, deadline: float) -> None:
        self.table.arm(purpose, deadline)
        self.model[purpose] = deadline

    @rule(purpose=_PURPOSES)
    def disarm(self, purpose: str) -> None:
        self.table.disarm(purpose)
        self.model.pop(purpose, None)

    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.model.clear()

    @rule(now=_TIMES)
    def due(self, now: float) -> None:
        passed = self.table.due(now)
        assert set(passed) == {purpose for purpose, at in self.model.items() if at <= now}
        assert [self.model[p] for p in passed] == sorted(self.model[p] for p in passed)
        for purpose in passed:
            del self.model[purpose]

    @rule()
    def look(self) -> None:
        assert self.table.next_deadline() == min(self.model.values(), default=None)

    @invariant()
    def deadlines_are_kept(self) -> None:
        for purpose in ("retransmit", "liveness", "rekey", "expire"):
            assert self.table.deadline(purpose) == self.model.get(purpose)


TestTimers = TimerMachine.TestCase


def test_what_is_due_at_once_comes_in_the_order_of_arming() -> None:
    table: TimerTable[str] = TimerTable()
    for purpose in ("b", "a", "c"):
        table.arm(purpose, 1.0)
    assert table.due(0.999) == []
    assert table.due(1.0) == ["b", "a", "c"]
    assert table.due(2.0) == []
    assert table.next_deadline() is None
