"""A new proof of identity by a new IKE SA (RFC 7296, section 2.8.3; RFC 4478)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipsecme.ike.events import IkeSaClosed, IkeSaEstablished
from ipsecme.wire.ike import AuthPayload, NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType
from support.pair import Pair, peer


def auth_exchanges(pair: Pair) -> int:
    """Return how many IKE_AUTH requests there were."""
    of_type = [m for m in pair.messages if m.header.exchange == ExchangeType.IKE_AUTH]
    return sum(not m.header.is_response for m in of_type)


@pytest.mark.requirement("R7296-086", "M-U53")
@pytest.mark.parametrize("break_first", [False, True])
def test_both_prove_themselves_again_and_the_old_ike_sa_goes(break_first: bool) -> None:
    a = replace(peer("a", liveness=1e6), reauthenticate=1000.0, break_before_make=break_first)
    pair = Pair(a=a, b=peer("b", liveness=1e6))
    pair.establish()
    pair.drive(2000)
    pair.check_sads()
    life = [n for n in pair.a.names() if n in ("IkeSaEstablished", "IkeSaClosed")]
    again = (
        ["IkeSaClosed", "IkeSaEstablished"] if break_first else ["IkeSaEstablished", "IkeSaClosed"]
    )
    assert life == ["IkeSaEstablished", *again, *again]
    assert auth_exchanges(pair) == 3
    assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"] * 2
    assert len(pair.a.endpoint._registry) == 1
    assert pair.a.endpoint.status()[0].last_error is None


@pytest.mark.requirement("R7296-086", "M-U53")
def test_rekeying_proves_nothing_and_does_not_put_it_off() -> None:
    a = replace(peer("a", liveness=1e6), reauthenticate=1000.0)
    pair = Pair(a=a, b=peer("b", liveness=1e6))
    pair.establish()
    pair.drive(500)
    pair.rekey(pair.a)
    pair.drive(10)
    assert not any(
        isinstance(p, AuthPayload)
        for m in pair.messages
        if m.header.exchange == ExchangeType.CREATE_CHILD_SA
        for p in m.payloads
    )
    pair.drive(500)
    assert auth_exchanges(pair) == 2


def test_the_responder_says_how_long_and_the_initiator_obeys() -> None:
    pair = Pair(a=peer("a", liveness=1e6), b=replace(peer("b", liveness=1e6), reauthenticate=600.0))
    pair.establish()
    told = [
        p.data
        for m in pair.messages
        for p in m.payloads
        if isinstance(p, NotifyPayload) and p.type == NotifyType.AUTH_LIFETIME
    ]
    assert told == [(600).to_bytes(4)]
    pair.drive(1900)
    assert auth_exchanges(pair) >= 4
    assert len(pair.b.of(IkeSaEstablished)) >= 4
    pair.check_sads()


def test_an_initiator_that_does_not_obey_is_let_go() -> None:
    pair = Pair(a=peer("a", liveness=1e6), b=replace(peer("b", liveness=1e6), reauthenticate=600.0))
    pair.establish()
    (a,) = pair.a.endpoint._registry
    for timer in list(a.timers._deadlines):
        a.timers.disarm(timer)
    pair.drive(700)
    assert pair.b.reasons(IkeSaClosed) == ["authentication_expired"]
    assert not pair.b.sad


def test_a_failed_attempt_leaves_the_old_ike_sa_and_is_repeated() -> None:
    a = replace(peer("a", liveness=1e6), reauthenticate=1000.0)
    pair = Pair(a=a, b=peer("b", liveness=1e6))
    pair.establish()
    pair.b.endpoint._first_requests._by_address.clear()
    pair.drive(1005)
    assert pair.a.endpoint.status()[0].state == "up"
    assert len(pair.a.current) == 1
    pair.b.endpoint._first_requests._by_address["192.0.2.1"] = list(pair.b.endpoint.config.peers)
    pair.drive(120)
    pair.check_sads()
    assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"]
