"""What each exchange carries, as the figures of RFC 7296 section 1 draw it."""

from __future__ import annotations

import pytest

from ipsecme.base import Path, Transport
from ipsecme.ike.config import Lifetimes
from ipsecme.ike.events import IkeSaClosed
from ipsecme.ike.jobs import CheckLiveness
from ipsecme.wire.ike import (
    DeletePayload,
    Header,
    IdentityPayload,
    Message,
    NoncePayload,
    NotifyPayload,
    SaPayload,
    UnknownPayload,
)
from ipsecme.wire.numbers import (
    ExchangeType,
    KeId,
    NotifyType,
    PayloadType,
    ProtocolId,
    TransformType,
)
from support.hostile_network import containers
from support.pair import Pair, Sent, peer

PFS = "aes256gcm16-x25519"
FRAGMENTATION = "IKEV2_FRAGMENTATION_SUPPORTED"
NATD = ["NAT_DETECTION_SOURCE_IP", "NAT_DETECTION_DESTINATION_IP"]


def last(pair: Pair, exchange: ExchangeType) -> tuple[Sent, Sent]:
    """Return the last request and response of one type of exchange."""
    of_type = [m for m in pair.messages if m.header.exchange == exchange]
    request = [m for m in of_type if not m.header.is_response][-1]
    response = [m for m in of_type if m.header.is_response][-1]
    return request, response


@pytest.mark.requirement("R7296-001", "R7296-170", "R7296-173")
def test_ike_sa_init_is_in_clear_and_everything_after_it_is_inside_sk() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.b, "net")
    pair.drive(10)
    request, response = last(pair, ExchangeType.IKE_SA_INIT)
    assert request.types == ["SA", "KE", "NONCE", *NATD, FRAGMENTATION]
    assert response.types == [*request.types, "CHILDLESS_IKEV2_SUPPORTED"]
    for _, datagram in pair.sent[2:]:
        outer = Message.decode(datagram.data)
        assert [p.payload_type for p in outer.payloads] == [PayloadType.SK]


@pytest.mark.requirement("R7296-002", "R7296-004", "R7296-190")
@pytest.mark.parametrize("esp", ["aes256gcm16", PFS])
def test_ike_auth_carries_identities_proof_and_a_child_sa_without_key_exchange(esp: str) -> None:
    pair = Pair(a=peer("a", esp=(esp,), mobike=False), b=peer("b", esp=(esp,)))
    pair.establish()
    request, response = last(pair, ExchangeType.IKE_AUTH)
    assert request.types == ["IDi", "IDr", "AUTH", "INITIAL_CONTACT", "SA", "TSi", "TSr"]
    assert response.types == ["IDr", "AUTH", "SA", "TSi", "TSr"]
    for message in (request, response):
        for proposal in message.only(SaPayload).proposals:
            assert not proposal.of_type(TransformType.KE)
            assert len(proposal.spi) == 4
    pair.check_sads()


@pytest.mark.requirement("R7296-005")
def test_the_initiator_names_whom_it_wants_and_judges_who_answered() -> None:
    pair = Pair(a=peer("a", remote_id="other.example.com"))
    pair.establish()
    request, response = last(pair, ExchangeType.IKE_AUTH)
    wanted = [p for p in request.payloads if isinstance(p, IdentityPayload)][1]
    assert (wanted.payload_type, wanted.data) == (PayloadType.IDr, b"other.example.com")
    assert response.only(IdentityPayload).data == b"b.example.com"
    assert not pair.a.sad


@pytest.mark.requirement("R7296-006", "R7296-009", "R7296-017", "R7296-035")
@pytest.mark.parametrize("esp", ["aes256gcm16", PFS])
def test_a_child_rekeying_names_the_inbound_spi_of_whoever_asks(esp: str) -> None:
    pair = Pair(a=peer("a", esp=(esp,)), b=peer("b", esp=(esp,)))
    pair.establish()
    (old,) = pair.b.sad
    pair.rekey(pair.b, "net")
    pair.drive(1)
    request, response = last(pair, ExchangeType.CREATE_CHILD_SA)
    ke = ["KE"] if esp == PFS else []
    assert request.sender == "b"
    assert not request.header.from_original_initiator
    assert request.header.message_id == 0
    assert request.types == ["REKEY_SA", "SA", "NONCE", *ke, "TSi", "TSr"]
    assert response.types == ["SA", "NONCE", *ke, "TSi", "TSr"]
    notify = request.only(NotifyPayload)
    assert (notify.protocol, notify.spi, notify.data) == (ProtocolId.ESP, old.to_bytes(4), b"")


