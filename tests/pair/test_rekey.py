"""Rekeying, collisions decided by chosen nonces, and Delete (RFC 7296, sections 1.4.1, 2.8,
2.25).
"""

from __future__ import annotations

import pytest

from ipsecme.ike.config import Lifetimes
from ipsecme.ike.events import ChildSaClosed, ChildSaCreated, IkeSaClosed, IkeSaRekeyed
from ipsecme.wire.ike import DeletePayload, Header
from ipsecme.wire.numbers import ExchangeType, ProtocolId
from support.pair import Link, Node, Pair, peer

LOW, MIDDLE, HIGH = bytes(32), b"\x7f" * 32, b"\xff" * 32
PFS = "aes256gcm16-x25519-ecp256"


def closed(node: Node) -> list[str]:
    """Return why Child SAs ended."""
    return node.reasons(ChildSaClosed)


@pytest.mark.requirement("R7296-073", "R7296-078", "R7296-088")
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("esp", ["aes256gcm16", PFS])
def test_a_child_sa_is_replaced_and_the_old_one_receives_a_little_longer(
    who: str, esp: str
) -> None:
    pair = Pair(a=peer("a", esp=(esp,)), b=peer("b", esp=(esp,)))
    pair.establish()
    node = getattr(pair, who)
    old = set(node.sad)
    pair.rekey(node, "net")
    pair.drive(1)
    pair.check_sads()
    assert len(pair.a.sad) == len(pair.b.sad) == 2
    assert old <= set(node.sad)
    pair.drive(10)
    assert len(pair.a.sad) == len(pair.b.sad) == 1
    assert not old & set(node.sad)
    assert closed(pair.a) == closed(pair.b) == ["rekeyed"]
    deletes = [m for m in pair.messages if "DELETE" in m.types and not m.header.is_response]
    assert [m.sender for m in deletes] == [who]


@pytest.mark.requirement("R7296-077")
def test_the_responder_of_a_rekeying_waits_for_traffic_before_it_switches() -> None:
    pair = Pair()
    pair.establish()
    (old,) = pair.b.sad
    pair.rekey(pair.a, "net")
    pair.drive(1)
    (new,) = [p for p in pair.b.sad.values() if p.spi != old]
    assert new.replaces == old
    assert not new.outbound_ready
    (mine,) = [p for p in pair.a.current if p.replaces]
    assert mine.outbound_ready


@pytest.mark.requirement("R7296-007", "R7296-190")
def test_forward_secrecy_uses_the_method_that_the_peer_prefers() -> None:
    pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=("aes256gcm16-ecp256",)))
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.check_sads()
    assert [e.suite.ke.name for e in pair.a.of(ChildSaCreated)] == ["NONE", "ECP_256"]


@pytest.mark.requirement("R7296-015", "R7296-020", "R7296-076", "R7296-126", "R7296-086")
@pytest.mark.parametrize("who", ["a", "b"])
def test_an_ike_sa_is_replaced_with_its_child_sas(who: str) -> None:
    pair = Pair()
    pair.establish()
    before = set(pair.a.sad), set(pair.b.sad)
    pair.rekey(getattr(pair, who))
    pair.drive(2)
    assert (set(pair.a.sad), set(pair.b.sad)) == before
    # The Delete is the last request on the old IKE SA, and comes from whoever began.
    old = [m for m in pair.messages if m.header.spi_i == pair.messages[0].header.spi_i]
    assert [m.sender == who for m in old[-2:]] == [True, False]
    assert (old[-2].payloads, old[-1].payloads) == ([DeletePayload(ProtocolId.IKE)], [])
    for node in (pair.a, pair.b):
        (status,) = node.endpoint.status()
        (live,) = [s for s in status.ike_sas if s.state == "established"]
        assert live.original_initiator == (node.name == who)
        assert len(live.children) == 1
        assert not node.of(IkeSaClosed)
    pair.rekey(pair.b, "net")  # controlled through the new IKE SA
    pair.drive(60)
    pair.check_sads()
    assert len(pair.a.endpoint._registry) == len(pair.b.endpoint._registry) == 1


