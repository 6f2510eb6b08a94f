"""IKE SAs that begin without a Child SA (RFC 6023)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from ipsecme.ike.events import IkeSaClosed, IkeSaFailed
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType, ProtocolId
from support.pair import Pair, Sent, peer

Choice = Literal["never", "allow", "prefer"]


def pair_of(a: Choice, b: Choice) -> Pair:
    """Return a pair with these settings."""
    return Pair(a=replace(peer("a"), childless=a), b=replace(peer("b"), childless=b))


def message(pair: Pair, sender: str, exchange: ExchangeType) -> Sent:
    """Return the first message of a sender in an exchange."""
    return next(m for m in pair.messages if (m.sender, m.header.exchange) == (sender, exchange))


@pytest.mark.parametrize("a", ["never", "allow", "prefer"])
@pytest.mark.parametrize("b", ["never", "allow", "prefer"])
def test_the_first_child_sa_comes_with_ike_auth_or_after_it(a: Choice, b: Choice) -> None:
    pair = pair_of(a, b)
    pair.establish()
    pair.check_sads()
    answer = message(pair, "b", ExchangeType.IKE_SA_INIT)
    supported = [
        p
        for p in answer.payloads
        if isinstance(p, NotifyPayload) and p.type == NotifyType.CHILDLESS_IKEV2_SUPPORTED
    ]
    assert [p.protocol for p in supported] == ([] if b == "never" else [ProtocolId.IKE])
    is_childless = a == "prefer" and b != "never"
    request, response = (message(pair, who, ExchangeType.IKE_AUTH) for who in "ab")
    for types in (request.types, response.types):
        assert (PayloadType.SA.name in types) != is_childless
        assert (PayloadType.TSi.name in types) != is_childless
    assert pair.exchanges()[ExchangeType.CREATE_CHILD_SA] == (2 if is_childless else 0)


def test_a_later_child_sa_has_a_key_exchange_of_its_own() -> None:
    with_ke = "aes256gcm16-x25519"
    a, b = peer("a", esp=(with_ke,)), peer("b", esp=(with_ke,))
    pair = Pair(a=replace(a, childless="prefer"), b=b)
    pair.establish()
    assert "KE" in message(pair, "a", ExchangeType.CREATE_CHILD_SA).types
    pair.check_sads()


def test_who_does_not_take_it_answers_invalid_syntax() -> None:
    pair = pair_of("prefer", "never")
    pair.initiate()
    (sa,) = pair.a.endpoint._registry
    sa.peer_takes_childless = True  # an initiator that does not look
    pair.drive(4)
    assert pair.a.reasons(IkeSaFailed) == ["invalid_syntax"]
    assert pair.b.reasons(IkeSaFailed) == ["invalid_syntax"]
    assert not pair.b.sad


def test_an_ike_sa_that_lost_its_children_reauthenticates_alone_where_the_peer_takes_that() -> None:
    answers: tuple[tuple[Choice, int], ...] = (("allow", 0), ("never", 1))
    for b, exchanges in answers:
        pair = pair_of("allow", b)
        pair.establish()
        pair.terminate(pair.a, "net")
        pair.drive(2)
        assert not pair.a.sad
        (sa,) = pair.a.endpoint._registry
        sa.services.registry.reopen(sa, [], pair.now)
        pair.flush(pair.a)
        pair.drive(3)
        assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"]
        assert len(pair.a.current) == exchanges
        pair.check_sads(exchanges)
