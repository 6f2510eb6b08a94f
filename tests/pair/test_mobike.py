"""MOBIKE: the SAs follow an end that changes its address (RFC 4555)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ipsecme.base import Transport
from ipsecme.ike import mobility
from ipsecme.ike.events import IkeSaEstablished
from ipsecme.ike.host_addresses import HostAddresses
from ipsecme.ike.jobs import UpdateAddresses
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType
from support.pair import NAT_ADDRESS, A, B, Link, Pair, peer
from support.roaming import (
    A2,
    A3,
    B2,
    check_meeting,
    connected,
    informational,
    sa_of,
    say,
    tell,
    where,
)

UPDATE = [
    "UPDATE_SA_ADDRESSES",
    "NAT_DETECTION_SOURCE_IP",
    "NAT_DETECTION_DESTINATION_IP",
    "NO_ADDITIONAL_ADDRESSES",
    "COOKIE2",
]
ANSWER = ["NAT_DETECTION_SOURCE_IP", "NAT_DETECTION_DESTINATION_IP", "COOKIE2"]


# agreeing


def test_both_ends_agree_and_meet_on_port_4500_without_a_nat() -> None:
    pair, _ = connected()
    auth = [m.types for m in pair.messages if m.header.exchange == ExchangeType.IKE_AUTH]
    assert auth[0][-2:] == ["MOBIKE_SUPPORTED", "ADDITIONAL_IP4_ADDRESS"]
    assert auth[1][-1] == "MOBIKE_SUPPORTED"
    up = pair.a.events[0]
    assert isinstance(up, IkeSaEstablished)
    assert (up.nat, str(up.path)) == ("none", f"{A}:4500 to {B}:4500")
    assert not pair.a.current[0].path.encapsulated
    assert sa_of(pair.b).mobility.peer_addresses == (A2,)


@pytest.mark.parametrize("without", ["a", "b"])
def test_without_the_consent_of_both_nothing_moves(without: str) -> None:
    a, b = peer("a", mobike=without != "a"), peer("b", mobike=without != "b")
    pair, _ = connected(a=a, b=b)
    tell(pair, pair.a, [A2])
    pair.drive(5)
    assert not informational(pair, "a")
    answer = say(pair, pair.a, NotifyPayload(NotifyType.UPDATE_SA_ADDRESSES),
                 NotifyPayload(NotifyType.COOKIE2, b"ten octets"))  # fmt: skip
    pair.drive(5)
    assert answer.answer == []
    check_meeting(pair, A, B)


def test_an_end_with_a_fixed_address_announces_nothing_and_stays() -> None:
    pair, _ = connected(a=replace(peer("a"), listen_address=A))
    tell(pair, pair.a, [A2, A])
    pair.drive(5)
    assert sa_of(pair.b).mobility.peer_addresses == ()
    check_meeting(pair, A, B)


def test_protected_and_special_addresses_are_nobodys_business() -> None:
    host = HostAddresses((A, "10.1.2.3", "127.0.0.1", "::1", "fe80::1", A2, "2001:db8::1"))
    pair, _ = connected()
    assert host.announced(peer("a"), sa_of(pair.a).path) == (A2, "2001:db8::1")
    assert host.source(peer("a"), B, A3) == A
    assert host.source(peer("a"), "2001:db8::2", A) == "2001:db8::1"


# moving


def test_the_sas_follow_a_client_to_its_other_address_and_back() -> None:
    pair, network = connected()
    spis = set(pair.a.sad)
    for here, gone in ((A2, A), (A, A2)):
        network.up -= {gone}
        network.up |= {here}
        pair.messages.clear()
        tell(pair, pair.a, [here])
        pair.drive(2)
        check_meeting(pair, here, B)
        assert informational(pair, "a")[0] == UPDATE
        assert informational(pair, "b") == [ANSWER, ["COOKIE2"]]
    assert set(pair.a.sad) == spis
    for node in (pair.a, pair.b):
        assert node.names().count("IkeSaEstablished") == 1
        assert node.names().count("PathChanged") == 2


def test_without_the_check_packets_follow_at_once() -> None:
    pair, _ = connected(b=peer("b", return_routability=False))
    tell(pair, pair.a, [A2])
    pair.drive(2)
    check_meeting(pair, A2, B)
    assert informational(pair, "b") == [ANSWER]


def test_until_the_check_is_answered_packets_go_where_they_went() -> None:
    pair, _ = connected()
    tell(pair, pair.a, [A2])
    assert where(pair.a) == (A2, B)
    pair.drive(0.015)
    assert sa_of(pair.b).path.remote.address == A2
    assert where(pair.b) == (B, A)
    pair.drive(1)
    check_meeting(pair, A2, B)


def test_a_request_under_way_goes_on_by_the_new_path_before_the_update() -> None:
    pair, network = connected()
    network.up -= {A}
    pair.rekey(pair.a, "net")
    pair.drive(1)
    tell(pair, pair.a, [A2])
    pair.drive(2)
    check_meeting(pair, A2, B)
    arrived = [m.header.exchange.name for m in pair.messages if m.sender == "a"][2:]
    assert arrived[:2] == ["CREATE_CHILD_SA", "INFORMATIONAL"]
    assert informational(pair, "a")[0] == UPDATE


def test_an_answer_about_a_path_that_was_left_changes_nothing() -> None:
    pair, _ = connected(Link(latency=0.2), of_a=(A, A2, A3))
    for addresses in ([A2, A, A3], [A3, A, A2], [A, A2, A3], [A2, A, A3]):
        tell(pair, pair.a, addresses)
        pair.drive(0.05)
    pair.drive(10)
    check_meeting(pair, A2, B)
    updates = {m.header.message_id for m in pair.messages if UPDATE[0] in m.types}
    assert len(updates) == 2


@pytest.mark.parametrize("seed", range(12))
def test_a_restless_client_on_a_bad_link_ends_up_where_it_is(seed: int) -> None:
    link = Link(latency=0.05, jitter=0.3, loss=0.3, duplicate=0.2, seed=seed)
    pair, network = connected(link, of_a=(A, A2, A3), window=1 + 3 * (seed % 2))
    chance = random.Random(seed)
    for _ in range(12):
        here = chance.choice((A, A2, A3))
        network.up = {here, B}
        tell(pair, pair.a, [here])
        action = chance.randrange(5)
        if action < 2:
            pair.rekey(pair.a if action else pair.b, chance.choice((None, "net")))
        pair.drive(chance.random())
    pair.drive(200)
    assert pair.a.names().count("IkeSaEstablished") == 1
    check_meeting(pair, here, B)


@pytest.mark.parametrize("rekeyed_by", ["a", "b"])
@pytest.mark.parametrize("head_start", [0.0, 0.005, 0.012, 0.02, 0.025, 0.035])
def test_a_rekeyed_ike_sa_inherits_while_the_client_moves(
    rekeyed_by: str, head_start: float
) -> None:
    pair, network = connected()
    pair.rekey(pair.a if rekeyed_by == "a" else pair.b)
    pair.drive(head_start)
    network.up -= {A}
    tell(pair, pair.a, [A2])
    pair.drive(60)
    check_meeting(pair, A2, B)
    network.up |= {A}
    tell(pair, pair.a, [A])
    pair.drive(10)
    check_meeting(pair, A, B)


def test_a_client_that_moves_before_it_is_authenticated_says_so_later() -> None:
    pair, network = connected()
    pair.terminate(pair.a)
    pair.drive(40)
    tell(pair, pair.a, [A, A2])
    pair.initiate()
    pair.drive(0.025)  # IKE_AUTH has left
    network.up -= {A}
    tell(pair, pair.a, [A2])
    pair.drive(10)
    check_meeting(pair, A2, B)


def test_a_new_connection_is_opened_from_where_the_client_is() -> None:
    pair, _ = connected(b=peer("b", nat=True))
    pair.terminate(pair.a)
    pair.drive(40)
    tell(pair, pair.a, [A3])
    pair.establish()
    check_meeting(pair, A3, B)


def test_a_peer_that_missed_the_answer_to_its_rekeying_hears_of_the_move() -> None:
    pair, network = connected()
    pair.rekey(pair.b)
    pair.link.filter = lambda sender, _datagram: sender == "b"
    pair.drive(0.1)  # the client has a successor, of which the other end does not know
    pair.link.filter = network
    network.up -= {A}
    tell(pair, pair.a, [A2])
    pair.drive(30)
    check_meeting(pair, A2, B)


# NATs


def test_a_nat_that_appears_turns_encapsulation_on_and_off_again() -> None:
    pair, _ = connected()
    pair.link.filter = None
    pair.nat, pair.behind_nat = True, {A2}
    tell(pair, pair.a, [A2])
    pair.drive(70)
    assert (sa_of(pair.a).nat, sa_of(pair.b).nat) == ("local", "remote")
    assert {p.path.encapsulated for p in (*pair.a.current, *pair.b.current)} == {True}
    assert pair.b.current[0].path.remote == Transport(NAT_ADDRESS, 44_500)
    assert [d.data for _, d in pair.sent].count(b"\xff") == 3
    tell(pair, pair.a, [A])
    pair.drive(2)
    check_meeting(pair, A, B)
    assert (sa_of(pair.a).nat, sa_of(pair.b).nat) == ("none", "none")
    assert {p.path.encapsulated for p in (*pair.a.current, *pair.b.current)} == {False}
    pair.drive(70)
    assert [d.data for _, d in pair.sent].count(b"\xff") == 3


def test_a_changed_mapping_is_noticed_by_a_liveness_check_and_told() -> None:
    pair, _ = connected(nat=True, of_a=(A,))
    pair.rebind_nat()
    pair.messages.clear()
    pair.drive(1)
    pair.rekey(pair.a, "net")
    pair.drive(1)
    assert {p.path.remote.port for p in pair.b.current} == {44_500}  # no implicit update
    pair.drive(40)
    assert {p.path.remote.port for p in pair.b.current} == {44_507}
    assert sa_of(pair.b).path.remote == Transport(NAT_ADDRESS, 44_507)
    assert UPDATE in informational(pair, "a")
    pair.messages.clear()
    pair.drive(100)
    assert UPDATE not in informational(pair, "a")


def test_after_a_rekeying_the_mapping_is_learned_again_by_one_update() -> None:
    pair, _ = connected(nat=True, of_a=(A,))
    pair.rekey(pair.a)
    pair.messages.clear()
    pair.drive(200)
    assert informational(pair, "a").count(UPDATE) == 1


# the end that does not choose


def test_a_responder_that_loses_its_address_tells_the_client_which_follows() -> None:
    pair, network = connected()
    network.up -= {B}
    tell(pair, pair.b, [B2])
    pair.drive(5)
    check_meeting(pair, A, B2)
    assert informational(pair, "b")[0] == ["NO_ADDITIONAL_ADDRESSES"]
    assert informational(pair, "a")[0][0] == UPDATE[0]


def test_a_responder_looks_for_its_client_at_all_addresses_it_was_told() -> None:
    pair, network = connected(of_a=(A, A2))
    network.up = {A2, B2}
    tell(pair, pair.b, [B2])
    pair.drive(60)
    check_meeting(pair, A2, B2)


def test_a_new_address_is_announced_and_an_unused_one_that_goes_changes_nothing() -> None:
    pair, _ = connected()
    for addresses, known in (([B, B2], (B2,)), ([B], ())):
        tell(pair, pair.b, addresses)
        pair.drive(2)
        assert sa_of(pair.a).mobility.peer_addresses == known
        check_meeting(pair, A, B)
    assert informational(pair, "b") == [["ADDITIONAL_IP4_ADDRESS"], ["NO_ADDITIONAL_ADDRESSES"]]
    assert not pair.a.names().count("PathChanged")


def test_a_message_by_another_way_moves_nothing() -> None:
    pair, _ = connected()
    for node, elsewhere in ((pair.b, Transport(A2, 4500)), (pair.a, Transport(B2, 4500))):
        sender = pair.a if node is pair.b else pair.b
        pair.link.filter = lambda _name, _datagram: False
        answer = say(pair, sender)
        request = pair.sent[-1][1]
        pair.link.filter = None
        arriving = pair.cross(sender, request)
        assert arriving is not None
        pair.deliver(node, arriving._replace(path=arriving.path._replace(remote=elsewhere)))
        assert pair.sent[-1][1].path.remote == elsewhere  # answered where it came from
        pair.drive(1)
        assert answer.answer == []
        check_meeting(pair, A, B)


# finding a path


def test_when_the_path_falls_silent_the_first_that_answers_is_taken() -> None:
    pair, network = connected(of_b=(B, B2))
    network.up -= {B}
    pair.drive(60)
    check_meeting(pair, A, B2)
    network.up = {A2, B2}
    pair.drive(60)
    assert (where(pair.a), where(pair.b)) == ((A2, B2), (B2, A2))


def call_at(pair: Pair, address: str) -> None:
    """Have the client choose another address of its peer."""
    sa = sa_of(pair.a)
    mobility.move(sa, sa.path._replace(remote=Transport(address, 4500)), pair.now)
    pair.a.endpoint._registry.settle(sa, pair.now)
    pair.flush(pair.a)


def test_a_new_address_of_the_peer_carries_packets_only_when_it_has_answered() -> None:
    pair, network = connected(of_b=(B, B2))
    network.up -= {B2}
    call_at(pair, B2)
    pair.drive(1)
    assert where(pair.a) == (A, B)
    pair.drive(10)
    check_meeting(pair, A, B)  # found again by asking in several places


def test_refused_addresses_are_left_for_those_that_worked() -> None:
    pair, _ = connected(b=replace(peer("b"), listen_address=B), of_b=(B, B2))
    call_at(pair, B2)
    pair.drive(5)
    assert informational(pair, "b")[0] == ["UNACCEPTABLE_ADDRESSES", "COOKIE2"]
    assert pair.a.endpoint.counters["address_updates_refused"] == 1
    check_meeting(pair, A, B)


# NAT prohibition


def prohibit_nats(pair: Pair) -> None:
    for node in (pair.a, pair.b):
        sa_of(node).mobility.peer_detects_nat = False


def test_without_nat_traversal_the_addresses_are_protected() -> None:
    pair, _ = connected()
    prohibit_nats(pair)
    tell(pair, pair.a, [A2])
    pair.drive(2)
    check_meeting(pair, A2, B)
    assert informational(pair, "a")[0] == [
        "UPDATE_SA_ADDRESSES", "NO_NATS_ALLOWED", "NO_ADDITIONAL_ADDRESSES", "COOKIE2",
    ]  # fmt: skip
    update = next(m for m in pair.messages if "NO_NATS_ALLOWED" in m.types)
    notifies = [p for p in update.payloads if isinstance(p, NotifyPayload)]
    (data,) = [p.data for p in notifies if p.type == NotifyType.NO_NATS_ALLOWED]
    assert data.hex() == "c6336401" + "c0000202" + "1194" + "1194"


def test_a_nat_where_none_is_allowed_is_tried_some_times_and_moves_nothing() -> None:
    pair, _ = connected()
    prohibit_nats(pair)
    pair.link.filter = None
    pair.nat, pair.behind_nat = True, {A2}
    before = sa_of(pair.b).path
    tell(pair, pair.a, [A2])
    pair.drive(5)
    assert sa_of(pair.b).path == before
    assert informational(pair, "b") == [["UNEXPECTED_NAT_DETECTED", "COOKIE2"]] * 5
    assert UpdateAddresses() not in sa_of(pair.a).jobs


def test_responders_wait_longer_than_clients_before_they_give_up() -> None:
    pair, _ = connected()
    waits = []
    for node in (pair.a, pair.b):
        retransmission = sa_of(node).retransmission
        waits.append(sum(retransmission.wait(n + 1) for n in range(retransmission.tries)))
    assert waits[0] < 160
    assert waits[1] > 300