def test_lifetimes_lead_to_rekeying_by_the_shorter_end() -> None:
    short = Lifetimes(rekey=100, hard=120)
    pair = Pair(a=peer("a", child_lifetimes=short, lifetimes=Lifetimes(rekey=250, hard=300)))
    pair.establish()
    pair.drive(1000)
    pair.check_sads()
    assert len(pair.b.of(ChildSaCreated)) >= 9
    assert len(pair.b.of(IkeSaRekeyed)) >= 3
    assert set(closed(pair.a)) == set(closed(pair.b)) == {"rekeyed"}
    assert not pair.a.of(IkeSaClosed)


# Ni of a's exchange, Ni of b's, Nr of a's exchange (made by b), Nr of b's: who has the lowest?
FOUR_NONCES = [
    (LOW, MIDDLE, HIGH, HIGH, "a"),
    (MIDDLE, LOW, HIGH, HIGH, "b"),
    (HIGH, MIDDLE, LOW, HIGH, "a"),
    (MIDDLE, HIGH, HIGH, LOW, "b"),
    # Two octets tell: the comparison is octet by octet, from the first.
    (b"\0\1" + bytes(30), b"\0\0" + HIGH[:30], HIGH, HIGH, "b"),
]


def script_nonces(pair: Pair, nonces: tuple[bytes, bytes, bytes, bytes]) -> None:
    """Let both ends use these nonces next, in the order of `FOUR_NONCES`."""
    a_request, b_request, b_answer, a_answer = nonces
    pair.a.rng.script += [a_request, a_answer]
    pair.b.rng.script += [b_request, b_answer]


@pytest.mark.requirement("R7296-081", "R7296-082", "STM-11")
@pytest.mark.parametrize(("a", "b", "for_a", "for_b", "loser"), FOUR_NONCES, ids=range(5))
def test_two_child_rekeyings_at_once(
    a: bytes, b: bytes, for_a: bytes, for_b: bytes, loser: str
) -> None:
    pair = Pair()
    pair.establish()
    script_nonces(pair, (a, b, for_a, for_b))
    olds = {node.name: next(iter(node.sad)) for node in (pair.a, pair.b)}
    pair.rekey(pair.a, "net")
    pair.rekey(pair.b, "net")
    pair.drive(0.025)
    # Both new ones receive beside the old one while it is not settled which of them goes.
    assert len(pair.a.sad) == len(pair.b.sad) == 3
    pair.drive(1)
    pair.check_sads()
    asked = {
        m.sender: [spi for p in m.payloads if isinstance(p, DeletePayload) for spi in p.spis]
        for m in pair.messages
        if m.header.exchange == ExchangeType.INFORMATIONAL and not m.header.is_response
    }
    winner = "b" if loser == "a" else "a"
    assert asked[winner] == [olds[winner].to_bytes(4)]
    assert len(asked[loser]) == 1
    assert asked[loser] != [olds[loser].to_bytes(4)]
    pair.drive(10)
    pair.check_sads()
    assert len(pair.a.sad) == len(pair.b.sad) == 1
    # The end with the lowest nonce closes what it created (section 2.8.1).
    assert ("redundant" in closed(pair.a)) == (loser == "a")
    assert ("redundant" in closed(pair.b)) == (loser == "b")
    assert len(closed(pair.a)) == len(closed(pair.b)) == 2


@pytest.mark.requirement("R7296-084", "R7296-167")
@pytest.mark.parametrize(("a", "b", "for_a", "for_b", "loser"), FOUR_NONCES, ids=range(5))
def test_two_ike_rekeyings_at_once(
    a: bytes, b: bytes, for_a: bytes, for_b: bytes, loser: str
) -> None:
    pair = Pair()
    pair.establish()
    script_nonces(pair, (a, b, for_a, for_b))
    pair.rekey(pair.a)
    pair.rekey(pair.b)
    pair.drive(100)
    pair.check_sads()
    for node in (pair.a, pair.b):
        (status,) = node.endpoint.status()
        (live,) = status.ike_sas
        assert live.original_initiator == (node.name != loser)
        assert len(live.children) == 1
        assert not node.of(IkeSaClosed)
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.check_sads()


