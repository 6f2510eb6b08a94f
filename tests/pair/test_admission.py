"""Who is let in: cookies, half-open IKE SAs, requests that look alike (RFC 7296, 2.1, 2.6)."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ipsecme.base import Path, Transport
from ipsecme.ike.config import AdmissionConfig
from ipsecme.ike.events import IkeSaFailed
from ipsecme.wire.ike import (
    NO_SPI,
    Header,
    Message,
    NoncePayload,
    NotifyPayload,
    SaPayload,
    Transform,
)
from ipsecme.wire.numbers import ExchangeType, KeId, NotifyType, TransformType
from support.pair import A, B, Link, Node, Pair, peer

ALWAYS = AdmissionConfig(cookie_threshold=0, cookie_seconds=60)
PATH = Path(Transport(B, 500), Transport(A, 500))


CHILDLESS_OCTETS = 8  # the Notify with which a responder says that it takes that


def first_request(seed: int = 0) -> Message:
    """Return an IKE_SA_INIT request as `a` sends it."""
    pair = Pair(seed=seed)
    pair.initiate()
    return Message.decode(pair.sent[0][1].data)


def ask(pair: Pair, message: Message, path: Path = PATH) -> list[Message]:
    """Hand a request to `b` and return its answers."""
    pair.b.endpoint.receive_datagram(message.encode(), path, pair.now)
    return [Message.decode(d.data) for d in pair.b.drain(pair.now)]


def cookie_of(answers: list[Message]) -> bytes | None:
    """Return the cookie that an answer asks for, if that is all it holds."""
    (answer,) = answers
    (first, *rest) = answer.payloads
    if isinstance(first, NotifyPayload) and first.type == NotifyType.COOKIE:
        assert not rest
        assert answer.spi_r == NO_SPI
        return first.data
    return None


def with_cookie(message: Message, cookie: bytes) -> Message:
    """Return the request with a cookie in front."""
    payloads = [NotifyPayload(NotifyType.COOKIE, cookie), *message.payloads]
    return Message(message.spi_i, NO_SPI, message.exchange, message.flags, 0, payloads)


@pytest.mark.requirement("R7296-061", "R7296-063", "STM-07")
def test_a_cookie_is_good_for_the_secret_that_made_it_and_the_one_after() -> None:
    pair = Pair(admission=ALWAYS)
    message = first_request()
    cookie = cookie_of(ask(pair, message))
    assert cookie is not None
    assert 1 <= len(cookie) <= 64
    other = first_request(seed=1)
    another = cookie_of(ask(pair, other))
    assert another is not None
    pair.now += 61
    assert cookie_of(ask(pair, with_cookie(message, cookie))) is None
    assert pair.b.endpoint.half_open == 1
    pair.now += 61
    fresh = cookie_of(ask(pair, with_cookie(other, another)))
    assert fresh not in (None, another)


@pytest.mark.requirement("R7296-062", "R7296-063")
@pytest.mark.parametrize("change", ["bit", "address", "spi", "nonce", "length", "place"])
def test_a_cookie_is_bound_to_whom_it_was_given(change: str) -> None:
    pair = Pair(admission=ALWAYS)
    message = first_request()
    cookie = cookie_of(ask(pair, message))
    assert cookie is not None
    path = PATH
    if change == "bit":
        cookie = cookie[:-1] + bytes([cookie[-1] ^ 1])
    if change == "length":
        cookie = cookie[:-1]
    message = with_cookie(message, cookie)
    if change == "address":
        path = PATH._replace(remote=Transport("192.0.2.1", 500))
        pair.b.endpoint._first_requests._by_address[None] = list(pair.b.endpoint.config.peers)
        path = PATH._replace(remote=Transport("203.0.113.5", 500))
    if change == "spi":
        message.spi_i = b"another1"
    if change == "nonce":
        message.payloads = [
            NoncePayload(bytes(32)) if isinstance(p, NoncePayload) else p for p in message.payloads
        ]
    if change == "place":
        message.payloads = [*message.payloads[1:], message.payloads[0]]
    assert cookie_of(ask(pair, message, path)) is not None
    assert pair.b.endpoint.half_open == 0


@pytest.mark.requirement("R7296-068", "R7296-190")
def test_another_key_exchange_is_asked_for_without_keeping_anything() -> None:
    pair = Pair(b=peer("b", ike=("aes256gcm16-prfsha256-ecp256-x25519",)))
    message = first_request()
    payload = next(p for p in message.payloads if isinstance(p, SaPayload))
    (proposal,) = payload.proposals
    both = Transform(TransformType.KE, KeId.ECP_256)
    payload.proposals = (proposal._replace(transforms=(*proposal.transforms, both)),)
    (answer,) = ask(pair, message)
    assert answer.payloads == [NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, b"\0\x13")]
    assert answer.spi_r == NO_SPI
    assert not pair.b.endpoint._registry
    assert pair.b.endpoint.half_open == 0


@pytest.mark.requirement("R7296-060", "STM-16")
@pytest.mark.parametrize("octets", [0, 65])
def test_a_cookie_of_another_size_lets_nobody_in(octets: int) -> None:
    message = with_cookie(first_request(), bytes(octets))
    pair = Pair(admission=ALWAYS)
    assert cookie_of(ask(pair, message)) is not None
    assert not pair.b.endpoint._registry
    pair = Pair()
    (answer,) = ask(pair, message)
    assert answer.payloads == [NotifyPayload(NotifyType.INVALID_SYNTAX)]
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("R7296-061", "STM-14")
def test_ten_thousand_strangers_leave_nothing_behind() -> None:
    pair = Pair(admission=ALWAYS)
    message = first_request()

    def flood(count: int) -> None:
        for number in range(count):
            message.spi_i = number.to_bytes(8) if number else b"\1" * 8
            path = PATH
            pair.b.endpoint.receive_datagram(message.encode(), path, pair.now)
            pair.b.drain(pair.now)
            pair.b.events.clear()

    flood(100)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    flood(10_000)
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    grown = sum(entry.size_diff for entry in after.compare_to(before, "filename"))
    assert grown < 100_000
    assert not pair.b.endpoint._registry
    assert not pair.b.endpoint._registry._by_request
    assert pair.b.endpoint.counters["cookies_asked"] == 10_100


@pytest.mark.requirement("R7296-030")
def test_two_peers_behind_one_nat_may_choose_the_same_spi() -> None:
    pair = Pair()
    one, other = first_request(seed=1), first_request(seed=2)
    other.spi_i = one.spi_i
    first, second = ask(pair, one), ask(pair, other)
    assert pair.b.endpoint.half_open == 2
    assert first[0].spi_r != second[0].spi_r


@pytest.mark.requirement("R7296-030", "R7296-032")
def test_a_repeated_first_request_gets_the_same_answer_until_the_peer_goes_on() -> None:
    pair = Pair()
    pair.initiate()
    data = pair.sent[0][1].data
    message = Message.decode(data)
    assert ask(pair, message) == ask(pair, message)
    assert pair.b.endpoint.half_open == 1
    pair = Pair()
    pair.establish()
    pair.b.endpoint.receive_datagram(pair.sent[0][1].data, PATH, pair.now)
    assert not pair.b.drain(pair.now)
    assert len(pair.b.endpoint._registry) == 1


@pytest.mark.requirement("R7296-059")
def test_spis_are_unique_and_never_zero_and_new_for_each_attempt() -> None:
    pair = Pair(link=Link(filter=lambda _sender, _datagram: False))
    pair.initiate()
    (sa,) = pair.a.endpoint._registry
    pair.a.rng.script += [bytes(7), sa.spi_i[:7]]
    spi = pair.a.endpoint._services.new_ike_spi()
    assert spi not in (NO_SPI, sa.spi_i)
    assert not pair.a.rng.script
    first = sa.spi_i
    pair.drive(400)
    assert not pair.a.endpoint._registry
    pair.initiate()
    (sa,) = pair.a.endpoint._registry
    assert sa.spi_i != first


@pytest.mark.requirement("R7296-059", "STM-13")
@pytest.mark.parametrize(
    "fault", ["no initiator SPI", "a responder SPI", "a message ID", "no I flag"]
)
def test_a_first_request_that_cannot_be_one_is_dropped(fault: str) -> None:
    pair = Pair()
    message = first_request()
    if fault == "no initiator SPI":
        message.spi_i = NO_SPI
    if fault == "a responder SPI":
        message.spi_r = b"12345678"
    if fault == "a message ID":
        message.message_id = 1
    if fault == "no I flag":
        message.flags = 0
    answers = ask(pair, message)
    assert all(a.payloads == [NotifyPayload(NotifyType.INVALID_IKE_SPI)] for a in answers)
    assert not pair.b.endpoint._registry
    assert pair.b.endpoint.half_open == 0


@pytest.mark.requirement("R7296-234", "M-61", "STM-14")
def test_half_open_ike_sas_are_limited_and_do_not_last() -> None:
    limits = AdmissionConfig(
        cookie_threshold=1000,
        cookie_threshold_per_prefix=1000,
        half_open_limit=50,
        half_open_seconds=20,
    )
    pair = Pair(admission=limits)
    for seed in range(60):
        ask(pair, first_request(seed=seed))
    assert pair.b.endpoint.half_open == 50
    assert pair.b.endpoint.counters["dropped_half_open_limit"] == 10
    pair.b.endpoint.handle_timeout(pair.now + 21)
    pair.b.drain(pair.now)
    assert pair.b.endpoint.half_open == 0
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("PAR-11", "STM-15")
def test_an_answer_to_a_stranger_is_not_larger_than_the_question() -> None:
    for admission in (ALWAYS, AdmissionConfig()):
        pair = Pair(admission=admission)
        message = first_request()
        pair.b.endpoint.receive_datagram(message.encode(), PATH, pair.now)
        (answer,) = pair.b.drain(pair.now)
        assert len(answer.data) <= len(message.encode()) + CHILDLESS_OCTETS
        header = Header.decode(answer.data)
        assert header.exchange == ExchangeType.IKE_SA_INIT
        pair.drive(3600)
        assert not [name for name, _ in pair.sent if name == "b"]


def first_requests(pair: Pair, count: int, address: str) -> list[list[Message]]:
    """Have that many strangers at the addresses from this one on ask `b`; return the answers."""
    start = int(ip_address(address))
    found = []
    for number in range(count):
        source = Transport(str(ip_address(start + number)), 500)
        message = first_request(seed=number % 3)
        message.spi_i = (number + 1).to_bytes(8)
        found.append(ask(pair, message, PATH._replace(remote=source)))
    return found


def open_pair(admission: AdmissionConfig) -> Pair:
    """Return a pair whose `b` talks with anybody."""
    return Pair(b=replace(peer("b"), remote_address=None), admission=admission)


@pytest.mark.requirement("R7296-061", "R7296-234")
def test_a_crowd_from_one_network_is_asked_for_cookies_and_no_other() -> None:
    pair = open_pair(AdmissionConfig(cookie_threshold_per_prefix=5))
    answers = first_requests(pair, 8, "203.0.113.10")
    assert [cookie_of(answer) is not None for answer in answers] == [False] * 5 + [True] * 3
    (elsewhere,) = first_requests(pair, 1, "203.0.114.10")
    assert cookie_of(elsewhere) is None
    assert pair.b.endpoint.half_open == 6


@pytest.mark.requirement("R7296-061", "R7296-234")
def test_the_share_of_a_network_is_refused_only_to_those_who_have_shown_their_address() -> None:
    limits = AdmissionConfig(cookie_threshold_per_prefix=2, half_open_per_prefix=4)
    pair = open_pair(limits)
    message = first_request()
    path = PATH._replace(remote=Transport("203.0.113.99", 500))
    first_requests(pair, 2, "203.0.113.10")
    cookie = cookie_of(ask(pair, message, path))
    assert cookie is not None
    for number in range(4):
        other = with_cookie(message, cookie)
        answers = ask(pair, other, path._replace(remote=Transport("203.0.113.99", 600 + number)))
        assert bool(answers) == (number < 2)
    assert pair.b.endpoint.half_open == 4
    assert pair.b.endpoint.counters["dropped_prefix_limit"] == 2
    assert cookie_of(first_requests(pair, 1, "203.0.113.10")[0]) is not None


def test_ike_sas_are_limited_in_total() -> None:
    pair = open_pair(AdmissionConfig(ike_sa_limit=3))
    answers = first_requests(pair, 5, "203.0.113.10")
    assert [bool(answer) for answer in answers] == [True] * 3 + [False] * 2
    assert pair.b.endpoint.ike_sas == 3
    assert pair.b.endpoint.counters["dropped_ike_sa_limit"] == 2


@pytest.mark.requirement("M-61", "STM-17")
@pytest.mark.parametrize(("limit", "is_refused"), [(1, True), (2, False)])
def test_an_identity_has_so_many_ike_sas_and_no_more(limit: int, *, is_refused: bool) -> None:
    pair = Pair(b=replace(peer("b"), max_ike_sas=limit))
    pair.establish()
    (sa,) = pair.a.endpoint._registry
    pair.a.endpoint._registry.reopen(sa, [], pair.now)
    pair.drive(10)
    assert pair.b.endpoint.counters["dropped_identity_limit"] == is_refused
    refused = [event.detail for event in pair.b.of(IkeSaFailed)]
    words = "a.example.com has 1 IKE SAs, as many as max_ike_sas allows"
    assert refused == ([words] if is_refused else [])
    assert sa.is_live == is_refused
    assert pair.b.endpoint.status()[0].state == "up"


def test_initial_contact_makes_room() -> None:
    pair = Pair(b=replace(peer("b"), max_ike_sas=1))
    pair.establish()
    pair.a = Node("a", pair.a.endpoint.config, seed=99)  # started again, and knows nothing
    pair.establish()
    assert pair.b.endpoint.counters["dropped_identity_limit"] == 0
    assert len(pair.b.current) == 1
