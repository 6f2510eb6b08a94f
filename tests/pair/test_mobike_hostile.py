"""MOBIKE against those who lie about addresses, from outside and from the other end (RFC 4555)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path, Transport
from ipsecme.ike.events import IkeSaClosed
from ipsecme.ike.tasks.mobike import AnswerAddresses
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType
from support.pair import A, B, Node, Pair, peer
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

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.services import Datagram

VICTIM = Transport("203.0.113.66", 4500)


def on_the_way(pair: Pair, sender: Node) -> Datagram:
    """Return the last datagram of a node as its receiver would get it."""
    (last,) = [d for name, d in pair.sent[-6:] if name == sender.name][-1:]
    arriving = pair.cross(sender, last)
    assert arriving is not None
    return arriving


def update_kept_back(pair: Pair) -> Datagram:
    """Let the client move and keep its update back."""
    network, pair.link.filter = pair.link.filter, lambda _name, _datagram: False
    tell(pair, pair.a, [A2])
    pair.link.filter = network
    return on_the_way(pair, pair.a)


# outsiders


def test_a_repeated_update_from_elsewhere_moves_nothing() -> None:
    pair, _ = connected()
    update = update_kept_back(pair)
    pair.deliver(pair.b, update)
    pair.drive(2)
    check_meeting(pair, A2, B)
    tell(pair, pair.a, [A])
    pair.drive(2)
    check_meeting(pair, A, B)
    for path in (update.path, update.path._replace(remote=VICTIM)):
        pair.deliver(pair.b, update._replace(path=path))
        pair.drive(2)
        check_meeting(pair, A, B)


def test_a_forged_update_moves_nothing() -> None:
    pair, _ = connected()
    update = update_kept_back(pair)
    before, events = sa_of(pair.b).path, len(pair.b.events)
    for index in range(len(update.data)):
        damaged = bytearray(update.data)
        damaged[index] ^= 0x40
        pair.b.endpoint.receive_datagram(bytes(damaged), update.path, pair.now)
        pair.b.drain(pair.now)
        assert sa_of(pair.b).path == before
    assert len(pair.b.events) == events
    pair.drive(5)
    check_meeting(pair, A2, B)


def test_who_rewrites_the_source_of_an_update_gets_no_packets_and_cannot_keep_the_client() -> None:
    pair, _ = connected()
    update = update_kept_back(pair)
    pair.deliver(pair.b, update._replace(path=update.path._replace(remote=VICTIM)))
    pair.drive(5)
    assert sa_of(pair.b).path.remote == VICTIM
    assert where(pair.b) == (B, A)  # only the check itself goes to the victim
    pair.drive(60)
    check_meeting(pair, A2, B)


def test_requests_cannot_be_reordered_to_undo_a_move() -> None:
    pair, _ = connected(of_a=(A, A2, A3), window=4)
    first = update_kept_back(pair)
    tell(pair, pair.a, [A3])
    second = next(
        d for _, d in reversed(pair.sent) if d.data[20:24] == (3).to_bytes(4)
    )  # the second update; the first is repeated by the new path, too
    assert first.data[20:24] == (2).to_bytes(4)
    arriving = pair.cross(pair.a, second)
    assert arriving is not None
    pair.deliver(pair.b, arriving)
    pair.deliver(pair.b, first)
    assert sa_of(pair.b).path.remote.address == A3
    pair.drive(5)
    check_meeting(pair, A3, B)


# an authenticated peer


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("192.0.2.2", Transport("0.0.0.0", 4500)),
        ("192.0.2.2", Transport("255.255.255.255", 4500)),
        ("192.0.2.2", Transport("224.0.0.1", 4500)),
        ("192.0.2.2", Transport("127.0.0.1", 4500)),
        ("192.0.2.2", Transport(A2, 0)),
        ("2001:db8::2", Transport("::", 4500)),
        ("2001:db8::2", Transport("ff02::1", 4500)),
        ("2001:db8::2", Transport("fe80::1", 4500)),
    ],
)
def test_nonsense_is_no_address_to_move_to(local: str, remote: Transport) -> None:
    pair, _ = connected()
    before = sa_of(pair.b).path
    update = update_kept_back(pair)
    path = Path(Transport(local, 4500), remote, encapsulated=True)
    pair.b.endpoint.receive_datagram(update.data, path, pair.now)
    pair.b.drain(pair.now)
    assert sa_of(pair.b).path == before
    assert pair.b.endpoint.counters["address_updates_refused_here"] == 1


def test_only_the_client_may_ask_for_an_update() -> None:
    pair, _ = connected()
    answer = say(pair, pair.b, NotifyPayload(NotifyType.UPDATE_SA_ADDRESSES))
    pair.drive(2)
    assert answer.answer == [NotifyPayload(NotifyType.UNACCEPTABLE_ADDRESSES)]
    check_meeting(pair, A, B)


def test_only_plausible_additional_addresses_are_kept_and_not_too_many() -> None:
    pair, _ = connected()
    nonsense = ("0.0.0.0", "224.0.0.1", "127.0.0.1", "255.255.255.255")
    many = [f"198.51.100.{n}" for n in range(1, 30)]
    notifies = [
        NotifyPayload(NotifyType.ADDITIONAL_IP4_ADDRESS, ipaddress.ip_address(a).packed)
        for a in (*nonsense, *many, *many[:9])
    ]
    say(pair, pair.b, *notifies)
    pair.drive(2)
    assert sa_of(pair.a).mobility.peer_addresses == tuple(many[:16])
    pair.link.filter = lambda _name, _datagram: False
    pair.sent.clear()
    pair.drive(60)
    tried = {d.path.remote.address for name, d in pair.sent if name == "a"}
    assert len(tried) <= 6


@pytest.mark.parametrize(
    "notify",
    [
        NotifyPayload(NotifyType.COOKIE2, bytes(7)),
        NotifyPayload(NotifyType.COOKIE2, bytes(65)),
        NotifyPayload(NotifyType.COOKIE2),
        NotifyPayload(NotifyType.ADDITIONAL_IP4_ADDRESS, bytes(5)),
        NotifyPayload(NotifyType.ADDITIONAL_IP6_ADDRESS, bytes(4)),
    ],
    ids=str,
)
def test_notifications_of_the_wrong_size_are_invalid_syntax(notify: NotifyPayload) -> None:
    pair, _ = connected()
    say(pair, pair.a, notify)
    pair.drive(2)
    assert informational(pair, "b") == [["INVALID_SYNTAX"]]
    assert pair.b.reasons(IkeSaClosed) == ["invalid_syntax"]
    assert not pair.b.sad


@pytest.mark.parametrize("octets", [8, 64])
def test_cookies_of_every_allowed_size_come_back_as_they_are(octets: int) -> None:
    pair, _ = connected()
    cookie = NotifyPayload(NotifyType.COOKIE2, bytes(range(octets)))
    answers = [say(pair, node, cookie) for node in (pair.a, pair.b)]
    pair.drive(2)
    assert [answer.answer for answer in answers] == [[cookie], [cookie]]


@pytest.mark.parametrize("liar", ["a", "b"])
@pytest.mark.parametrize("lie", [b"", bytes(32), None], ids=["empty", "another", "none"])
def test_a_cookie_that_does_not_come_back_ends_the_ike_sa(
    liar: str, lie: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = AnswerAddresses.build_response

    def lying(task: AnswerAddresses, ctx: ExchangeContext) -> None:
        answer(task, ctx)
        if ctx.sa.mobility.is_client != (liar == "a"):
            return
        ctx.out[:] = [
            p
            for p in ctx.out
            if not (isinstance(p, NotifyPayload) and p.type == NotifyType.COOKIE2)
        ]
        if lie is not None:
            ctx.out.append(NotifyPayload(NotifyType.COOKIE2, lie))

    monkeypatch.setattr(AnswerAddresses, "build_response", lying)
    pair, _ = connected()
    tell(pair, pair.a, [A2])
    pair.drive(2)
    deceived = pair.b if liar == "a" else pair.a
    (closed,) = deceived.of(IkeSaClosed)
    assert "COOKIE2" in closed.detail
    assert not deceived.sad


def test_an_answer_to_the_check_of_an_older_address_is_not_about_the_newer() -> None:
    pair, network = connected(of_a=(A, A2, A3))
    tell(pair, pair.a, [A2])
    pair.drive(0.015)  # the update has arrived, the check is on its way
    checks = [d for name, d in pair.sent if name == "b"][-1]
    assert checks.path.remote.address == A2
    network.up -= {A2}
    tell(pair, pair.a, [A3])
    pair.drive(0.012)
    assert where(pair.b) == (B, A)
    network.up |= {A2}
    pair.drive(5)
    check_meeting(pair, A3, B)


def test_a_peer_that_moves_all_the_time_costs_no_more_than_its_messages() -> None:
    pair, _ = connected(b=peer("b", nat=True))
    before = len(pair.sent)
    for number in range(200):
        tell(pair, pair.a, [f"198.51.100.{number}"])
        pair.link.filter = None
        pair.drive(0.05)
    asked = sum(1 for name, _ in pair.sent[before:] if name == "a")
    answered = sum(1 for name, _ in pair.sent[before:] if name == "b")
    assert answered <= 2 * asked
    assert len(sa_of(pair.b).jobs) <= 1
    assert B2 not in sa_of(pair.b).path.remote.address
