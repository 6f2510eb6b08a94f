"""How long an internal address lasts, and who gets it next (RFC 7296, 2.19 and 3.15.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.ike.auth.trust import Credential, Trust
from ipsecme.ike.config import EndpointConfig, PeerConfig
from ipsecme.ike.events import ChildSaFailed, IkeSaClosed, IkeSaEstablished
from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.state import IkeState
from ipsecme.wire.ike import ConfigAttribute, ConfigPayload, DeletePayload
from ipsecme.wire.numbers import ConfigAttributeType, ConfigType, ExchangeType, ProtocolId
from support.certificates import authority, key, leaf, of
from support.lending import (
    DUAL,
    address,
    ask,
    attribute,
    client,
    gateway,
    last_configuration,
    leased,
    live,
    local_ts,
    texts,
)
from support.pair import Node, Pair, peer
from support.roaming import Say, say

if TYPE_CHECKING:
    from ipsecme.ike.services import Datagram

T = ConfigAttributeType
FAMILIES = pytest.mark.parametrize(("family", "first"), [(4, "10.9.0.1"), (16, "fd00:9::1")])


def in_pool(pair: Pair) -> int:
    """Return how many addresses the gateway has lent."""
    return len(pair.b.endpoint._services.addresses)


def with_clients(*clients: PeerConfig, lender: PeerConfig) -> Pair:
    """Return a pair whose node `a` plays several clients."""
    pair = Pair(b=lender)
    pair.a = Node("a", EndpointConfig(peers=clients), 7)
    return pair


def call(pair: Pair, name: str = "test") -> None:
    pair.a.endpoint.initiate(name, None, pair.now)
    pair.flush(pair.a)
    pair.drive()


def wished(text: str) -> list[bytes]:
    """Return an address as a CFG_REQUEST wishes for it."""
    return [address(text) + (b"\x80" if ":" in text else b"")]


def hints(pair: Pair) -> list[bytes]:
    """Return the address that the last CFG_REQUEST wished for."""
    request, _ = last_configuration(pair)
    kinds = (T.INTERNAL_IP4_ADDRESS, T.INTERNAL_IP6_ADDRESS)
    return [a.value for a in request.only(ConfigPayload).attributes if a.type in kinds]


@pytest.mark.requirement("M-43", "M-56", "M-U39")
@FAMILIES
def test_rekeying_the_ike_sa_keeps_the_address_and_asks_for_none(family: int, first: str) -> None:
    pair = Pair(a=client(family), b=gateway(*DUAL))
    pair.establish()
    before = sum(isinstance(p, ConfigPayload) for m in pair.messages for p in m.payloads)
    for node in (pair.a, pair.b):
        pair.rekey(node)
        pair.drive(60)  # the old one is gone
        assert leased(pair) == [[first]]
        assert in_pool(pair) == 1
        assert texts(live(pair.a).internal.assigned) == [first]
    pair.rekey(pair.b, "net")
    pair.drive()
    assert local_ts(pair) == [[first]]
    after = sum(isinstance(p, ConfigPayload) for m in pair.messages for p in m.payloads)
    assert after == before
    pair.check_sads()
    pair.terminate(pair.a)
    pair.drive()
    assert in_pool(pair) == 0


@FAMILIES
def test_rekeyings_that_collide_lose_nothing(family: int, first: str) -> None:
    pair = Pair(a=client(family), b=gateway(*DUAL))
    pair.establish()
    for node in (pair.a, pair.b):
        assert node.endpoint.rekey("test", None, pair.now) == 1
    pair.flush(pair.a)
    pair.flush(pair.b)
    pair.drive(60)
    assert leased(pair) == [[first]]
    assert in_pool(pair) == 1
    pair.terminate(pair.b)
    pair.drive()
    assert in_pool(pair) == 0


@pytest.mark.requirement("M-49")
@FAMILIES
@pytest.mark.parametrize("break_first", [False, True])
def test_reauthentication_keeps_the_address_by_asking_for_it(
    family: int, first: str, break_first: bool
) -> None:
    caller = client(family, reauthenticate=1000.0, break_before_make=break_first)
    other = client(family, name="other", identity="other.example.com")
    pair = with_clients(caller, other, lender=gateway(*DUAL))
    call(pair)
    call(pair, "other")
    pair.drive(1000)
    assert hints(pair) == wished(first)
    assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"]
    assert sorted(leased(pair)) == [[first], [first.removesuffix("1") + "2"]]
    pair.check_sads(2)
    pair.terminate(pair.a)
    pair.drive()
    assert in_pool(pair) == 1  # the other one's


@pytest.mark.requirement("M-U39")
@FAMILIES
def test_authentication_anew_may_bring_another_address(family: int, first: str) -> None:
    pair = Pair(a=client(family, reauthenticate=1000.0), b=gateway(*DUAL))
    pair.establish()
    pair.a.endpoint._services.last_assigned.clear()  # so nothing is wished for
    pair.drive(1000)
    second = first.removesuffix("1") + "2"
    assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"]
    assert leased(pair) == [[second]]
    assert local_ts(pair) == [[second]]
    assert in_pool(pair) == 1
    pair.check_sads()


@pytest.mark.requirement("M-49")
@FAMILIES
def test_another_identity_that_wishes_for_it_gets_another(family: int, first: str) -> None:
    mine = client(family, name="mine", identity="mine.example.com")
    pair = with_clients(mine, client(family), lender=gateway(*DUAL))
    call(pair, "mine")
    pair.a.endpoint._services.last_assigned["test"] = (address(first),)
    call(pair)
    assert hints(pair) == wished(first)
    assert leased(pair) == [[first], [first.removesuffix("1") + "2"]]
    assert texts(live(pair.a).internal.assigned) == [first.removesuffix("1") + "2"]


@pytest.mark.requirement("M-49")
@FAMILIES
def test_a_free_address_is_had_for_the_wish(family: int, first: str) -> None:
    pair = Pair(a=client(family), b=gateway(*DUAL))
    wish = first.removesuffix("1") + "77"
    pair.a.endpoint._services.last_assigned["test"] = (address(wish),)
    pair.establish()
    assert leased(pair) == [[wish]]
    pair.check_sads()


def test_who_comes_back_after_a_crash_gets_what_it_left_behind() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.0/24"))
    pair.establish()
    pair.a = Node("a", EndpointConfig(peers=(client(4),)), 99)
    call(pair)
    assert pair.b.reasons(IkeSaClosed) == ["replaced"]  # INITIAL_CONTACT
    assert leased(pair) == [["10.9.0.1"]]
    assert in_pool(pair) == 1


def test_two_hosts_of_one_identity_have_two_addresses() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.0/24"))
    pair.establish()
    # A second host with the same identity that does not say INITIAL_CONTACT and wishes nothing.
    pair.a.endpoint._services.last_assigned.clear()
    live(pair.a).services.registry.reopen(
        live(pair.a), [CreateChild(config) for config in client(4).children], pair.now
    )
    first = live(pair.b)
    pair.flush(pair.a)
    pair.drive(0.05)
    assert texts(first.internal.leased) == ["10.9.0.1"]
    assert ["10.9.0.2"] in leased(pair)


def test_hosts_that_share_an_identity_share_no_address() -> None:
    lender = replace(gateway("10.9.0.0/24"), replicated=True, remote_address=None)
    pair = Pair(a=client(4, reauthenticate=1000.0), b=lender)
    pair.establish()
    first = live(pair.b)
    # Another host, at another place, with the same identity and a wish for the same address.
    pair.a = Node("a", EndpointConfig(peers=(client(4),)), 99)
    pair.a.endpoint._services.last_assigned["test"] = (address("10.9.0.1"),)
    cross = pair.cross

    def from_elsewhere(sender: Node, datagram: Datagram) -> Datagram | None:
        crossed = cross(sender, datagram)
        if sender is pair.b or crossed is None:
            return crossed
        there = crossed.path.remote._replace(address="198.51.100.77")
        return crossed._replace(path=crossed.path._replace(remote=there))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair, "cross", from_elsewhere)
        call(pair)
    assert texts(first.internal.leased) == ["10.9.0.1"]
    assert leased(pair) == [["10.9.0.1"], ["10.9.0.2"]]


def test_one_of_those_hosts_keeps_its_address_when_it_authenticates_anew() -> None:
    lender = replace(gateway("10.9.0.0/24"), replicated=True)
    pair = Pair(a=client(4, reauthenticate=1000.0), b=lender)
    pair.establish()
    pair.drive(1000)
    assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"]
    assert leased(pair) == [["10.9.0.1"]]


def test_those_who_prove_no_identity_share_no_address() -> None:
    lender = replace(gateway("10.9.0.0/24"), psk=None, local_null=True, remote_null=True)
    clients = [
        client(
            4, name=name, identity="same.example.com", psk=None, local_null=True, remote_null=True
        )
        for name in ("one", "test")
    ]
    pair = with_clients(*clients, lender=lender)
    pair.a.endpoint._services.last_assigned.update(
        {"one": (address("10.9.0.9"),), "test": (address("10.9.0.9"),)}
    )
    call(pair, "one")
    call(pair)
    assert leased(pair) == [["10.9.0.9"], ["10.9.0.1"]]
    pair.rekey(pair.a)
    pair.drive(60)
    assert ask_again(pair) == [address("10.9.0.1")]


def ask_again(pair: Pair) -> list[bytes]:
    """Return what the peer gets when it asks once more on its newest IKE SA."""
    reply = ask(pair, attribute(T.INTERNAL_IP4_ADDRESS)).only(ConfigPayload)
    return [a.value for a in reply.attributes if a.type == T.INTERNAL_IP4_ADDRESS]


def test_an_address_is_chosen_when_the_certificate_has_been_checked() -> None:
    root = authority("Root", number=1)

    def signing(one: PeerConfig, name: str) -> PeerConfig:
        credential = Credential(SigningKey(key("ecdsa256", 0)), (leaf(root, name),))
        return replace(one, psk=None, credentials=(credential,), trust=Trust(tuple(of(root))))

    pair = Pair(
        a=signing(client(4), "a.example.com"), b=signing(gateway("10.9.0.0/24"), "b.example.com")
    )
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(3)  # the request is repeated meanwhile
    assert in_pool(pair) == 0
    pair.b.answer(pair.now)
    pair.flush(pair.b)
    pair.drive()
    assert leased(pair) == [["10.9.0.1"]]
    pair.check_sads()
    pair.terminate(pair.a)
    pair.drive()
    assert in_pool(pair) == 0


# what a peer may try


def wish() -> ConfigPayload:
    return ConfigPayload(ConfigType.CFG_REQUEST, (ConfigAttribute(T.INTERNAL_IP4_ADDRESS),))


@pytest.mark.parametrize("wish_first", [False, True])
def test_who_asks_and_leaves_in_one_message_keeps_nothing(wish_first: bool) -> None:
    pair = Pair(a=peer("a"), b=gateway("10.9.0.0/24", static=("10.1.0.0/16",)))
    pair.establish()
    delete = DeletePayload(ProtocolId.IKE)
    say(pair, pair.a, *((wish(), delete) if wish_first else (delete, wish())))
    pair.drive(1)
    assert pair.b.reasons(IkeSaClosed) == ["deleted_by_peer"]
    assert in_pool(pair) == 0


def test_a_replaced_ike_sa_lends_nothing() -> None:
    pair = Pair(a=client(4), b=gateway("10.9.0.0/24"))
    pair.establish()
    old, other = live(pair.a), live(pair.b)
    pair.link.filter = lambda name, _: not (name == "a" and old.heir is not None)
    pair.rekey(pair.a)
    pair.drive(0.1)
    assert (other.state, leased(pair)) == (IkeState.REKEYED, [["10.9.0.1"]])
    pair.link.filter = None
    old.dialogue.requests.outstanding.clear()
    old.dialogue.begin(ExchangeType.INFORMATIONAL, [Say(wish())], pair.now)
    pair.flush(pair.a)
    pair.drive(0.1)
    assert in_pool(pair) == 1
    assert not other.internal.leased


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "224.0.0.9", "255.255.255.255", "169.254.0.7", "0.0.0.0", "::1", "fe80::1"],
)
def test_the_client_takes_no_address_that_is_none(text: str) -> None:
    family = 16 if ":" in text else 4
    pair = Pair(a=client(family), b=gateway(f"{text}-{text}"))
    pair.establish()
    assert live(pair.a).internal.assigned == ()
    pair.check_sads(0)
    assert pair.a.reasons(ChildSaFailed) == ["internal_address_failure"]
    assert len(pair.a.of(IkeSaEstablished)) == 1
