"""Child SAs for a packet, whose selectors come first; peers that want one pair (RFC 7296, 2.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.ike.events import ChildSaFailed
from ipsecme.ike.failures import Refused
from ipsecme.ike.narrowing import narrow_request
from ipsecme.ike.tasks import child_create
from ipsecme.policy.selector import parse_selector, selector_text
from ipsecme.wire.ike import NotifyPayload, TsPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType
from support.pair import Pair, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import ChildConfig, PeerConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.narrowing import Narrowed
    from ipsecme.wire.ike import TrafficSelector
    from support.pair import Node

PACKET = "10.1.7.7[tcp/40000]", "10.2.9.9[tcp/443]"
OTHER_PACKET = "10.1.7.8[tcp/40001]", "10.2.9.10[tcp/443]"


def acquire(pair: Pair, packet: tuple[str, str] = PACKET) -> str | None:
    """Let a packet come to `a`."""
    local, remote = map(parse_selector, packet)
    handle = pair.a.endpoint.acquire(local, remote, pair.now)
    pair.flush(pair.a)
    return handle


def offers(pair: Pair, exchange: ExchangeType) -> list[tuple[list[str], list[str]]]:
    """Return TSi and TSr of the requests of `a` in an exchange."""
    found = []
    for sent in pair.messages:
        if sent.sender == "a" and sent.header.exchange == exchange and not sent.header.is_response:
            sides = [p for p in sent.payloads if isinstance(p, TsPayload)]
            if sides:
                tsi, tsr = ([selector_text(s) for s in side.ranges()] for side in sides)
                found.append((tsi, tsr))
    return found


def notifies(pair: Pair, kind: NotifyType) -> int:
    """Count the notifications of a type that were sent."""
    return sum(
        isinstance(p, NotifyPayload) and p.type == kind
        for sent in pair.messages
        for p in sent.payloads
    )


def current(node: Node) -> list[tuple[list[str], list[str]]]:
    """Return the selectors of the Child SAs in use."""
    return [
        ([selector_text(s) for s in sa.local_ts], [selector_text(s) for s in sa.remote_ts])
        for sa in node.current
    ]


def single(config: PeerConfig) -> PeerConfig:
    """Have every Child SA be for one pair of addresses."""
    return replace(config, children=tuple(replace(c, single_pair=True) for c in config.children))


@pytest.mark.requirement("R7296-096", "M-12")
def test_the_packet_comes_first_in_a_new_child_sa_and_not_in_a_rekeying() -> None:
    pair = Pair()
    assert acquire(pair) is not None
    pair.drive(2)
    assert offers(pair, ExchangeType.IKE_AUTH) == [
        ([PACKET[0], "10.1.0.0/16"], [PACKET[1], "10.2.0.0/16"])
    ]
    pair.rekey(pair.a, "net")
    pair.drive(2)
    assert offers(pair, ExchangeType.CREATE_CHILD_SA) == [(["10.1.0.0/16"], ["10.2.0.0/16"])]
    pair.check_sads()


@pytest.mark.requirement("R7296-096")
def test_without_a_packet_nothing_specific_is_asked_for() -> None:
    pair = Pair()
    pair.establish()
    assert offers(pair, ExchangeType.IKE_AUTH) == [(["10.1.0.0/16"], ["10.2.0.0/16"])]


@pytest.mark.requirement("R7296-090", "R7296-096", "M-12")
def test_the_responder_prefers_the_policy_that_takes_the_packet() -> None:
    b = peer("b")
    (child,) = b.children
    narrow = replace(child, name="narrow", local_ts=(parse_selector("10.2.0.0/24"),))
    right = replace(child, name="right", local_ts=(parse_selector("10.2.9.0/24"),))
    pair = Pair(b=replace(b, children=(narrow, right)))
    acquire(pair)
    pair.drive(2)
    assert [sa.child for sa in pair.b.current] == ["right"]
    assert current(pair.a) == [(["10.1.0.0/16"], ["10.2.9.0/24"])]


@pytest.mark.requirement("R7296-093")
def test_the_responder_says_that_more_is_possible_and_the_next_packet_gets_it() -> None:
    b = peer("b")
    (child,) = b.children
    one = replace(child, name="one", local_ts=(parse_selector("10.2.9.0/28"),))
    two = replace(child, name="two", local_ts=(parse_selector("10.2.10.0/24"),))
    pair = Pair(b=replace(b, children=(one, two)))
    acquire(pair)
    pair.drive(2)
    assert notifies(pair, NotifyType.ADDITIONAL_TS_POSSIBLE) == 1
    assert pair.a.endpoint.counters["additional_ts_possible"] == 1
    acquire(pair, ("10.1.7.7[tcp/40000]", "10.2.10.5[tcp/443]"))
    pair.drive(2)
    assert sorted(sa.child for sa in pair.b.current) == ["one", "two"]
    pair.check_sads(2)


@pytest.mark.requirement("R7296-093")
def test_nothing_more_is_promised_where_there_is_nothing_more() -> None:
    pair = Pair(b=peer("b", local_ts=("10.2.9.0/24",), remote_ts=("0.0.0.0/0",)))
    acquire(pair)
    pair.drive(2)
    assert notifies(pair, NotifyType.ADDITIONAL_TS_POSSIBLE) == 0


@pytest.mark.requirement("R7296-094")
def test_a_responder_that_insists_gives_each_packet_its_pair() -> None:
    pair = Pair(b=single(peer("b")))
    acquire(pair)
    pair.drive(2)
    assert current(pair.a) == [([PACKET[0]], [PACKET[1]])]
    assert notifies(pair, NotifyType.SINGLE_PAIR_REQUIRED) == 0
    assert notifies(pair, NotifyType.ADDITIONAL_TS_POSSIBLE) == 1
    acquire(pair, OTHER_PACKET)
    pair.drive(2)
    assert len(pair.a.current) == 2
    pair.rekey(pair.a, "net")
    pair.drive(3)
    pair.check_sads(2)


@pytest.mark.requirement("R7296-094")
@pytest.mark.parametrize("exchange", [ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA])
def test_single_pair_required_is_followed_with_the_packet_alone(
    exchange: ExchangeType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some responders refuse whatever is not one pair, also where the first selectors are one."""
    pair = Pair(b=single(peer("b")))
    if exchange == ExchangeType.CREATE_CHILD_SA:
        acquire(pair, OTHER_PACKET)
        pair.drive(2)
    monkeypatch.setattr(child_create, "narrow_request", only_single_pairs)
    acquire(pair)
    pair.drive(3)
    assert notifies(pair, NotifyType.SINGLE_PAIR_REQUIRED) == 1
    assert offers(pair, ExchangeType.CREATE_CHILD_SA)[-1] == ([PACKET[0]], [PACKET[1]])
    assert ([PACKET[0]], [PACKET[1]]) in current(pair.a)
    assert not pair.a.of(ChildSaFailed)