@pytest.mark.requirement("R7296-014", "R7296-125", "R7296-179")
def test_an_ike_rekeying_has_spis_of_eight_octets_and_a_key_exchange() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a)
    pair.drive(1)
    request, response = last(pair, ExchangeType.CREATE_CHILD_SA)
    assert request.types == response.types == ["SA", "NONCE", "KE"]
    for message in (request, response):
        for proposal in message.only(SaPayload).proposals:
            assert proposal.protocol == ProtocolId.IKE
            assert len(proposal.spi) == 8
            assert KeId.NONE not in [t.id for t in proposal.of_type(TransformType.KE)]


@pytest.mark.requirement("R7296-019", "R7296-044")
def test_a_liveness_check_is_empty_and_so_is_its_answer() -> None:
    pair = Pair()
    pair.establish()
    pair.drive(40)
    request, response = last(pair, ExchangeType.INFORMATIONAL)
    assert request.types == response.types == []


def test_five_thousand_exchanges_leave_nothing_behind() -> None:
    pair = Pair()
    pair.establish()
    (sa,) = pair.a.endpoint._registry
    for _ in range(5_000):
        sa.queue(CheckLiveness(), pair.now)
        pair.a.endpoint._registry.settle(sa, pair.now)
        pair.flush(pair.a)
        pair.drive(0.021)
    assert sa.dialogue.requests.next_id > 5_000
    for node in (pair.a, pair.b):
        assert [path for path, size in containers(node.endpoint) if size > 100] == []
    pair.drive(40)
    pair.check_sads()


@pytest.mark.requirement("R7296-021", "R7296-207")
def test_a_child_delete_lists_each_senders_inbound_spi() -> None:
    pair = Pair()
    pair.establish()
    (a_spi,), (b_spi,) = pair.a.sad, pair.b.sad
    pair.terminate(pair.a, "net")
    pair.drive(1)
    request, response = last(pair, ExchangeType.INFORMATIONAL)
    assert request.payloads == [DeletePayload(ProtocolId.ESP, (a_spi.to_bytes(4),))]
    assert response.payloads == [DeletePayload(ProtocolId.ESP, (b_spi.to_bytes(4),))]


@pytest.mark.requirement("R7296-023")
@pytest.mark.parametrize("who", ["a", "b"])
def test_an_ike_delete_carries_no_spi_and_gets_an_empty_answer(who: str) -> None:
    pair = Pair()
    pair.establish()
    pair.terminate(getattr(pair, who))
    pair.drive(1)
    request, response = last(pair, ExchangeType.INFORMATIONAL)
    assert request.payloads == [DeletePayload(ProtocolId.IKE)]
    assert response.payloads == []
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-015")
def test_a_new_ike_sa_counts_from_zero_in_both_directions() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.b)
    pair.drive(5)
    for node in (pair.a, pair.b):
        pair.rekey(node, "net")
        pair.drive(1)
        request, _ = last(pair, ExchangeType.CREATE_CHILD_SA)
        assert request.header.message_id == 0
        assert request.header.from_original_initiator == (node is pair.b)
        pair.drive(10)


@pytest.mark.requirement("R7296-016")
def test_what_waits_during_an_ike_rekeying_is_done_on_the_new_ike_sa() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a)
    pair.rekey(pair.a, "net")
    pair.drive(1)
    first, second = (
        m
        for m in pair.messages
        if m.header.exchange == ExchangeType.CREATE_CHILD_SA and not m.header.is_response
    )
    assert (first.types[0], second.types[0]) == ("SA", "REKEY_SA")
    assert first.header.spi_i != second.header.spi_i
    pair.check_sads()


