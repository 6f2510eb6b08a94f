"""A policy that changes while SAs are up: what is no longer allowed goes (RFC 7296, 2.9.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Secret
from ipsecme.ike.events import ChildSaClosed, IkeSaClosed, IkeSaFailed
from ipsecme.policy.keywords import parse_proposals
from ipsecme.policy.parameters import Mode
from ipsecme.policy.selector import parse_selector, selector_text
from ipsecme.wire.numbers import ProtocolId
from support.pair import Link, Pair, peer

if TYPE_CHECKING:
    from ipsecme.ike.config import PeerConfig
    from support.pair import Node


def change(pair: Pair, node: Node, *peers: PeerConfig) -> None:
    """Give a node another policy."""
    node.endpoint.replace_peers(peers, pair.now)
    pair.flush(node)
    pair.drive(3)


@pytest.mark.requirement("R7296-098")
def test_traffic_that_is_no_longer_allowed_loses_its_child_sa_and_gets_a_narrower_one() -> None:
    pair = Pair()
    pair.establish()
    change(pair, pair.a, peer("a", remote_ts=("10.2.7.0/24",)))
    assert pair.a.reasons(ChildSaClosed) == ["policy_changed"]
    assert pair.b.reasons(ChildSaClosed) == ["deleted_by_peer"]
    assert [selector_text(s) for s in pair.a.current[0].remote_ts] == ["10.2.7.0/24"]
    pair.check_sads()
    assert not pair.a.of(IkeSaClosed)


@pytest.mark.requirement("R7296-098")
def test_a_responder_deletes_and_the_initiator_may_ask_again() -> None:
    pair = Pair()
    pair.establish()
    change(pair, pair.b, peer("b", remote_ts=("10.1.7.0/24",)))
    assert pair.b.reasons(ChildSaClosed) == ["policy_changed"]
    assert not pair.b.current
    pair.initiate()
    pair.drive(2)
    assert [selector_text(s) for s in pair.b.current[0].remote_ts] == ["10.1.7.0/24"]


def test_what_the_new_policy_allows_goes_on_as_it_was() -> None:
    pair = Pair()
    pair.establish()
    spis = [sa.spi for sa in pair.a.current]
    wider = peer("a", remote_ts=("10.0.0.0/8",), liveness=7.0)
    change(pair, pair.a, wider)
    assert [sa.spi for sa in pair.a.current] == spis
    assert not pair.a.of(ChildSaClosed)
    pair.rekey(pair.a, "net")
    pair.drive(2)
    pair.check_sads()


def test_other_algorithms_make_a_new_child_sa() -> None:
    pair = Pair(b=peer("b", esp=("aes256gcm16", "aes128gcm16")))
    pair.establish()
    change(pair, pair.a, peer("a", esp=("aes128gcm16",)))
    assert pair.a.reasons(ChildSaClosed) == ["policy_changed"]
    assert pair.a.current[0].suite.key_bits == 128
    pair.check_sads()


def test_another_mode_ends_the_child_sa_of_the_old_one() -> None:
    pair = Pair()
    pair.establish()
    old = pair.a.endpoint.config.peers[0]
    children = tuple(replace(child, mode=Mode.TRANSPORT) for child in old.children)
    change(pair, pair.a, replace(old, children=children))
    assert pair.a.reasons(ChildSaClosed) == ["policy_changed"]
    assert not pair.a.current
    assert not pair.b.current


@pytest.mark.parametrize("how", ["gone", "another secret", "another identity", "other algorithms"])
def test_a_connection_that_is_gone_or_proves_itself_otherwise_ends(how: str) -> None:
    pair = Pair()
    pair.establish()
    old = pair.a.endpoint.config.peers[0]
    proposals = parse_proposals(["aes128gcm16-prfsha256-x25519"], ProtocolId.IKE)
    changed = {
        "gone": (),
        "another secret": (replace(old, psk=Secret(b"quite another secret")),),
        "another identity": (replace(old, local_id=pair.b.endpoint.config.peers[0].local_id),),
        "other algorithms": (replace(old, proposals=proposals),),
    }
    change(pair, pair.a, *changed[how])
    assert pair.a.reasons(IkeSaClosed) == ["policy_changed"]
    assert pair.b.reasons(IkeSaClosed) == ["deleted_by_peer"]
    assert not pair.a.sad
    assert not pair.b.sad


def test_half_open_ike_sas_are_held_to_the_new_policy() -> None:
    pair = Pair(Link(filter=lambda sender, _: sender == "a"))
    pair.initiate()
    pair.drive(0.2)
    assert pair.b.endpoint.half_open == 1
    change(pair, pair.b)
    assert pair.b.endpoint.half_open == 0
    change(pair, pair.a)
    assert pair.a.of(IkeSaFailed)
    assert pair.a.endpoint.is_idle


def test_strangers_meet_the_new_policy() -> None:
    pair = Pair()
    pair.b.endpoint.replace_peers((), pair.now)
    pair.initiate()
    pair.drive(5)
    assert pair.a.reasons(IkeSaFailed) == ["no_proposal_chosen"]
    change(pair, pair.b, peer("b"))
    pair.establish()
    pair.check_sads()
    assert parse_selector("10.1.0.0/16") in pair.b.current[0].remote_ts
