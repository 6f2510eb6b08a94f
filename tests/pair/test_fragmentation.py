"""IKE messages in fragments (RFC 7383)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from ipsecme.ike.reassembly import MAX_FRAGMENTS, MAX_OCTETS, Fragment, Reassembly
from ipsecme.wire.ike import Header
from ipsecme.wire.numbers import PayloadType
from support.pair import Link, Pair, peer

if TYPE_CHECKING:
    import random

SMALL = 150


@pytest.mark.parametrize("ike", ["aes256gcm16-prfsha256-x25519", "aes128-sha256-ecp256"])
def test_every_protected_message_may_come_in_fragments(ike: str) -> None:
    pair = Pair(a=peer("a", ike=(ike,)), b=peer("b", ike=(ike,)), fragment_octets=SMALL)
    pair.establish()
    pair.rekey(pair.b, "net")
    pair.drive(10)
    pair.rekey(pair.a)
    pair.drive(10)
    pair.check_sads()
    later = [d.data for _, d in pair.sent[2:]]
    assert all(len(data) <= SMALL for data in later)
    assert {Header.decode(data).next_payload for data in later} == {PayloadType.SK, PayloadType.SKF}


def test_only_the_first_fragment_announces_the_first_payload() -> None:
    pair = Pair(fragment_octets=SMALL)
    pair.establish()
    fragments = [
        d.data for name, d in pair.sent[2:] if name == "a" and d.data[16] == PayloadType.SKF
    ]
    assert len(fragments) >= 2
    assert fragments[0][28] == PayloadType.IDi
    assert {data[28] for data in fragments[1:]} == {0}
    numbers = [(data[32:34], data[34:36]) for data in fragments]
    total = len(fragments).to_bytes(2)
    assert numbers == [(n.to_bytes(2), total) for n in range(1, len(fragments) + 1)]


@pytest.mark.requirement("PAR-03")
@pytest.mark.parametrize("seed", range(15))
def test_fragments_over_a_bad_link(seed: int) -> None:
    link = Link(latency=0.05, jitter=0.2, loss=0.1, duplicate=0.1, seed=seed)
    pair = Pair(link, seed=seed, fragment_octets=SMALL)
    pair.initiate()
    pair.drive(60)
    pair.rekey(pair.a, "net")
    pair.drive(60)
    pair.rekey(pair.b)
    pair.drive(60)
    pair.check_sads()
    assert pair.a.names().count("IkeSaEstablished") == 1


def test_a_repeated_first_fragment_brings_the_whole_answer_again() -> None:
    pair = Pair(fragment_octets=SMALL)
    lost = iter([True] * 2)
    pair.link.filter = lambda sender, d: (
        not (sender == "b" and d.data[16] == PayloadType.SKF and next(lost, False))
    )
    pair.initiate()
    pair.drive(10)
    pair.check_sads()
    assert pair.b.endpoint.counters["repeated_requests"] == 1


@pytest.mark.requirement("PAR-01")
def test_fragments_are_refused_where_they_were_not_agreed_on() -> None:
    pair = Pair(fragment_octets=SMALL)
    pair.initiate()
    while len(pair.sent) < 2:
        pair.step(pair.now + 1)
    (responder,) = pair.b.endpoint._registry
    responder.fragmentation = False
    pair.drive(2)
    assert pair.b.endpoint.counters["dropped_fragment_not_negotiated"] >= 1
    assert not pair.b.sad


@pytest.mark.requirement("PAR-04")
@given(st.binary(min_size=1, max_size=300), st.integers(1, 40), st.randoms())
def test_any_order_with_any_repetitions_gives_the_chain_back(
    chain: bytes, size: int, shuffler: random.Random
) -> None:
    parts = [chain[n : n + size] for n in range(0, len(chain), size)][:MAX_FRAGMENTS]
    whole = b"".join(parts)
    fragments = [Fragment(n, len(parts), 33, part) for n, part in enumerate(parts, start=1)]
    doubled = fragments + fragments[:-1]
    shuffler.shuffle(doubled)
    reassembly = Reassembly()
    complete = [c for f in doubled if (c := reassembly.add(7, f)) is not None]
    assert complete[0] == bytes([33]) + whole
    assert len(complete) <= 2


@pytest.mark.requirement("PAR-04", "PAR-09")
def test_limits_of_a_set() -> None:
    reassembly = Reassembly()
    assert reassembly.add(1, Fragment(1, MAX_FRAGMENTS + 1, 33, b"x")) is None
    assert not reassembly._parts
    for number in range(1, MAX_FRAGMENTS):
        assert reassembly.add(2, Fragment(number, MAX_FRAGMENTS, 33, bytes(2000))) is None
    assert reassembly._octets <= MAX_OCTETS


def test_a_larger_set_replaces_a_smaller_one_and_not_the_reverse() -> None:
    reassembly = Reassembly()
    reassembly.add(1, Fragment(1, 2, 33, b"old"))
    reassembly.add(1, Fragment(1, 3, 33, b"a"))
    assert reassembly.add(1, Fragment(2, 2, 33, b"old")) is None
    reassembly.add(1, Fragment(2, 3, 0, b"b"))
    assert reassembly.add(1, Fragment(3, 3, 0, b"c")) == bytes([33]) + b"abc"