def only_single_pairs(
    ctx: ExchangeContext,
    configs: Sequence[ChildConfig],
    local: Sequence[TrafficSelector],
    remote: Sequence[TrafficSelector],
) -> Narrowed:
    """Narrow as always, but only a request for one pair and nothing else."""
    if len(local) > 1 or len(remote) > 1:
        raise Refused(NotifyType.SINGLE_PAIR_REQUIRED, "not a single pair")
    return narrow_request(ctx, configs, local, remote)


@pytest.mark.requirement("R7296-094")
def test_without_a_packet_single_pair_required_is_reported() -> None:
    pair = Pair(b=single(peer("b")))
    pair.initiate()
    pair.drive(2)
    assert notifies(pair, NotifyType.SINGLE_PAIR_REQUIRED) == 1
    (failed,) = pair.a.of(ChildSaFailed)
    assert "one pair of addresses at a time" in failed.detail
    (refused,) = pair.b.of(ChildSaFailed)
    assert "10.2.0.0/16 to 10.1.0.0/16 first" in refused.detail
    assert pair.a.endpoint.status()[0].state == "up"


def test_many_packets_ask_once() -> None:
    pair = Pair()
    for _ in range(5):
        acquire(pair)
    pair.drive(2)
    for _ in range(5):
        acquire(pair)
    pair.drive(2)
    assert pair.exchanges()[ExchangeType.CREATE_CHILD_SA] == 0
    pair.check_sads()


def test_packets_of_no_policy_and_of_unreachable_peers_ask_nobody() -> None:
    pair = Pair(b=replace(peer("b"), remote_address=None))
    assert acquire(pair, ("10.9.0.1", "10.2.0.1")) is None
    local, remote = map(parse_selector, ("10.2.0.1", "10.1.0.1"))
    assert pair.b.endpoint.acquire(local, remote, pair.now) is None
    assert not pair.sent
