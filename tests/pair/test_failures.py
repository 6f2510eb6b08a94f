"""Each failure ends with its own clear error at both ends, and leaves everything else alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipsecme.base import LocalMisuse
from ipsecme.ike.config import AdmissionConfig, ChildConfig, Retransmission
from ipsecme.ike.events import ChildSaFailed, IkeSaClosed, IkeSaFailed
from ipsecme.ike.schedule import FIRST_REQUEST
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType
from support.pair import Link, Pair, peer


def failure(node: object) -> IkeSaFailed:
    """Return the one failure of a node."""
    (event,) = node.of(IkeSaFailed)  # type: ignore[attr-defined]
    assert isinstance(event, IkeSaFailed)
    return event


@pytest.mark.requirement("R7296-115")
def test_wrong_key() -> None:
    pair = Pair(a=peer("a", psk=b"another secret, as long as it"))
    pair.establish()
    assert failure(pair.a).reason == "authentication_failed"
    assert failure(pair.b).reason == "authentication_failed"
    assert "a.example.com has another pre-shared key" in failure(pair.b).detail
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.b.endpoint.half_open == 0
    assert pair.a.endpoint.status()[0].state == "down"
    error = pair.a.endpoint.status()[0].last_error
    assert error is not None
    assert error.reason == "authentication_failed"


def test_wrong_identity_of_the_initiator() -> None:
    pair = Pair(b=peer("b", remote_id="somebody.example.com"))
    pair.establish()
    assert failure(pair.a).reason == "authentication_failed"
    assert "calls itself a.example.com" in failure(pair.b).detail
    assert "somebody.example.com" in failure(pair.b).detail


@pytest.mark.requirement("R7296-135", "R7296-194", "STM-17")
def test_wrong_identity_of_the_responder_is_told_to_it() -> None:
    pair = Pair(a=peer("a", remote_id="somebody.example.com"))
    pair.establish()
    assert failure(pair.a).reason == "authentication_failed"
    assert "calls itself b.example.com" in failure(pair.a).detail
    (closed,) = pair.b.of(IkeSaClosed)
    assert closed.reason == "authentication_failed"
    assert not pair.b.sad
    pair.drive(60)
    assert not pair.a.endpoint._registry
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("R7296-134")
def test_all_authentication_failures_look_alike_on_the_wire() -> None:
    sizes = set()
    for setup in (
        {"a": peer("a", psk=b"another secret, as long as it")},
        {"b": peer("b", remote_id="somebody.example.com")},
    ):
        pair = Pair(**setup)  # type: ignore[arg-type]
        pair.establish()
        sizes.add(len(pair.sent[3][1].data))
        assert pair.messages[-1].header.is_response
        assert pair.messages[-1].payloads == [NotifyPayload(NotifyType.AUTHENTICATION_FAILED)]
    assert len(sizes) == 1


def test_no_common_ike_proposal() -> None:
    pair = Pair(b=peer("b", ike=("aes128-sha256-x25519",)))
    pair.establish()
    assert failure(pair.a).reason == "no_proposal_chosen"
    assert failure(pair.b).reason == "no_proposal_chosen"
    assert "(not authenticated)" in failure(pair.a).detail
    assert pair.b.endpoint.half_open == 0


def test_no_common_key_exchange() -> None:
    pair = Pair(b=peer("b", ike=("aes256gcm16-prfsha256-ecp256",)))
    pair.establish()
    assert failure(pair.a).reason == "no_proposal_chosen"


@pytest.mark.requirement("R7296-003", "R7296-139")
def test_no_common_esp_proposal_leaves_the_ike_sa_up() -> None:
    pair = Pair(b=peer("b", esp=("aes128-sha256",)))
    pair.establish()
    assert pair.a.names() == ["IkeSaEstablished", "ChildSaFailed"]
    assert pair.b.names() == ["IkeSaEstablished", "ChildSaFailed"]
    assert pair.a.reasons(ChildSaFailed) == ["no_proposal_chosen"]
    assert not pair.a.sad
    assert pair.a.endpoint.status()[0].state == "up"


@pytest.mark.requirement("R7296-092", "R7296-003", "R7296-137")
def test_no_acceptable_selectors_leave_the_ike_sa_up() -> None:
    pair = Pair(a=peer("a", remote_ts=("10.9.0.0/16",)))
    pair.establish()
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]
    (refused,) = pair.b.of(ChildSaFailed)
    detail = refused.detail
    assert "10.9.0.0/16 to 10.1.0.0/16" in detail
    assert "10.2.0.0/16 to 10.1.0.0/16" in detail
    pair.rekey(pair.a)
    pair.drive()
    assert pair.a.endpoint.status()[0].state == "up"


@pytest.mark.requirement("R7296-013")
def test_the_same_for_a_second_child_sa() -> None:
    far = ChildConfig("far", (parse_selector("10.1.0.0/16"),), (parse_selector("10.9.0.0/16"),))
    pair = Pair(a=peer("a", children=(*peer("a").children, far)))
    pair.establish()
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]
    assert pair.b.reasons(ChildSaFailed) == ["ts_unacceptable"]
    pair.check_sads()


def test_unreachable_peer() -> None:
    pair = Pair(Link(loss=1.0))
    pair.initiate()
    pair.drive(400)
    assert failure(pair.a).reason == "unreachable"
    assert "no answer from 192.0.2.2:500 to IKE_SA_INIT" in failure(pair.a).detail
    assert len(pair.sent) == FIRST_REQUEST.tries
    pair.drive(60)
    assert not pair.a.endpoint._registry


def test_a_first_request_is_repeated_as_the_configuration_says() -> None:
    rare = Retransmission(first_wait=1, factor=2, tries=3)
    pair = Pair(Link(loss=1.0), a=peer("a", retransmission=rare))
    pair.initiate()
    pair.drive(400)
    assert len(pair.sent) == 3


@pytest.mark.requirement("R7296-043")
def test_an_established_peer_that_vanishes_is_found_out() -> None:
    pair = Pair()
    pair.establish()
    pair.link.loss = 1.0
    pair.drive(400)
    assert pair.a.reasons(IkeSaClosed) == ["unreachable"]
    assert pair.b.reasons(IkeSaClosed) == ["unreachable"]
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-044")
def test_traffic_from_the_peer_makes_liveness_checks_needless() -> None:
    pair = Pair()
    pair.establish()
    count = len(pair.sent)
    for _ in range(30):
        for node in (pair.a, pair.b):
            (spi,) = node.sad
            node.endpoint.handle_traffic(spi, pair.now)
        pair.drive(10)
    assert len(pair.sent) == count
    pair.drive(40)
    assert len(pair.sent) > count


@pytest.mark.requirement("R7296-044")
@pytest.mark.parametrize("damage", [0, 1])
def test_what_is_replayed_or_damaged_is_no_sign_of_life(damage: int) -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(4)
    old = [d for name, d in pair.sent if name == "a" and len(d.data) > 1][-1]
    data = bytearray(old.data)
    data[-1] ^= damage
    data[23] += damage  # the Message ID that is expected next
    path = old.path._replace(local=old.path.remote, remote=old.path.local)
    (sa,) = pair.b.endpoint._registry
    heard = sa.last_inbound_at
    pair.link.loss = 1.0
    for _ in range(40):
        pair.drive(10)
        pair.b.endpoint.receive_datagram(bytes(data), path, pair.now)
        pair.flush(pair.b)
    assert sa.last_inbound_at == heard
    assert pair.b.reasons(IkeSaClosed) == ["unreachable"]


def test_nobody_is_let_in_beyond_the_limit() -> None:
    pair = Pair(admission=AdmissionConfig(half_open_limit=0))
    pair.initiate()
    pair.drive(2)
    assert pair.b.endpoint.counters["dropped_half_open_limit"] >= 1
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("STM-13")
def test_a_half_open_ike_sa_goes_away() -> None:
    pair = Pair(Link(filter=lambda sender, _: sender == "a"))
    pair.initiate()
    pair.drive(5)
    assert pair.b.endpoint.half_open == 1
    pair.drive(400)
    assert pair.b.endpoint.half_open == 0
    assert not pair.b.endpoint._registry
    assert not pair.b.endpoint._registry._by_request


def test_an_unknown_address_is_refused_without_state() -> None:
    pair = Pair(b=replace(peer("b"), remote_address="192.0.2.77"))
    pair.establish()
    assert failure(pair.a).reason == "no_proposal_chosen"
    assert not pair.b.endpoint._registry
    assert pair.b.endpoint.counters["init_from_unknown_address"] >= 1


@pytest.mark.requirement("R7296-045")
def test_a_child_sa_that_cannot_be_installed_is_given_up() -> None:
    pair = Pair()
    pair.b.refuse_installs = True
    pair.establish()
    pair.drive(10)
    assert not pair.a.sad
    assert pair.a.endpoint.status()[0].state == "up"
    assert pair.b.endpoint.status()[0].ike_sas[0].children == ()
    error = pair.b.endpoint.status()[0].last_error
    assert error is not None
    assert error.reason == "install_failed"
    assert [m.sender for m in pair.messages if "DELETE" in m.types] == ["b", "a"]  # it is told


def test_unknown_names_are_refused_with_what_there_is() -> None:
    pair = Pair()
    with pytest.raises(LocalMisuse, match="no connection 'tset'; configured: test"):
        pair.a.endpoint.initiate("tset", None, 0.0)
    with pytest.raises(LocalMisuse, match="no Child SA 'x'; it has: net"):
        pair.a.endpoint.rekey("test", "x", 0.0)


def test_a_peer_without_address_cannot_be_called() -> None:
    pair = Pair(b=replace(peer("b"), remote_address=None))
    with pytest.raises(LocalMisuse, match="only the peer can call"):
        pair.b.endpoint.initiate("test", None, 0.0)


def test_shutdown_deletes_everything_and_takes_nobody_in() -> None:
    pair = Pair()
    pair.establish()
    pair.b.endpoint.shutdown(pair.now)
    pair.flush(pair.b)
    pair.drive()
    assert pair.b.endpoint.is_idle
    assert not pair.a.sad
    assert not pair.b.sad
    pair.initiate()
    pair.drive()
    assert pair.b.endpoint.is_idle


def test_shutdown_does_not_wait_long_for_the_dead() -> None:
    pair = Pair()
    pair.establish()
    pair.link.loss = 1.0
    pair.b.endpoint.shutdown(pair.now)
    pair.flush(pair.b)
    pair.drive(10)
    assert pair.b.endpoint.is_idle
    assert not pair.b.sad