@pytest.mark.requirement("R7296-166", "R7296-169")
def test_a_child_rekeying_meets_an_ike_rekeying() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a)
    pair.rekey(pair.b, "net")
    pair.drive(0.05)
    answers = [m for m in pair.messages[4:] if m.header.is_response]
    assert sorted((m.sender, *m.types) for m in answers) == [
        ("a", "TEMPORARY_FAILURE"),
        ("b", "TEMPORARY_FAILURE"),
    ]
    pair.drive(60)
    pair.check_sads()
    assert len(pair.a.endpoint._registry) == len(pair.b.endpoint._registry) == 1


@pytest.mark.requirement("R7296-022", "R7296-168")
@pytest.mark.parametrize("child", [None, "net"])
def test_crossing_deletes_leave_nothing(child: str | None) -> None:
    pair = Pair()
    pair.establish()
    pair.terminate(pair.a, child)
    pair.terminate(pair.b, child)
    pair.drive(60)
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.a.endpoint.status()[0].state == ("down" if child is None else "up")


@pytest.mark.requirement("R7296-021")
def test_a_deleted_child_sa_leaves_the_ike_sa_and_can_come_again() -> None:
    pair = Pair()
    pair.establish()
    pair.terminate(pair.b, "net")
    pair.drive(1)
    assert closed(pair.a) == ["deleted_by_peer"]
    assert closed(pair.b) == ["deleted"]
    assert not pair.a.sad
    pair.initiate(pair.b)
    pair.drive(1)
    pair.check_sads()
    assert len(pair.b.endpoint._registry) == 1


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_replaced_ike_sa_goes_without_a_word_even_if_its_delete_is_lost(who: str) -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(getattr(pair, who))
    pair.drive(0.03)
    kept = {sa.local_spi for node in (pair.a, pair.b) for sa in node.endpoint._registry}
    pair.link.filter = lambda _sender, d: (
        Header.decode(d.data).exchange != ExchangeType.INFORMATIONAL
    )
    pair.drive(20)
    pair.link.filter = None
    pair.drive(60)
    assert len(kept) >= 3
    for node in (pair.a, pair.b):
        assert not node.of(IkeSaClosed)
        assert node.endpoint.status()[0].state == "up"
    pair.check_sads()


def test_a_lost_answer_to_delete_is_repeated_by_a_closed_ike_sa() -> None:
    pair = Pair()
    pair.establish()
    lost = iter([True])
    pair.link.filter = lambda sender, _: not (sender == "b" and next(lost, False))
    pair.terminate(pair.a)
    pair.drive(5)
    assert pair.a.reasons(IkeSaClosed) == ["deleted"]
    assert pair.b.endpoint.counters["repeated_requests"] == 1


@pytest.mark.requirement("STM-10")
@pytest.mark.parametrize("seed", range(60))
def test_random_rekeyings_over_a_bad_link_end_with_one_pair(seed: int) -> None:
    link = Link(latency=0.05, jitter=0.3, loss=0.15, duplicate=0.1, seed=seed)
    pair = Pair(link, seed=seed)
    pair.initiate()
    pair.drive(60)
    for _ in range(8):
        node = link.random.choice([pair.a, pair.b])
        other = pair.b if node is pair.a else pair.a
        for end in (node, other)[: link.random.choice([1, 1, 2])]:
            if end.endpoint.status()[0].state == "up":
                end.endpoint.rekey("test", link.random.choice([None, "net"]), pair.now)
                pair.flush(end)
        pair.drive(link.random.choice([0.05, 1.0, 20.0]))
    pair.drive(150)
    pair.check_sads()
    for end in (pair.a, pair.b):
        assert not end.of(IkeSaClosed)
        assert len(end.endpoint._registry) == 1
        assert len(end.endpoint._services.inbound_spis) == len(end.sad) == 1
