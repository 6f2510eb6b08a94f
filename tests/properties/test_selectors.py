"""The algebra of selectors against a model that counts packets, one by one.

The universe is tiny: six addresses of each family, a few protocols and ports, and packets whose
ports cannot be seen. A selector is then the set of packets that it describes (RFC 7296, sections
2.9 and 3.13.1).
"""

from __future__ import annotations

from functools import cache
from itertools import chain, combinations_with_replacement, product
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme.policy.selector import (
    ANY_PORTS,
    contains,
    intersect,
    narrow,
    parse_selector,
    selector_text,
)
from ipsecme.wire.ike import OPAQUE_PORTS, TrafficSelector
from support.strategies import range_selectors

FAMILIES = [[prefix + bytes((last,)) for last in range(6)] for prefix in (bytes(3), bytes(15))]
PROTOCOLS = (1, 6, 17)
PORTS = (0, 1, 2, 3, 4, 65534, 65535, None)  # None: cannot be seen


class Packet(NamedTuple):
    address: bytes
    protocol: int
    port: int | None


UNIVERSE = [Packet(*sides) for sides in product(chain(*FAMILIES), PROTOCOLS, PORTS)]
SELECTORS = [
    TrafficSelector(protocol, *ports, start, end)
    for family in FAMILIES
    for start, end in combinations_with_replacement(family, 2)
    for protocol in (0, *PROTOCOLS)
    for ports in (*combinations_with_replacement((0, 1, 2, 3, 65535), 2), OPAQUE_PORTS)
]


def describes(selector: TrafficSelector, packet: Packet) -> bool:
    if len(packet.address) != len(selector.start):
        return False
    if not selector.start <= packet.address <= selector.end:
        return False
    if selector.protocol not in {0, packet.protocol}:
        return False
    ports = (selector.start_port, selector.end_port)
    if packet.port is None:
        return ports in {ANY_PORTS, OPAQUE_PORTS}
    return ports[0] <= packet.port <= ports[1]


@cache
def described(selector: TrafficSelector) -> frozenset[Packet]:
    return frozenset(packet for packet in UNIVERSE if describes(selector, packet))


def packets(*selectors: TrafficSelector) -> frozenset[Packet]:
    return frozenset().union(*map(described, selectors))


BROAD = [s for s in SELECTORS if not s.protocol and (s.start_port, s.end_port) == ANY_PORTS]
ONE = st.sampled_from(SELECTORS) | st.sampled_from(BROAD)
LISTS = st.lists(ONE, min_size=1, max_size=5)
MORE = settings(max_examples=400)


@given(ONE, ONE)
def test_the_intersection_describes_what_both_do(
    one: TrafficSelector, other: TrafficSelector
) -> None:
    both = intersect(one, other)
    common = packets(one) & packets(other)
    assert (packets(both) if both else None) == (common or None)
    assert intersect(other, one) == both
    assert intersect(one, one) == one


@given(LISTS, ONE)
def test_a_list_contains_what_one_of_it_covers(
    outer: list[TrafficSelector], inner: TrafficSelector
) -> None:
    assert contains(outer, inner) == any(packets(inner) <= packets(one) for one in outer)


@pytest.mark.requirement("R7296-089", "R7296-097")
@MORE
@given(LISTS, LISTS)
def test_narrowing_keeps_all_that_is_offered_and_allowed_and_nothing_else(
    offered: list[TrafficSelector], allowed: list[TrafficSelector]
) -> None:
    found = narrow(offered, allowed)
    assert packets(*found) == packets(*offered) & packets(*allowed)
    for selector in found:
        assert packets(selector)
        assert contains(offered, selector)
        assert contains(allowed, selector)


@pytest.mark.requirement("R7296-090")
@MORE
@given(LISTS, LISTS)
def test_narrowing_covers_the_first_selector_when_it_is_allowed(
    offered: list[TrafficSelector], allowed: list[TrafficSelector]
) -> None:
    if contains(allowed, offered[0]):
        assert contains(narrow(offered, allowed), offered[0])


@MORE
@given(LISTS, LISTS)
def test_narrowing_says_nothing_twice(
    offered: list[TrafficSelector], allowed: list[TrafficSelector]
) -> None:
    found = narrow(offered, allowed)
    for index, selector in enumerate(found):
        assert not contains(found[:index] + found[index + 1 :], selector)


@pytest.mark.requirement("R7296-091")
@given(LISTS)
def test_narrowing_by_itself_loses_nothing(offered: list[TrafficSelector]) -> None:
    found = narrow(offered, offered)
    assert packets(*found) == packets(*offered)
    assert narrow(found, offered) == found


@given(range_selectors())
def test_the_text_of_a_selector_is_read_as_the_same(selector: TrafficSelector) -> None:
    if not selector.protocol:
        selector = selector._replace(start_port=0, end_port=65535)
    assert parse_selector(selector_text(selector)) == selector
