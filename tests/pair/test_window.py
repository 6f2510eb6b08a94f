"""Windows, Message IDs, and refusals for the time being (RFC 7296, sections 2.2, 2.3 and 2.25)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ipsecme.ike.config import ChildConfig, Lifetimes
from ipsecme.ike.events import ChildSaCreated, ChildSaFailed, IkeSaClosed, IkeSaRekeyed
from ipsecme.ike.jobs import CheckLiveness
from ipsecme.ike.protect import seal_message
from ipsecme.ike.window import MANY_MESSAGE_IDS, MAX_WINDOW, ResponseWindow
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.ike import Header, Message, NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType
from support.crafted import Outgoing, ask, edit, in_use
from support.pair import Link, Pair, peer, with_window


def several(side: str, count: int) -> tuple[ChildConfig, ...]:
    """Return that many Child SAs of one side."""
    mine, other = ("1", "2") if side == "a" else ("2", "1")
    return tuple(
        replace(
            peer(side).children[0],
            name=f"net{n}",
            local_ts=(parse_selector(f"10.{mine}.{n}.0/24"),),
            remote_ts=(parse_selector(f"10.{other}.{n}.0/24"),),
        )
        for n in range(count)
    )


def most_outstanding(pair: Pair, sender: str) -> int:
    """Return how many requests of one end were unanswered at the same time."""
    waiting: set[int] = set()
    most = 0
    for name, datagram in pair.sent:
        header = Header.decode(datagram.data)
        if name == sender and not header.is_response:
            waiting.add(header.message_id)
        if name != sender and header.is_response:
            waiting.discard(header.message_id)
        most = max(most, len(waiting))
    return most


@pytest.mark.requirement("R7296-037", "M-2")
@pytest.mark.parametrize("size", [1, 4])
def test_as_many_requests_as_the_peer_takes(size: int) -> None:
    a, b = peer("a", children=several("a", 9)), peer("b", children=several("b", 9))
    pair = with_window(Pair(a=a, b=b), size)
    pair.establish()
    pair.check_sads(pairs=9)
    assert most_outstanding(pair, "a") == size


@pytest.mark.requirement("R7296-038", "R7296-031")
@pytest.mark.parametrize("seed", range(10))
def test_a_larger_window_over_a_bad_link(seed: int) -> None:
    a, b = peer("a", children=several("a", 9)), peer("b", children=several("b", 9))
    link = Link(latency=0.05, jitter=0.3, loss=0.15, duplicate=0.1, seed=seed)
    pair = with_window(Pair(link, a=a, b=b, seed=seed), 5)
    pair.initiate()
    pair.drive(100)
    pair.check_sads(pairs=9)
    assert len(pair.b.of(ChildSaCreated)) == 9


@pytest.mark.requirement("R7296-041")
def test_a_rekeyed_ike_sa_starts_with_a_window_of_one() -> None:
    pair = with_window(Pair(), 4)
    pair.establish()
    (sa,) = pair.a.endpoint._registry
    assert sa.dialogue.requests.size == 4
    pair.rekey(pair.a)
    pair.drive(60)
    (sa,) = pair.a.endpoint._registry
    assert sa.dialogue.requests.size == 1


@pytest.mark.requirement("R7296-041", "R7296-037")
@pytest.mark.parametrize(("told", "after"), [(2, 4), (9, 9), (0, 4), (1 << 31, MAX_WINDOW)])
def test_a_window_grows_and_never_shrinks(told: int, after: int) -> None:
    pair = with_window(Pair(), 4)
    pair.establish()
    (a,), (b,) = pair.a.endpoint._registry, pair.b.endpoint._registry
    assert a.dialogue.requests.size == 4
    notify = NotifyPayload(NotifyType.SET_WINDOW_SIZE, told.to_bytes(4))
    assert b.sealing is not None
    message = Message(b.spi_i, b.spi_r, ExchangeType.INFORMATIONAL, 0, 0, [notify])
    path = a.path._replace(local=a.path.local, remote=a.path.remote)
    pair.a.endpoint.receive_datagram(seal_message(message, b.sealing), path, pair.now)
    assert len(pair.a.drain(pair.now)) == 1
    assert a.dialogue.requests.size == after


@pytest.mark.requirement("R7296-038", "R7296-031")
def test_the_last_answers_are_kept_and_no_more() -> None:
    window = ResponseWindow(size=3)
    for mid in (1, 0, 2, 4, 3):
        assert window.is_expected(mid)
        window.answer(mid, b"request %d" % mid, [b"answer %d" % mid])
        assert not window.is_expected(mid)
    assert window.next_id == 5
    assert window.repeated(4, b"request 4") == [b"answer 4"]
    assert window.repeated(2, b"request 2") == [b"answer 2"]
    assert window.repeated(1, b"request 1") is None
    assert window.repeated(4, b"something else") is None
    assert not any(window.is_expected(mid) for mid in range(5))
    assert not window.is_expected(8)
    assert len(window._answers) == 3


@pytest.mark.requirement("R7296-036")
def test_an_ike_sa_is_rekeyed_long_before_its_message_ids_wrap() -> None:
    pair = Pair()
    pair.establish()
    (a,), (b,) = pair.a.endpoint._registry, pair.b.endpoint._registry
    a.dialogue.requests.next_id = b.dialogue.responses.next_id = MANY_MESSAGE_IDS
    pair.rekey(pair.a, "net")
    pair.drive(100)
    assert len(pair.a.of(IkeSaRekeyed)) == 1
    pair.check_sads()
    (a,) = pair.a.endpoint._registry
    assert a.dialogue.requests.next_id < 10


@pytest.mark.requirement("R7296-036")
def test_no_request_leaves_after_the_last_message_id() -> None:
    pair = Pair()
    pair.establish()
    (a,) = pair.a.endpoint._registry
    a.dialogue.requests.next_id = 1 << 32
    a.queue(CheckLiveness(), pair.now)
    assert not a.dialogue.requests.outstanding


@pytest.mark.requirement("R7296-008")
def test_no_more_child_sas_than_allowed_and_no_hammering() -> None:
    a = peer("a", children=several("a", 4))
    b = replace(peer("b", children=several("b", 4)), max_children=2)
    pair = Pair(a=a, b=b)
    pair.establish()
    pair.drive(100)
    pair.check_sads(pairs=2)
    assert len(pair.a.of(ChildSaFailed)) == 2
    asked = [
        m
        for m in pair.messages
        if m.header.exchange == ExchangeType.CREATE_CHILD_SA and not m.header.is_response
    ]
    assert len(asked) == 3


@pytest.mark.requirement("R7296-162")
def test_a_temporary_failure_is_retried_later_and_not_for_ever() -> None:
    lifetimes = Lifetimes(rekey=100, hard=10_000)
    pair = Pair(a=peer("a", child_lifetimes=lifetimes), b=peer("b"))
    pair.establish()
    (b,) = pair.b.endpoint._registry
    # The peer believes that it is rekeying the IKE SA and puts everything off.
    pair.b.endpoint.rekey("test", None, pair.now)
    pair.b.drain(pair.now)
    b.timers.clear()
    start = pair.now
    moments = []
    for _ in range(600):
        before = len(pair.messages)
        pair.drive(1)
        new = [m for m in pair.messages[before:] if m.sender == "a" and not m.header.is_response]
        if any(m.header.exchange == ExchangeType.CREATE_CHILD_SA for m in new):
            moments.append(pair.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert len(moments) > 10
    assert min(gaps) >= 4
    assert pair.a.reasons(IkeSaClosed) == ["temporary_failure"]
    assert pair.now - start > 300


PLACES = [
    ("a", ExchangeType.IKE_AUTH),
    ("b", ExchangeType.IKE_AUTH),
    ("a", ExchangeType.CREATE_CHILD_SA),
    ("b", ExchangeType.CREATE_CHILD_SA),
    ("a", ExchangeType.INFORMATIONAL),
    ("b", ExchangeType.INFORMATIONAL),
]


@pytest.mark.requirement("M-2", "R7296-041")
@pytest.mark.parametrize(("sender", "exchange"), PLACES)
def test_a_window_is_announced_anywhere_grows_and_ends_with_the_ike_sa(
    sender: str, exchange: ExchangeType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([5, 2, 3])

    def announce(message: Outgoing) -> None:
        if (message.sender, message.exchange) == (sender, exchange):
            size = next(sizes, 2)
            message.payloads.append(NotifyPayload(NotifyType.SET_WINDOW_SIZE, size.to_bytes(4)))

    edit(monkeypatch, announce)
    a, b = peer("a", children=several("a", 4)), peer("b", children=several("b", 4))
    pair = Pair(a=a, b=b)
    pair.establish()
    hearer = pair.b if sender == "a" else pair.a
    if exchange == ExchangeType.INFORMATIONAL:
        pair.drive(40)
    assert in_use(hearer).dialogue.requests.size == 5
    pair.rekey(pair.a, "net0")  # smaller ones come with this and later, and change nothing
    pair.drive(40)
    assert in_use(hearer).dialogue.requests.size == 5
    old = in_use(hearer)
    monkeypatch.undo()
    pair.rekey(pair.a)
    pair.drive(10)
    assert in_use(hearer) is not old
    requests = in_use(hearer).dialogue.requests
    assert requests.size == 1
    for number in range(4):
        hearer.endpoint.rekey("test", f"net{number}", pair.now)
        assert len(requests.outstanding) == 1  # the others wait
    pair.flush(hearer)
    pair.drive(30)
    pair.check_sads(pairs=4)


@pytest.mark.requirement("M-2")
@pytest.mark.parametrize(("size", "kept"), [(0, 1), (1, 1), (64, 64), (0xFFFFFFFF, 64)])
def test_windows_of_any_size_are_bounded(size: int, kept: int) -> None:
    pair = Pair()
    pair.establish()
    notify = NotifyPayload(NotifyType.SET_WINDOW_SIZE, size.to_bytes(4))
    assert ask(pair, [notify], ExchangeType.INFORMATIONAL) == []
    assert in_use(pair.b).dialogue.requests.size == kept
