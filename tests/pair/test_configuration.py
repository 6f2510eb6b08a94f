"""Addresses from a gateway: CP in IKE_AUTH and after (RFC 7296, 2.19, 2.20 and 3.15)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme.ike.config import EndpointConfig, PeerConfig
from ipsecme.ike.events import (
    AddressesAssigned,
    AddressesLeased,
    ChildSaFailed,
    IkeSaClosed,
    IkeSaEstablished,
)
from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.tasks.child_create import ChildCreate
from ipsecme.ike.tasks.configuration_request import ConfigurationRequest
from ipsecme.wire.ike import ConfigPayload, NotifyPayload, TsPayload
from ipsecme.wire.numbers import (
    ConfigAttributeType,
    ConfigType,
    ExchangeType,
    NotifyType,
    PayloadType,
)
from support.lending import (
    DUAL,
    address,
    answer_to,
    ask,
    attribute,
    client,
    gateway,
    last_configuration,
    leased,
    live,
    local_ts,
)
from support.pair import Node, Pair, Sent, peer
from support.strategies import config_attributes

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.sa import IkeSa
    from ipsecme.ike.tasks.base import Task
    from ipsecme.wire.ike import ConfigAttribute

T = ConfigAttributeType
_ADDRESS_KINDS = (T.INTERNAL_IP4_ADDRESS, T.INTERNAL_IP6_ADDRESS)


def with_clients(*clients: PeerConfig, lender: PeerConfig) -> Pair:
    """Return a pair whose node `a` plays several clients."""
    pair = Pair(b=lender)
    pair.a = Node("a", EndpointConfig(peers=clients), 7)
    return pair


def call(pair: Pair, name: str) -> None:
    pair.a.endpoint.initiate(name, None, pair.now)
    pair.flush(pair.a)
    pair.drive()


def selectors(sent: Sent, role: PayloadType) -> list[tuple[bytes, bytes]]:
    (payload,) = [p for p in sent.payloads if isinstance(p, TsPayload) and p.payload_type == role]
    return [(one.start, one.end) for one in payload.ranges()]


# asking and giving


@pytest.mark.requirement("R7296-127", "R7296-130")
def test_the_client_asks_before_sa_and_both_narrow_to_what_it_gets() -> None:
    pair = Pair(a=client(4, 16), b=gateway(*DUAL, dns=("10.2.0.53", "fd00:2::53")))
    pair.establish()
    request, response = last_configuration(pair)
    assert request.types.index("CP") < request.types.index("SA")
    assert response.types.index("CP") < response.types.index("SA")
    asked = request.only(ConfigPayload)
    assert asked.type == ConfigType.CFG_REQUEST
    assert {a.type for a in asked.attributes} >= {T.INTERNAL_IP4_ADDRESS, T.INTERNAL_IP6_ADDRESS}
    assert not any(a.value for a in asked.attributes)
    assert selectors(request, PayloadType.TSi) == [
        (bytes(4), b"\xff" * 4),
        (bytes(16), b"\xff" * 16),
    ]
    four, six = address("10.9.0.1"), address("fd00:9::1")
    assert selectors(response, PayloadType.TSi) == [(four, four), (six, six)]
    assert answer_to(response) == {
        "INTERNAL_IP4_ADDRESS": [four],
        "INTERNAL_IP6_ADDRESS": [six + b"\x80"],
        "INTERNAL_IP4_DNS": [address("10.2.0.53")],
        "INTERNAL_IP6_DNS": [address("fd00:2::53")],
        "INTERNAL_IP4_SUBNET": [address("10.2.0.0") + address("255.255.0.0")],
        "INTERNAL_IP6_SUBNET": [address("fd00:2::") + b"\x40"],
        "APPLICATION_VERSION": [b""],
    }
    pair.check_sads()
    assert local_ts(pair) == [["10.9.0.1", "fd00:9::1"]]
    assert [one.own_addresses for one in pair.a.current] == [(four, six)]
    assert [one.own_addresses for one in pair.b.current] == [()]
    (assigned,), (given,) = pair.a.of(AddressesAssigned), pair.b.of(AddressesLeased)
    assert assigned.addresses == given.addresses == ("10.9.0.1", "fd00:9::1")
    assert assigned.dns == ("10.2.0.53", "fd00:2::53")
    assert given.peer_identity == "a.example.com"


@pytest.mark.requirement("R7296-130")
def test_the_client_narrows_by_itself_where_the_gateway_does_not() -> None:
    lender = gateway(*DUAL, static=("0.0.0.0/0",))
    pair = Pair(a=client(4), b=lender)
    pair.establish()
    _, response = last_configuration(pair)
    assert (bytes(4), b"\xff" * 4) in selectors(response, PayloadType.TSi)
    assert local_ts(pair) == [["10.9.0.1"]]


@pytest.mark.requirement("R7296-128")
def test_who_does_not_ask_is_told_nothing() -> None:
    pair = Pair(a=peer("a"), b=gateway(*DUAL, dns=("10.2.0.53",), static=("10.1.0.0/16",)))
    pair.establish()
    pair.check_sads()
    pair.rekey(pair.a, "net")
    pair.drive()
    pair.rekey(pair.a)
    pair.drive()
    assert not any(isinstance(p, ConfigPayload) for m in pair.messages for p in m.payloads)
    assert leased(pair) == [[]]


@pytest.mark.requirement("R7296-129")
def test_who_needs_an_address_and_asks_for_none_gets_no_child_sa() -> None:
    pair = Pair(a=peer("a"), b=gateway(*DUAL))
    pair.establish()
    pair.check_sads(0)
    assert "FAILED_CP_REQUIRED" in pair.messages[-1].types
    for node in (pair.a, pair.b):
        assert node.reasons(ChildSaFailed) == ["failed_cp_required"]
        assert node.names().count("IkeSaEstablished") == 1
        assert not node.of(IkeSaClosed)
    refusals = [
        p.data
        for p in pair.messages[-1].payloads
        if isinstance(p, NotifyPayload) and p.type == NotifyType.FAILED_CP_REQUIRED
    ]
    assert refusals == [b""]
    # The initiator can fix this by asking later (section 2.19), and tries without in vain.
    pair.a.endpoint.initiate("test", None, pair.now)
    pair.flush(pair.a)
    pair.drive()
    assert "FAILED_CP_REQUIRED" in pair.messages[-1].types
    reply = ask(pair, attribute(T.INTERNAL_IP4_ADDRESS))
    assert answer_to(reply)["INTERNAL_IP4_ADDRESS"] == [address("10.9.0.1")]
    assert leased(pair) == [["10.9.0.1"]]


@pytest.mark.requirement("R7296-129")
def test_a_request_for_anything_but_an_address_is_no_request_for_one() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.0/24", dns=("10.2.0.53",)))
    usual = ConfigurationRequest.build_request

    def build_request(task: ConfigurationRequest, ctx: ExchangeContext) -> None:
        usual(task, ctx)
        for payload in ctx.out:
            if isinstance(payload, ConfigPayload):
                payload.attributes = [attribute(T.INTERNAL_IP4_DNS)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigurationRequest, "build_request", build_request)
        pair.establish()
    assert answer_to(last_configuration(pair)[1]) == {"INTERNAL_IP4_DNS": [address("10.2.0.53")]}
    assert pair.b.reasons(ChildSaFailed) == ["failed_cp_required"]
    assert leased(pair) == [[]]


# failures


@pytest.mark.requirement("R7296-225")
def test_an_empty_pool_leaves_the_ike_sa_up_without_child_sa() -> None:
    first, second = client(4, name="first", identity="one"), client(4, identity="two")
    pair = with_clients(first, second, lender=gateway("10.9.0.1-10.9.0.1"))
    call(pair, "first")
    call(pair, "test")
    pair.check_sads(1)
    _, response = last_configuration(pair)
    assert "INTERNAL_ADDRESS_FAILURE" in response.types
    assert not {"CP", "SA", "TSi"}.intersection(response.types)
    assert pair.a.reasons(ChildSaFailed) == ["internal_address_failure"]
    assert len(pair.a.of(IkeSaEstablished)) == len(pair.b.of(IkeSaEstablished)) == 2
    assert not pair.a.of(IkeSaClosed)
    # When the first has gone, asking again by itself brings the address and the Child SA.
    pair.a.endpoint.terminate("first", None, pair.now)
    pair.flush(pair.a)
    pair.drive()
    call(pair, "test")
    pair.check_sads(1)
    assert leased(pair) == [["10.9.0.1"]]
    assert local_ts(pair) == [["10.9.0.1"]]


@pytest.mark.requirement("R7296-225")
def test_who_gets_nothing_when_it_asks_again_leaves() -> None:
    first, second = client(4, name="first", identity="one"), client(4, identity="two")
    pair = with_clients(first, second, lender=gateway("10.9.0.1-10.9.0.1"))
    call(pair, "first")
    call(pair, "test")
    call(pair, "test")
    _, response = last_configuration(pair)
    assert "INTERNAL_ADDRESS_FAILURE" in response.types
    assert pair.a.reasons(IkeSaClosed) == ["internal_address_failure"]
    assert leased(pair) == [["10.9.0.1"]]


@pytest.mark.requirement("R7296-225", "R7296-221")
def test_a_family_that_there_is_not_is_passed_over() -> None:
    pair = Pair(a=client(4, 16), b=gateway("fd00:9::/64"))
    pair.establish()
    pair.check_sads()
    assert local_ts(pair) == [["fd00:9::1"]]
    assert "INTERNAL_IP4_ADDRESS" not in answer_to(last_configuration(pair)[1])


@pytest.mark.requirement("R7296-225", "R7296-221")
def test_no_more_addresses_than_asked_for_and_all_that_there_are() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.1-10.9.0.3", "fd00:9::/64", most=4))
    pair.establish()
    assert leased(pair) == [["10.9.0.1"]]
    four, six = attribute(T.INTERNAL_IP4_ADDRESS), attribute(T.INTERNAL_IP6_ADDRESS)
    two = answer_to(ask(pair, four, four))
    assert two["INTERNAL_IP4_ADDRESS"] == [address("10.9.0.1"), address("10.9.0.2")]
    assert "INTERNAL_IP6_ADDRESS" not in two
    rest = answer_to(ask(pair, *[four] * 9, six))
    assert rest["INTERNAL_IP4_ADDRESS"] == [address(f"10.9.0.{n}") for n in (1, 2, 3)]
    assert rest["INTERNAL_IP6_ADDRESS"] == [address("fd00:9::1") + b"\x80"]
    assert leased(pair) == [["10.9.0.1", "10.9.0.2", "10.9.0.3", "fd00:9::1"]]
    pair.terminate(pair.a)
    pair.drive()
    assert len(pair.b.endpoint._services.addresses) == 0


def test_one_peer_has_no_more_than_the_policy_says() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.0/24"))
    pair.establish()
    wish = attribute(T.INTERNAL_IP4_ADDRESS)
    assert answer_to(ask(pair, wish, wish))["INTERNAL_IP4_ADDRESS"] == [address("10.9.0.1")]
    assert leased(pair) == [["10.9.0.1"]]


def test_a_gateway_without_addresses_is_an_error_to_who_needs_one() -> None:
    pair = Pair(a=client(4), b=peer("b", remote_ts=("0.0.0.0/0",)))
    pair.establish()
    pair.check_sads(0)
    assert pair.a.reasons(ChildSaFailed) == ["internal_address_failure"]
    assert pair.b.names().count("ChildSaClosed") == 1


# attributes


@pytest.mark.requirement("R7296-222")
def test_there_is_one_netmask_and_only_with_an_ipv4_address() -> None:
    pair = Pair(a=client(4), b=gateway(*DUAL))
    pair.establish()
    mask = attribute(T.INTERNAL_IP4_NETMASK)
    both = answer_to(ask(pair, attribute(T.INTERNAL_IP4_ADDRESS), mask, mask))
    assert both["INTERNAL_IP4_NETMASK"] == [b"\xff" * 4]
    six = answer_to(ask(pair, attribute(T.INTERNAL_IP6_ADDRESS), mask))
    assert "INTERNAL_IP4_NETMASK" not in six
    assert answer_to(ask(pair, mask)) == {}


@pytest.mark.requirement("R7296-223")
def test_of_cfg_set_nothing_is_accepted() -> None:
    pair = Pair(a=client(4), b=gateway(*DUAL))
    pair.establish()
    setting = attribute(T.INTERNAL_IP4_ADDRESS, address("10.9.0.99"))
    acknowledged = ask(pair, setting, kind=ConfigType.CFG_SET).only(ConfigPayload)
    assert (acknowledged.type, tuple(acknowledged.attributes)) == (ConfigType.CFG_ACK, ())
    assert leased(pair) == [["10.9.0.1"]]


@pytest.mark.requirement("R7296-131")
@pytest.mark.parametrize("version", ["", "ipsecme 1"])
def test_the_version_is_told_as_the_operator_allows(version: str) -> None:
    pair = Pair(a=client(4), b=gateway(*DUAL))
    pair.b.endpoint._services.config = replace(pair.b.endpoint.config, version=version)
    pair.establish()
    request, _ = last_configuration(pair)
    query = [a for a in request.only(ConfigPayload).attributes if a.type == T.APPLICATION_VERSION]
    assert [a.value for a in query] == [b""]
    assert live(pair.a).internal.peer_version == version
    alone = answer_to(ask(pair, attribute(T.APPLICATION_VERSION)))
    assert alone == {"APPLICATION_VERSION": [version.encode()]}


@pytest.mark.requirement("R7296-131")
def test_a_peer_with_which_nothing_is_shared_out_may_ask_for_the_version_too() -> None:
    pair = Pair()
    pair.establish()
    assert answer_to(ask(pair, attribute(T.APPLICATION_VERSION))) == {"APPLICATION_VERSION": [b""]}
    assert answer_to(ask(pair, attribute(T.INTERNAL_IP4_ADDRESS))) == {}


@pytest.mark.requirement("R7296-220")
def test_unknown_attributes_are_passed_over_in_requests_and_replies() -> None:
    pair = Pair(a=client(4), b=gateway(*DUAL))
    pair.establish()
    strange = attribute(T.of(0x7001), b"what")
    expiry = attribute(T.of(5), b"\0\0\0\1")
    reply = answer_to(ask(pair, strange, attribute(T.INTERNAL_IP4_ADDRESS), expiry))
    assert reply["INTERNAL_IP4_ADDRESS"] == [address("10.9.0.1")]
    assert set(reply) == {"INTERNAL_IP4_ADDRESS", "INTERNAL_IP4_SUBNET"}


def test_supported_attributes_are_listed() -> None:
    pair = Pair(a=client(4), b=gateway(*DUAL))
    pair.establish()
    (listed,) = answer_to(ask(pair, attribute(T.SUPPORTED_ATTRIBUTES)))["SUPPORTED_ATTRIBUTES"]
    kinds = {int.from_bytes(listed[at : at + 2]) for at in range(0, len(listed), 2)}
    assert {T.INTERNAL_IP4_ADDRESS, T.INTERNAL_IP6_ADDRESS, T.APPLICATION_VERSION} <= kinds


@pytest.mark.requirement("R7296-127")
def test_an_address_may_be_asked_for_with_any_child_sa() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.0/24"))
    sa = open_alone(pair)
    config = client(4).children[0]
    sa.dialogue.begin(
        ExchangeType.CREATE_CHILD_SA, [ConfigurationRequest(), ChildCreate(config)], pair.now
    )
    pair.flush(pair.a)
    pair.drive()
    request, response = last_configuration(pair)
    for message in (request, response):
        assert message.header.exchange == ExchangeType.CREATE_CHILD_SA
        assert message.types.index("CP") < message.types.index("SA")
    pair.check_sads()
    assert local_ts(pair) == [["10.9.0.1"]]


@pytest.mark.requirement("R7296-225", "R7296-129")
@pytest.mark.parametrize("asks", [False, True])
def test_a_child_sa_of_its_own_fails_like_the_first(asks: bool) -> None:
    other = client(4, name="other", identity="other")
    pair = with_clients(other, client(4), lender=gateway("10.9.0.1-10.9.0.1"))
    call(pair, "other")
    sa = open_alone(pair)
    tasks: list[Task] = [ConfigurationRequest()] if asks else []
    sa.dialogue.begin(
        ExchangeType.CREATE_CHILD_SA, [*tasks, ChildCreate(client(4).children[0])], pair.now
    )
    pair.flush(pair.a)
    pair.drive()
    why = "INTERNAL_ADDRESS_FAILURE" if asks else "FAILED_CP_REQUIRED"
    assert pair.messages[-1].types == [why]
    assert live(pair.a) is sa
    pair.check_sads(1)


def open_alone(pair: Pair) -> IkeSa:
    """Open an IKE SA of the connection "test" without a Child SA; return it."""
    (peer_config,) = [p for p in pair.a.endpoint.config.peers if p.name == "test"]
    alone = replace(peer_config, children=())
    pair.a.endpoint.config = replace(pair.a.endpoint.config, peers=(alone,))
    pair.a.endpoint.initiate("test", None, pair.now)
    pair.flush(pair.a)
    pair.drive()
    sa = live(pair.a)
    sa.peer = peer_config
    return sa


def test_the_address_comes_before_any_child_sa_where_none_comes_with_authentication() -> None:
    pair = Pair(a=client(4, childless="prefer"), b=gateway("10.9.0.0/24"))
    pair.establish()
    request, response = last_configuration(pair)
    for message in (request, response):
        assert message.header.exchange == ExchangeType.IKE_AUTH
        assert "SA" not in message.types
    pair.check_sads()
    assert local_ts(pair) == [["10.9.0.1"]]
    assert pair.exchanges()[ExchangeType.INFORMATIONAL] == 0


def test_without_an_address_a_client_without_child_sa_says_so_too() -> None:
    other = client(4, name="other", identity="other")
    pair = with_clients(other, client(4, childless="prefer"), lender=gateway("10.9.0.1-10.9.0.1"))
    call(pair, "other")
    call(pair, "test")
    assert pair.a.reasons(ChildSaFailed) == ["internal_address_failure"]
    assert pair.a.of(ChildSaFailed)[0].child == "net"
    assert not pair.a.of(IkeSaClosed)
    pair.check_sads(1)


ATTRIBUTES = st.lists(
    st.builds(
        attribute,
        st.sampled_from([*_ADDRESS_KINDS, T.INTERNAL_IP4_NETMASK, T.APPLICATION_VERSION]),
    )
    | config_attributes(),
    max_size=6,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(ConfigType), ATTRIBUTES)
    | st.sampled_from(["rekey a", "rekey b", "reauthenticate", "call again"]),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(STEPS)
def test_whatever_peers_ask_the_pool_knows_what_is_lent(
    steps: list[str | tuple[ConfigType, list[ConfigAttribute]]],
) -> None:
    pair = Pair(a=client(4, 16), b=gateway("10.9.0.0/29", "fd00:9::/125", most=3))
    pair.establish()
    for step in steps:
        match step:
            case "rekey a" | "rekey b":
                pair.rekey(pair.a if step == "rekey a" else pair.b)
            case "reauthenticate":
                reopen(pair)
            case "call again":
                pair.terminate(pair.a)
                pair.drive()
                pair.establish()
            case (kind, attributes):
                ask(pair, *attributes, kind=kind)
        pair.drive(60)
        lent = leased(pair)
        assert len(lent) == 1
        assert len(pair.b.endpoint._services.addresses) == len(set(lent[0])) == len(lent[0])
        assert sum("." in one for one in lent[0]) <= 3
    assert not pair.b.reasons(IkeSaClosed).count("invalid_syntax")
    pair.terminate(pair.a)
    pair.drive()
    assert len(pair.b.endpoint._services.addresses) == 0


def reopen(pair: Pair) -> None:
    """Have the client authenticate anew, make before break."""
    old = live(pair.a)
    wanted = [CreateChild(child.config) for child in old.children]
    pair.a.endpoint._registry.reopen(old, wanted, pair.now)
    pair.flush(pair.a)
