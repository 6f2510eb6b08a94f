"""Transport mode as it is negotiated, with and without NATs (RFC 7296, 1.3.1, 1.3.3, 2.23.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path, Transport, packed_address
from ipsecme.ike.events import ChildSaClosed, ChildSaFailed
from ipsecme.ike.services import Datagram
from ipsecme.ike.transport_mode import Agreed
from ipsecme.policy.parameters import Mode, OriginalAddresses
from ipsecme.policy.selector import parse_selector, selector_text
from ipsecme.wire.ike import NotifyPayload, TsPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType
from support.pair import NAT_ADDRESS, A, B, Node, Pair, peer

if TYPE_CHECKING:
    from ipsecme.ike.config import ChildConfig, PeerConfig
    from ipsecme.policy.parameters import SaPair
    from ipsecme.wire.ike import TrafficSelector

SERVER_OUTSIDE = "203.0.113.5"
ANYBODY = ("0.0.0.0/0",)
PORTS = ("0.0.0.0/0[tcp/443]", "0.0.0.0/0[udp/53]")


def side(
    name: str,
    *,
    fallback: bool = False,
    nat: bool = False,
    local: tuple[str, ...] = ANYBODY,
    remote: tuple[str, ...] = ANYBODY,
) -> PeerConfig:
    """Return one end that has transport mode with whom it meets."""
    made = peer(name, nat=nat, local_ts=local, remote_ts=remote)
    (child,) = made.children
    host = replace(child, name="host", mode=Mode.TRANSPORT, tunnel_fallback=fallback)
    return replace(made, children=(host,))


def tunnel(name: str, *more: ChildConfig, nat: bool = False) -> PeerConfig:
    """Return one end that has tunnels only, between any addresses, and perhaps more policies."""
    made = peer(name, nat=nat, local_ts=ANYBODY, remote_ts=ANYBODY)
    return replace(made, children=(*more, *made.children), mobike=False)


class TwoNats(Pair):
    """The picture of section 2.23.1: `a` behind a dynamic NAT, `b` behind a static one."""

    def __init__(self, a: PeerConfig, b: PeerConfig) -> None:
        super().__init__(a=replace(a, remote_address=SERVER_OUTSIDE), b=b, nat=True)

    def cross(self, sender: Node, datagram: Datagram) -> Datagram | None:
        arriving = super().cross(sender, datagram)
        if arriving is None:
            return None
        local, remote, encapsulated = arriving.path
        if sender is self.a:
            assert local.address == SERVER_OUTSIDE
            local = Transport(B, local.port)
        else:
            remote = Transport(SERVER_OUTSIDE, remote.port)
        return Datagram(arriving.data, Path(local, remote, encapsulated))


def texts(selectors: tuple[TrafficSelector, ...]) -> list[str]:
    return [selector_text(s) for s in selectors]


def on_wire(pair: Pair, sender: str, exchange: ExchangeType, role: PayloadType) -> list[str]:
    """Return the selectors of the last message of an exchange that a node sent."""
    for sent in reversed(pair.messages):
        if sent.sender == sender and sent.header.exchange == exchange:
            for payload in sent.payloads:
                if isinstance(payload, TsPayload) and payload.payload_type == role:
                    return texts(tuple(payload.ranges()))
    raise AssertionError("no such message")


def mode_notifies(pair: Pair, sender: str) -> list[ExchangeType]:
    """Return the exchanges in which a node wrote USE_TRANSPORT_MODE."""
    return [
        sent.header.exchange
        for sent in pair.messages
        if sent.sender == sender
        for payload in sent.payloads
        if isinstance(payload, NotifyPayload) and payload.type == NotifyType.USE_TRANSPORT_MODE
    ]


def only(node: Node) -> SaPair:
    (pair,) = node.current
    return pair


@pytest.mark.requirement("R7296-010")
def test_transport_mode_takes_effect_when_the_response_echoes_it() -> None:
    pair = Pair(a=side("a"), b=side("b"))
    pair.establish()
    pair.check_sads()
    assert mode_notifies(pair, "a") == mode_notifies(pair, "b") == [ExchangeType.IKE_AUTH]
    for node, here, there in ((pair.a, A, B), (pair.b, B, A)):
        sa = only(node)
        assert sa.mode is Mode.TRANSPORT
        assert (texts(sa.local_ts), texts(sa.remote_ts)) == ([here], [there])
        assert sa.original is None


@pytest.mark.requirement("R7296-010")
@pytest.mark.parametrize("exchange", [ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA])
def test_where_it_is_declined_the_sa_is_a_tunnel_if_that_will_do(exchange: ExchangeType) -> None:
    pair = Pair(a=side("a", fallback=True), b=tunnel("b"))
    pair.establish()
    if exchange == ExchangeType.CREATE_CHILD_SA:
        pair.terminate(pair.a, "host")
        pair.drive()
        pair.initiate(child="host")
        pair.drive()
    pair.check_sads()
    assert mode_notifies(pair, "a")[-1] == exchange
    assert mode_notifies(pair, "b") == []
    assert only(pair.a).mode is only(pair.b).mode is Mode.TUNNEL
    assert texts(only(pair.b).remote_ts) == [A]


@pytest.mark.requirement("R7296-010")
@pytest.mark.parametrize("exchange", [ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA])
def test_where_a_tunnel_will_not_do_the_initiator_deletes_the_sa(exchange: ExchangeType) -> None:
    first = (peer("a").children[0],) if exchange == ExchangeType.CREATE_CHILD_SA else ()
    a = replace(side("a"), children=(*first, *side("a").children))
    pair = Pair(a=a, b=tunnel("b"))
    pair.establish()
    assert mode_notifies(pair, "a") == [exchange]
    (failure,) = pair.a.of(ChildSaFailed)
    assert failure.child == "host"
    assert failure.reason == "refused"
    assert "declined transport mode" in failure.detail
    assert pair.b.reasons(ChildSaClosed) == ["deleted_by_peer"]
    assert len(pair.a.current) == len(pair.b.current) == len(first)
    assert pair.a.endpoint.status()[0].state == "up"


@pytest.mark.requirement("R7296-010")
def test_the_responder_echoes_only_what_was_asked_for_and_its_policy_allows() -> None:
    asked_by_tunnel = Pair(a=tunnel("a"), b=side("b", fallback=True))
    asked_by_tunnel.establish()
    assert mode_notifies(asked_by_tunnel, "b") == []
    assert only(asked_by_tunnel.b).mode is Mode.TUNNEL
    # A policy for transport mode speaks of the two hosts, however wide its selectors are.
    assert texts(only(asked_by_tunnel.b).local_ts) == [B]
    assert texts(only(asked_by_tunnel.b).remote_ts) == [A]

    strict = Pair(a=tunnel("a"), b=side("b"))
    strict.establish()
    (failure,) = strict.a.of(ChildSaFailed)
    assert failure.reason == "ts_unacceptable"
    assert not strict.b.current


def test_an_echo_that_was_not_asked_for_ends_the_child_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(a=tunnel("a"), b=side("b"))
    hosts = (parse_selector(B),), (parse_selector(A),)
    agreed = side("b").children[0], Agreed(Mode.TRANSPORT, *hosts)
    monkeypatch.setattr("ipsecme.ike.tasks.child_create.find_transport_policy", lambda *_: agreed)
    pair.establish()
    assert mode_notifies(pair, "b") == [ExchangeType.IKE_AUTH]
    assert pair.a.of(ChildSaFailed)
    assert pair.b.reasons(ChildSaClosed) == ["deleted_by_peer"]
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-018")
@pytest.mark.parametrize("who", ["a", "b"])
def test_rekeying_repeats_the_mode(who: str) -> None:
    pair = Pair(a=side("a", remote=PORTS), b=side("b", local=PORTS))
    pair.establish()
    node = pair.a if who == "a" else pair.b
    old = only(node)
    pair.rekey(node, "host")
    pair.drive(10)
    pair.check_sads()
    assert mode_notifies(pair, who)[-1] == ExchangeType.CREATE_CHILD_SA
    new = only(node)
    assert new.spi != old.spi
    assert new.mode is only(pair.a).mode is only(pair.b).mode is Mode.TRANSPORT
    assert (new.local_ts, new.remote_ts) == (old.local_ts, old.remote_ts)


@pytest.mark.requirement("R7296-018")
def test_rekeying_what_became_a_tunnel_asks_for_a_tunnel() -> None:
    pair = Pair(a=side("a", fallback=True), b=tunnel("b"))
    pair.establish()
    pair.rekey(pair.a, "host")
    pair.drive(10)
    pair.check_sads()
    assert mode_notifies(pair, "a") == [ExchangeType.IKE_AUTH]
    assert only(pair.a).mode is Mode.TUNNEL


def test_a_peer_that_rekeys_without_the_mode_is_refused_where_policy_insists() -> None:
    pair = Pair(a=side("a", fallback=True), b=side("b"))
    pair.establish()
    sa = next(iter(pair.a.endpoint._services.inbound_spis.values()))
    (child,) = sa.children
    child.pair = replace(child.pair, mode=Mode.TUNNEL)
    pair.rekey(pair.a, "host")
    pair.drive(3)
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]
    assert only(pair.b).mode is Mode.TRANSPORT


@pytest.mark.requirement("R7296-158", "M-U52")
def test_through_two_nats_each_end_has_the_addresses_that_it_sees() -> None:
    a = side("a", remote=PORTS)
    b = side("b", nat=True, local=(f"{B}[tcp/443]",), remote=(f"{NAT_ADDRESS}",))
    pair = TwoNats(a, b)
    pair.establish()
    auth = ExchangeType.IKE_AUTH
    # The client writes one address for each side: the ends of the IKE SA as it sees them.
    assert on_wire(pair, "a", auth, PayloadType.TSi) == [A]
    asked = [f"{SERVER_OUTSIDE}[tcp/443]", f"{SERVER_OUTSIDE}[udp/53]"]
    assert on_wire(pair, "a", auth, PayloadType.TSr) == asked
    # The server's policy, which names the NAT's address and its own, was found after substitution.
    assert on_wire(pair, "b", auth, PayloadType.TSi) == [NAT_ADDRESS]
    assert on_wire(pair, "b", auth, PayloadType.TSr) == [f"{B}[tcp/443]"]
    client, server = only(pair.a), only(pair.b)
    assert client.mode is server.mode is Mode.TRANSPORT
    assert texts(client.local_ts) == [A]
    assert texts(client.remote_ts) == [f"{SERVER_OUTSIDE}[tcp/443]"]
    assert texts(server.local_ts) == [f"{B}[tcp/443]"]
    assert texts(server.remote_ts) == [NAT_ADDRESS]
    # What the other end writes into its packets, for their checksums.
    ip1, ipn1, ipn2, ip2 = map(packed_address, (A, NAT_ADDRESS, SERVER_OUTSIDE, B))
    assert server.original == OriginalAddresses(source=ip1, destination=ipn2)
    assert client.original == OriginalAddresses(source=ip2, destination=ipn1)
    assert client.path.encapsulated
    assert server.path.encapsulated


@pytest.mark.requirement("R7296-158", "R7296-018")
@pytest.mark.parametrize("who", ["a", "b"])
def test_either_end_rekeys_through_two_nats(who: str) -> None:
    pair = TwoNats(side("a", remote=PORTS), side("b", nat=True, local=PORTS))
    pair.establish()
    before = [(sa.local_ts, sa.remote_ts, sa.original) for sa in (only(pair.a), only(pair.b))]
    old = {only(pair.a).spi, only(pair.b).spi}
    pair.rekey(pair.a if who == "a" else pair.b, "host")
    pair.drive(10)
    after = [(sa.local_ts, sa.remote_ts, sa.original) for sa in (only(pair.a), only(pair.b))]
    assert after == before
    assert not old & {only(pair.a).spi, only(pair.b).spi}
    assert only(pair.a).mode is only(pair.b).mode is Mode.TRANSPORT


@pytest.mark.requirement("R7296-158", "M-U52")
@pytest.mark.parametrize("name", ["a", "b"])
def test_more_than_one_address_is_no_transport_mode(name: str) -> None:
    pair = Pair(a=side("a", fallback=True), b=side("b"))

    def widened(local: tuple[TrafficSelector, ...]) -> tuple[TrafficSelector, ...]:
        return (*local, parse_selector("192.0.2.9"))

    task = "ipsecme.ike.tasks.child_create.between_hosts"
    with pytest.MonkeyPatch.context() as patch:
        hosts: dict[str, tuple[TrafficSelector, ...]] = {
            "a": (parse_selector(A),),
            "b": (parse_selector(B),),
        }
        hosts[name] = widened(hosts[name])
        patch.setattr(task, lambda *_: (hosts["a"], hosts["b"]))
        pair.establish()
    assert mode_notifies(pair, "b") == []
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]


@pytest.mark.requirement("R7296-158")
def test_without_a_nat_other_addresses_than_the_ends_are_no_transport_mode() -> None:
    pair = Pair(a=side("a", fallback=True), b=side("b"))
    with pytest.MonkeyPatch.context() as patch:
        stranger = (parse_selector("192.0.2.77"),), (parse_selector(B),)
        patch.setattr("ipsecme.ike.tasks.child_create.between_hosts", lambda *_: stranger)
        pair.establish()
    assert mode_notifies(pair, "b") == []
    assert not pair.b.current


@pytest.mark.requirement("R7296-159")
def test_a_tunnel_policy_is_found_by_the_selectors_as_they_were_written() -> None:
    inner = replace(
        peer("b").children[0],
        name="inner",
        local_ts=(parse_selector(SERVER_OUTSIDE),),
        remote_ts=(parse_selector("192.0.2.0/24"),),
    )
    b = replace(peer("b", nat=True), children=(inner,))
    pair = TwoNats(side("a", fallback=True), b)
    pair.establish()
    assert mode_notifies(pair, "b") == []
    client, server = only(pair.a), only(pair.b)
    assert client.mode is server.mode is Mode.TUNNEL
    assert texts(server.remote_ts) == texts(client.local_ts) == [A]
    assert texts(server.local_ts) == texts(client.remote_ts) == [SERVER_OUTSIDE]
    assert client.original is server.original is None


def test_connections_with_transport_mode_do_without_mobike() -> None:
    assert not side("a").mobike
    pair = Pair(a=side("a"), b=side("b"))
    pair.establish()
    assert not any("MOBIKE_SUPPORTED" in sent.types for sent in pair.messages)
    assert not only(pair.a).path.encapsulated