@pytest.mark.requirement("R7296-037")
def test_one_request_at_a_time() -> None:
    pair = Pair()
    pair.establish()
    for _ in range(3):
        pair.a.endpoint.rekey("test", "net", pair.now)
        pair.a.endpoint.rekey("test", None, pair.now)
    pair.flush(pair.a)
    outstanding = 0
    for name, datagram in pair.sent[4:]:
        header = Header.decode(datagram.data)
        outstanding += name == "a" and not header.is_response
    assert outstanding == 1
    pair.drive(20)
    pair.check_sads()


@pytest.mark.requirement("R7296-039")
def test_a_request_is_answered_while_our_own_waits() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.terminate(pair.b, "net")
    pair.drive(20)
    assert not pair.a.endpoint.status()[0].ike_sas[0].children
    assert pair.a.endpoint.status()[0].state == "up"


@pytest.mark.requirement("R7296-040")
@pytest.mark.parametrize("ahead", [1, 5, 0x7FFFFFFF])
def test_a_message_id_outside_the_window_gets_no_answer(ahead: int) -> None:
    pair = Pair()
    pair.establish()
    (sa,) = pair.a.endpoint._registry
    sa.dialogue.requests.next_id += ahead
    pair.rekey(pair.a, "net")
    pair.drive(2)
    assert pair.b.endpoint.counters["dropped_message_id_outside_window"] >= 1
    assert [name for name, _ in pair.sent[4:] if name == "b"] == []


@pytest.mark.requirement("R7296-100", "R7296-202")
def test_our_nonces_are_fresh_and_long_enough() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(5)
    nonces = [p.data for m in pair.messages for p in m.payloads if isinstance(p, NoncePayload)]
    assert len(nonces) == len(set(nonces)) == 4
    assert all(len(nonce) >= 32 for nonce in nonces)


@pytest.mark.requirement("R7296-080")
def test_equal_lifetimes_end_at_different_times() -> None:
    moments = set()
    for seed in range(10):
        pair = Pair(a=peer("a", child_lifetimes=Lifetimes(1000, 1200)), seed=seed)
        pair.establish()
        (child,) = pair.a.endpoint.status()[0].ike_sas[0].children
        moments.add(round(child.rekey_at - child.created_at, 3))
        assert 900 <= child.rekey_at - child.created_at <= 1000
    assert len(moments) == 10


@pytest.mark.requirement("R7296-074")
def test_no_child_sa_outlives_its_hard_lifetime() -> None:
    lifetimes = Lifetimes(rekey=100, hard=120)
    pair = Pair(a=peer("a", child_lifetimes=lifetimes, liveness=10_000))
    pair.establish()
    start = pair.now

    def refuse(_sender: str, datagram: object) -> bool:
        data: bytes = datagram.data  # type: ignore[attr-defined]
        return Header.decode(data).exchange != ExchangeType.CREATE_CHILD_SA

    pair.link.filter = refuse
    pair.drive(130)
    assert pair.now - start >= 130
    (status,) = pair.a.endpoint.status()
    current = [c for sa in status.ike_sas for c in sa.children if c.state == "installed"]
    assert not current


