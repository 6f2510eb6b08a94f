"""Lending addresses: who gets which, and that memory follows what is lent."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from ipsecme.base import ConfigError
from ipsecme.policy.address_pool import AddressPool, AddressRange


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def ranges(*texts: str) -> tuple[AddressRange, ...]:
    return tuple(map(AddressRange.parse, texts))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("10.9.0.0/24", "10.9.0.1", "10.9.0.254"),
        ("10.9.0.0/30", "10.9.0.1", "10.9.0.2"),
        ("10.9.0.0/31", "10.9.0.0", "10.9.0.1"),
        ("10.9.0.7/32", "10.9.0.7", "10.9.0.7"),
        ("10.9.0.7", "10.9.0.7", "10.9.0.7"),
        ("10.9.0.10-10.9.0.99", "10.9.0.10", "10.9.0.99"),
        ("fd00:9::/64", "fd00:9::1", "fd00:9::ffff:ffff:ffff:ffff"),
        ("fd00:9::/127", "fd00:9::", "fd00:9::1"),
        ("fd00:9::1-fd00:9::8", "fd00:9::1", "fd00:9::8"),
    ],
)
def test_a_range_holds_the_addresses_of_hosts(text: str, first: str, last: str) -> None:
    one = AddressRange.parse(text)
    assert (one.first, one.last) == (packed(first), packed(last))
    assert packed(first) in one
    assert packed(last) in one
    assert packed("192.0.2.1") not in one
    assert packed("2001:db8::1") not in one
    assert one.size == int(ipaddress.ip_address(last)) - int(ipaddress.ip_address(first)) + 1


@pytest.mark.parametrize("text", ["10.9.0.1/24", "10.9.0.9-10.9.0.1", "10.0.0.1-::1", "pool", ""])
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="write a prefix such as"):
        AddressRange.parse(text)


def test_the_lowest_free_address_is_next_and_ranges_follow_each_other() -> None:
    pool, where = AddressPool(), ranges("10.9.0.0/30", "10.9.1.5-10.9.1.6")
    lent = []
    for holder in range(4):
        address = pool.choose(where, holder)
        assert address is not None
        pool.lend(address, holder)
        lent.append(address)
    assert lent == [packed(a) for a in ("10.9.0.1", "10.9.0.2", "10.9.1.5", "10.9.1.6")]
    assert pool.choose(where, "another") is None
    pool.give_back(lent[2])
    pool.give_back(lent[1])
    assert pool.choose(where, "another") == lent[1]
    assert pool.choose(where, "another", but=[lent[1]]) == lent[2]


@pytest.mark.requirement("R7296-224")
def test_a_hint_is_followed_where_it_is_free_or_the_holders_own() -> None:
    pool, where = AddressPool(), ranges("10.9.0.0/24", "fd00:9::/64")
    hint, hint6 = packed("10.9.0.77"), packed("fd00:9::77")
    for wish in (hint, hint6):
        assert pool.choose(where, "mine", [wish]) == wish
        pool.lend(wish, "mine")
        assert pool.choose(where, "mine", [wish]) == wish
    assert pool.choose(where, "other", [hint]) == packed("10.9.0.1")
    assert pool.choose(where[1:], "other", [hint6]) == packed("fd00:9::1")
    assert pool.choose(where, "other", [packed("192.0.2.1")]) == packed("10.9.0.1")


@pytest.mark.requirement("R7296-224")
def test_of_an_ipv6_hint_the_interface_identifier_is_kept_under_another_prefix() -> None:
    pool, where = AddressPool(), ranges("fd00:8::/64", "fd00:9::/64")
    hint = packed("2001:db8::a:b")
    assert pool.choose(where, "one", [hint]) == packed("fd00:8::a:b")
    pool.lend(packed("fd00:8::a:b"), "one")
    assert pool.choose(where, "two", [hint]) == packed("fd00:9::a:b")
    pool.lend(packed("fd00:9::a:b"), "two")
    assert pool.choose(where, "three", [hint]) == packed("fd00:8::1")


def test_a_lease_ends_with_its_last_use() -> None:
    pool, where = AddressPool(), ranges("10.9.0.1-10.9.0.1")
    (address,) = {pool.choose(where, "mine")}
    assert address is not None
    pool.lend(address, "mine")
    pool.lend(address, "mine")
    pool.give_back(address)
    assert (pool.holder(address), len(pool)) == ("mine", 1)
    assert pool.choose(where, "other", [address]) is None
    pool.give_back(address)
    assert (pool.holder(address), len(pool)) == (None, 0)
    assert pool.choose(where, "other") == address
    pool.give_back(address)  # nobody has it: no harm done
    assert len(pool) == 0


def test_a_huge_range_costs_no_more_than_what_is_lent() -> None:
    pool, where = AddressPool(), ranges("fd00::/16")
    for _ in range(3):
        for holder in range(50):
            address = pool.choose(where, holder)
            assert address is not None
            pool.lend(address, holder)
        highest = packed("fd00::32")
        assert pool.holder(highest) == 49
        for number in range(1, 51):
            pool.give_back(packed(f"fd00::{number:x}"))
    assert len(pool) == 0
    kept = pool._vacancies[where[0]]
    assert len(kept.returned) == len(kept.known) <= 50


class Model(RuleBasedStateMachine):
    """A pool against a plain set of all addresses."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool()
        self.where = ranges("10.9.0.0/29", "10.9.0.4-10.9.0.9")
        self.all = [packed(f"10.9.0.{n}") for n in range(1, 10)]
        self.uses: dict[bytes, tuple[str, int]] = {}

    @rule(
        target=leases,
        holder=st.sampled_from("abc"),
        hints=st.lists(st.integers(0, 12), max_size=2),
        but=st.sets(st.integers(1, 9), max_size=3),
    )
    def lend(self, holder: str, hints: list[int], but: set[int]) -> bytes:
        wishes, taken = ([packed(f"10.9.0.{n}") for n in some] for some in (hints, but))
        chosen = self.pool.choose(self.where, holder, wishes, taken)
        free = [a for a in self.all if a not in self.uses and a not in taken]
        fitting = [
            wish
            for wish in wishes
            if wish in self.all
            and wish not in taken
            and self.uses.get(wish, (holder, 0))[0] == holder
        ]
        expected = fitting[0] if fitting else min(free, default=None)
        assert chosen == expected
        if chosen is None:
            return b""
        self.pool.lend(chosen, holder)
        self.uses[chosen] = (holder, self.uses.get(chosen, (holder, 0))[1] + 1)
        return chosen

    @rule(address=leases)
    def give_back(self, address: bytes) -> None:
        self.pool.give_back(address)
        if address in self.uses:
            holder, count = self.uses.pop(address)
            if count > 1:
                self.uses[address] = (holder, count - 1)

    @invariant()
    def holders_agree(self) -> None:
        assert len(self.pool) == len(self.uses)
        for address in self.all:
            assert self.pool.holder(address) == self.uses.get(address, (None, 0))[0]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
