from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme import control
from ipsecme.control import SchemaError, from_json, to_json
from support.fake_daemon import STATUS

MESSAGES = [
    value
    for value in vars(control).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]


@dataclass(frozen=True)
class Inner:
    count: int


@dataclass(frozen=True)
class Outer:
    name: str
    ratio: float
    inner: Inner
    several: tuple[Inner, ...] = ()
    table: dict[str, int] = field(default_factory=dict)
    maybe: Inner | None = None


GOOD: dict[str, Any] = {"name": "a", "ratio": 1, "inner": {"count": 2}}


def test_a_status_survives_the_way_over_the_socket() -> None:
    text = json.dumps(to_json(STATUS))
    assert from_json(control.StatusReply, json.loads(text)) == STATUS


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15)
def test_every_message_survives(kind: type, data: st.DataObject) -> None:
    made = data.draw(st.from_type(kind))
    if "NaN" not in json.dumps(to_json(made)):
        assert from_json(kind, json.loads(json.dumps(to_json(made)))) == made


def test_fields_of_newer_peers_are_ignored() -> None:
    value = {**GOOD, "new": [1], "inner": {"count": 2, "new": None}}
    assert from_json(Outer, value) == Outer("a", 1.0, Inner(2))


def test_fields_with_defaults_may_be_missing() -> None:
    assert from_json(control.UpRequest, {}) == control.UpRequest(child=None, timeout=30.0)


def test_a_whole_number_serves_as_a_number() -> None:
    made = from_json(Outer, GOOD)
    assert isinstance(made.ratio, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "Outer.name is not text"),
        ({"name": None}, "Outer.name is not text"),
        ({"ratio": "1"}, "Outer.ratio is not a number"),
        ({"ratio": True}, "Outer.ratio is not a number"),
        ({"inner": {"count": True}}, "Outer.inner.count is not a whole number"),
        ({"inner": {"count": 1.5}}, "Outer.inner.count is not a whole number"),
        ({"inner": []}, "Outer.inner is not an object"),
        ({"inner": {}}, "Outer.inner.count is missing"),
        ({"several": {"count": 1}}, "Outer.several is not a list"),
        ({"several": [{"count": 1}, 2]}, "Outer.several[1] is not an object"),
        ({"table": []}, "Outer.table is not an object"),
        ({"table": {"x": "y"}}, "Outer.table.x is not a whole number"),
        ({"maybe": 7}, "Outer.maybe is not an object"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        from_json(Outer, {**GOOD, **change})
    assert str(caught.value) == message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
@settings(max_examples=40)
def test_no_json_value_raises_anything_else(value: Any) -> None:
    for kind in MESSAGES:
        try:
            from_json(kind, value)
        except SchemaError:
            continue