@pytest.mark.requirement("R7296-074")
@pytest.mark.parametrize("refused", [True, False])
def test_an_ike_sa_goes_with_the_child_sa_that_could_not_be_rekeyed(
    refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ipsecme.ike.failures import Refused
    from ipsecme.ike.tasks.child_rekey import ChildRekey

    def refuse(_task: object, _ctx: object) -> None:
        raise Refused(NotifyType.NO_PROPOSAL_CHOSEN, "not any more")

    if refused:
        monkeypatch.setattr(ChildRekey, "read_request", refuse)
    pair = Pair(a=peer("a", child_lifetimes=Lifetimes(rekey=100, hard=200)))
    pair.establish()
    start = pair.now
    (sa,) = pair.a.endpoint._registry
    (child,) = sa.children
    pair.drive(child.expires_at - pair.now - 1)
    assert pair.now - start > 190
    assert not pair.a.of(IkeSaClosed)
    assert (child.spi in pair.a.sad) == refused
    pair.drive(10)
    assert pair.a.reasons(IkeSaClosed) == (["expired"] if refused else [])
    assert pair.b.reasons(IkeSaClosed) == (["deleted_by_peer"] if refused else [])
    assert bool(pair.a.sad) == bool(pair.b.sad) == (not refused)


@pytest.mark.requirement("R7296-079")
def test_a_twin_of_a_child_sa_is_left_alone() -> None:
    pair = Pair()
    pair.initiate(pair.a)
    pair.initiate(pair.b)
    pair.drive(200)
    pair.check_sads(pairs=2)


@pytest.mark.requirement("R7296-102")
def test_answers_go_back_by_the_way_the_question_came() -> None:
    pair = Pair()
    pair.initiate()
    request = pair.sent[0][1]
    path = request.path._replace(
        local=request.path.remote._replace(address="192.0.2.2"),
        remote=request.path.local._replace(port=33_333),
    )
    pair.b.endpoint.receive_datagram(request.data, path, pair.now)
    (answer,) = pair.b.drain(pair.now)
    assert answer.path == path


@pytest.mark.requirement("R7296-102")
def test_answers_under_the_keys_go_back_by_the_way_the_question_came() -> None:
    pair = Pair()
    pair.establish()
    pair.link.filter = lambda _sender, _datagram: False
    pair.rekey(pair.a, "net")
    request = pair.sent[-1][1]
    path = Path(Transport("192.0.2.200", 500), Transport("192.0.2.1", 33_333))
    for _ in range(2):  # the answer, and the same again
        pair.b.endpoint.receive_datagram(request.data, path, pair.now)
        (answer,) = pair.b.drain(pair.now)
        assert answer.path == path


@pytest.mark.requirement("R7296-157", "M-80")
def test_the_initiator_may_begin_on_the_nat_traversal_port() -> None:
    from dataclasses import replace

    pair = Pair(a=replace(peer("a"), remote_port=4500))
    pair.establish()
    assert all(d.path.encapsulated for _, d in pair.sent)
    assert {d.path.remote.port for _, d in pair.sent} == {4500}
    pair.check_sads()
    # Without a NAT in between, ESP needs no UDP although IKE uses the port.
    assert not pair.a.current[0].path.encapsulated


@pytest.mark.requirement("R7296-058", "R7296-186", "R7296-204", "R7296-209", "R7296-220")
def test_unknown_notifies_vendor_ids_and_transforms_change_nothing() -> None:
    pair = Pair()
    pair.initiate()
    message = Message.decode(pair.sent[0][1].data)
    from ipsecme.wire.ike import Attribute, Transform, VendorIdPayload
    from ipsecme.wire.numbers import AttributeType

    strange = Transform(TransformType.ENCR, 1234, (Attribute(AttributeType.of(99), b"long"),))
    payload = next(p for p in message.payloads if isinstance(p, SaPayload))
    (proposal,) = payload.proposals
    payload.proposals = (proposal._replace(transforms=(strange, *proposal.transforms)),)
    message.payloads += [
        NotifyPayload(NotifyType.of(50_000), b"?"),
        NotifyPayload(NotifyType.of(9_000), b"?"),
        VendorIdPayload(b""),
        *(VendorIdPayload(bytes([n]) * n) for n in range(1, 20)),
    ]
    path = pair.sent[0][1].path
    pair.deliver(
        pair.b,
        pair.sent[0][1]._replace(
            data=message.encode(), path=path._replace(local=path.remote, remote=path.local)
        ),
    )
    answer = pair.sent[-1][1].data
    assert Message.decode(answer).payloads[0].payload_type == PayloadType.SA
    assert pair.b.endpoint.half_open == 1


@pytest.mark.requirement("R7296-056")
def test_nothing_that_we_send_is_critical() -> None:
    pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=(PFS,)))
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.rekey(pair.b)
    pair.drive(20)
    for _, datagram in pair.sent:
        if len(datagram.data) > 1:
            assert not datagram.data[29] & 0x80
    payloads = [p for message in pair.messages for p in message.payloads]
    assert not any(isinstance(p, UnknownPayload) for p in payloads)
