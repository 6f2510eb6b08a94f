"""Notify payloads, wherever they are put and whatever they say (RFC 7296, section 3.10)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.ike.config import AdmissionConfig, Identity
from ipsecme.ike.events import ChildSaFailed, IkeSaClosed, IkeSaEstablished, IkeSaFailed
from ipsecme.wire.ike import (
    AuthPayload,
    Header,
    Message,
    NotifyPayload,
    SaPayload,
    UnknownPayload,
    encode_chain,
)
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType, ProtocolId
from support.crafted import Outgoing, ask, edit, in_use
from support.pair import Pair, peer

if TYPE_CHECKING:
    from ipsecme.wire.ike import Payload
    from support.pair import Node

PFS = "aes256gcm16-x25519"
UNKNOWN_ERROR, UNKNOWN_STATUS = NotifyType.of(9_999), NotifyType.of(30_000)
INITIAL_CONTACT = NotifyPayload(NotifyType.INITIAL_CONTACT)
IPCOMP = NotifyPayload(NotifyType.IPCOMP_SUPPORTED, b"\x12\x34\x02")


def works(pair: Pair) -> None:
    """Rekeyings of both kinds pass."""
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.rekey(pair.b)
    pair.drive(10)
    pair.check_sads()


def notifies(message: list[Payload]) -> list[NotifyPayload]:
    """Return the Notify payloads of a message."""
    return [p for p in message if isinstance(p, NotifyPayload)]


# what nobody knows


@pytest.mark.requirement("R7296-204", "M-U41")
@pytest.mark.parametrize("kind", [UNKNOWN_ERROR, UNKNOWN_STATUS])
def test_unknown_notifies_in_requests_are_ignored_and_counted(
    kind: NotifyType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(message: Outgoing) -> None:
        if not message.is_response:
            message.payloads.append(NotifyPayload(kind, b"?"))

    edit(monkeypatch, add)
    pair = Pair()
    pair.establish()
    works(pair)
    requests = [m for m in pair.messages if not m.header.is_response]
    for sender, node in (("a", pair.b), ("b", pair.a)):
        asked = [m for m in requests if m.sender == sender]
        counted = node.endpoint.counters["unknown_notifies"]
        assert counted == sum(kind.name in m.types for m in asked)
        assert counted >= 2


@pytest.mark.requirement("R7296-204", "M-U41")
def test_an_unknown_status_in_a_response_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(message: Outgoing) -> None:
        if message.is_response:
            message.payloads.append(NotifyPayload(UNKNOWN_STATUS, b"?"))

    edit(monkeypatch, add)
    pair = Pair()
    pair.establish()
    works(pair)
    assert pair.a.endpoint.counters["unknown_notifies"] >= 2


@pytest.mark.requirement("R7296-204", "M-U41")
@pytest.mark.parametrize("beside", [True, False])
def test_an_unknown_error_in_a_response_has_the_request_failed(
    *, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair()
    pair.establish()
    (old,) = pair.a.sad

    def spoil(message: Outgoing) -> None:
        if message.is_response and message.exchange == ExchangeType.CREATE_CHILD_SA:
            kept = message.payloads if beside else []
            message.payloads = [*kept, NotifyPayload(UNKNOWN_ERROR)]

    edit(monkeypatch, spoil)
    pair.rekey(pair.a, "net")
    pair.drive(5)
    assert pair.a.reasons(ChildSaFailed) == ["refused"]
    assert list(pair.a.sad) == [old]
    assert pair.a.endpoint.status()[0].state == "up"
    if beside:  # what the peer made is taken back
        assert [pair_.outbound.spi for pair_ in pair.b.sad.values()] == [old]
    pair.rekey(pair.a)
    pair.drive(5)
    assert len(pair.a.endpoint.status()[0].ike_sas) == 1
    assert in_use(pair.a).spi_i.hex() == pair.a.endpoint.status()[0].ike_sas[0].spi_i


@pytest.mark.requirement("R7296-140", "R7296-204")
def test_an_unknown_error_instead_of_a_proof_fails_the_authentication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(message: Outgoing) -> None:
        if message.is_response and message.exchange == ExchangeType.IKE_AUTH:
            message.payloads = [NotifyPayload(UNKNOWN_ERROR)]

    edit(monkeypatch, spoil)
    pair = Pair()
    pair.establish()
    (failed,) = pair.a.of(IkeSaFailed)
    assert "9999" in failed.detail
    assert not pair.a.of(IkeSaEstablished)
    assert pair.a.endpoint.status()[0].state == "down"


@pytest.mark.requirement("R7296-204")
def test_an_unknown_error_beside_a_proof_fails_the_child_sa_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(message: Outgoing) -> None:
        if message.is_response and message.exchange == ExchangeType.IKE_AUTH:
            message.payloads.append(NotifyPayload(UNKNOWN_ERROR))

    edit(monkeypatch, spoil)
    pair = Pair()
    pair.establish()
    assert pair.a.names()[:2] == ["IkeSaEstablished", "ChildSaFailed"]
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.a.endpoint.status()[0].state == "up"


# INITIAL_CONTACT


def restarted(pair: Pair, **changes: object) -> Node:
    """Put another node in the place of `a`, which has forgotten all."""
    other = Pair(a=replace(peer("a"), **changes), seed=7)  # type: ignore[arg-type]
    pair.a = other.a
    return pair.a


@pytest.mark.requirement("M-53", "R7296-046")
def test_initial_contact_ends_the_other_ike_sas_of_an_identity() -> None:
    pair = Pair()
    pair.establish()
    restarted(pair)
    pair.initiate()
    pair.drive()
    assert pair.b.reasons(IkeSaClosed) == ["replaced"]
    pair.check_sads()


@pytest.mark.requirement("M-53")
@pytest.mark.parametrize("exchange", [ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA])
def test_initial_contact_later_than_ike_auth_is_ignored(
    exchange: ExchangeType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two IKE SAs of one identity: neither goes when the other says that it is the only one."""
    pair = Pair()
    pair.initiate(pair.a)
    pair.initiate(pair.b)
    pair.drive(10)
    assert len(pair.b.of(IkeSaEstablished)) == 2

    def add(message: Outgoing) -> None:
        if message.exchange == exchange:
            message.payloads.append(INITIAL_CONTACT)

    edit(monkeypatch, add)
    pair.rekey(pair.a, "net")
    pair.drive(40)
    assert any("INITIAL_CONTACT" in m.types for m in pair.messages if m.header.message_id >= 2)
    assert not pair.a.of(IkeSaClosed)
    assert not pair.b.of(IkeSaClosed)
    pair.check_sads(pairs=2)


@pytest.mark.requirement("M-53")
def test_initial_contact_of_somebody_who_proves_nothing_ends_nothing() -> None:
    pair = Pair()
    pair.establish()
    sads = dict(pair.b.sad)
    liar = Pair(a=peer("a", psk=b"a secret that is not the right one"), seed=7)
    pair.a = liar.a
    pair.initiate()
    pair.drive()
    assert "INITIAL_CONTACT" in [p for m in pair.messages for p in m.types]
    assert pair.a.reasons(IkeSaFailed) == ["authentication_failed"]
    assert not pair.b.of(IkeSaClosed)
    assert pair.b.sad == sads


@pytest.mark.requirement("M-53")
def test_initial_contact_of_another_identity_ends_nothing() -> None:
    pair = Pair(b=peer("b", remote_id=None))
    pair.establish()
    restarted(pair, local_id=Identity.parse("c.example.com"))
    pair.initiate()
    pair.drive()
    assert len(pair.b.of(IkeSaEstablished)) == 2
    assert not pair.b.of(IkeSaClosed)
    assert len(pair.b.current) == 2


@pytest.mark.requirement("R7296-047", "M-53")
@pytest.mark.parametrize("who", ["the one that calls", "the one that is called"])
def test_an_identity_of_several_hosts_has_no_only_ike_sa(who: str) -> None:
    both = who == "the one that is called"
    a, b = peer("a"), replace(peer("b"), replicated=both)
    pair = Pair(a=replace(a, replicated=not both), b=b)
    pair.establish()
    restarted(pair, replicated=not both)
    pair.initiate()
    pair.drive()
    sent = [p for m in pair.messages for p in m.types].count("INITIAL_CONTACT")
    assert sent == (2 if both else 0)
    assert len(pair.b.of(IkeSaEstablished)) == 2
    assert not pair.b.of(IkeSaClosed)
    assert len(pair.b.current) == 2


@pytest.mark.requirement("R7296-047")
def test_the_limit_of_an_identity_holds_where_no_newcomer_ends_the_others() -> None:
    pair = Pair(b=replace(peer("b"), replicated=True, max_ike_sas=1))
    pair.establish()
    restarted(pair)
    pair.initiate()
    pair.drive()
    assert len(pair.b.of(IkeSaEstablished)) == 1
    assert pair.b.endpoint.counters["dropped_identity_limit"] == 1


# compression, which is not spoken here


@pytest.mark.requirement("R7296-145")
def test_offers_of_compression_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(IPCOMP, data=b"\x12\x35\x03\x80\x01\x00\x02")

    def offer(message: Outgoing) -> None:
        if not message.is_response and any(isinstance(p, SaPayload) for p in message.payloads):
            message.payloads += [IPCOMP, other]

    edit(monkeypatch, offer)
    pair = Pair()
    pair.establish()
    works(pair)
    asked = [m for m in pair.messages if "IPCOMP_SUPPORTED" in m.types]
    exchanges = {m.header.exchange for m in asked}
    assert {ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA} <= exchanges
    assert not [m for m in asked if m.header.is_response]


@pytest.mark.requirement("R7296-145")
def test_compression_is_never_offered_nor_taken_up_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that accepts what was not proposed changes nothing, and one too short is wrong."""
    pair = Pair()
    pair.establish()
    works(pair)
    assert not [m for m in pair.messages if "IPCOMP_SUPPORTED" in m.types]

    def accept(message: Outgoing) -> None:
        if message.is_response and any(isinstance(p, SaPayload) for p in message.payloads):
            message.payloads.append(IPCOMP)

    edit(monkeypatch, accept)
    works(pair)
    assert ask(pair, [IPCOMP], ExchangeType.INFORMATIONAL) == []
    short = replace(IPCOMP, data=b"\x12\x34")
    (refusal,) = notifies(ask(pair, [short], ExchangeType.INFORMATIONAL))
    assert refusal.type == NotifyType.INVALID_SYNTAX


# what we send


def whole_life(monkeypatch: pytest.MonkeyPatch) -> list[Outgoing]:
    """Return every message of a life with refusals, rekeyings, errors and the end."""
    sent: list[Outgoing] = []
    edit(monkeypatch, sent.append)
    orders = ("aes256gcm16-x25519-ecp256",), ("aes256gcm16-ecp256-x25519",)
    pair = Pair(a=peer("a", esp=orders[0]), b=peer("b", esp=orders[1]))
    pair.establish()
    works(pair)
    stranger = NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\x11\x22\x33\x44")
    pair.rekey(pair.a, "net")
    pair.drive(10)
    message = [m for m in sent if any(isinstance(p, SaPayload) for p in m.payloads)][-2]
    ask(pair, [stranger, *message.payloads[1:]], ExchangeType.CREATE_CHILD_SA)
    ask(pair, [UnknownPayload(PayloadType.of(200), 0x80, b"")], ExchangeType.INFORMATIONAL)
    wrong = Pair(a=peer("a", psk=b"a secret that is not the right one"))
    wrong.establish()
    return sent


@pytest.mark.requirement("R7296-203")
def test_our_notifies_name_a_child_sa_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [p for message in whole_life(monkeypatch) for p in notifies(message.payloads)]
    kinds = {p.type for p in found}
    about_children = {NotifyType.REKEY_SA, NotifyType.CHILD_SA_NOT_FOUND}
    assert about_children < kinds
    assert {NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_KE_PAYLOAD} < kinds
    for notify in found:
        body = notify.body()
        if notify.type in about_children:
            assert body[:2] == b"\x03\x04"
        elif notify.type == NotifyType.CHILDLESS_IKEV2_SUPPORTED:
            assert body[:2] == b"\x01\x00"  # RFC 6023 has it so
        else:
            assert body[:2] == b"\x00\x00"


@pytest.mark.requirement("M-U24", "M-U40", "R7296-056")
def test_no_payload_that_we_send_is_critical(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    for message in whole_life(monkeypatch):
        first, chain = encode_chain(message.payloads)
        at = 0
        while at < len(chain):
            seen.add(first)
            first, flags, length = chain[at], chain[at + 1], int.from_bytes(chain[at + 2 : at + 4])
            assert flags == 0
            at += length
        assert first == 0
    kinds = {PayloadType.SA, PayloadType.NOTIFY, PayloadType.DELETE, PayloadType.AUTH}
    assert kinds <= seen


@pytest.mark.requirement("M-U24", "M-U40")
def test_the_critical_bit_of_a_notify_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about the type of the payload, which is known here (section 2.5)."""

    def critical(payloads: list[Payload]) -> tuple[int, bytes]:
        first, chain = encode_chain(payloads)
        data, at = bytearray(chain), 0
        while at < len(data):
            data[at + 1] |= 0x80
            at += int.from_bytes(data[at + 2 : at + 4])
        return first, bytes(data)

    monkeypatch.setattr("ipsecme.ike.protect.encode_chain", critical)
    pair = Pair()
    pair.establish()
    assert "INITIAL_CONTACT" in [p for m in pair.messages for p in m.types]
    unknown = NotifyPayload(UNKNOWN_STATUS)
    assert ask(pair, [unknown], ExchangeType.INFORMATIONAL) == []
    works(pair)


# the order of payloads


@pytest.mark.requirement("M-63", "R7296-057")
def test_payloads_in_two_hundred_orders_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message of every exchange is shuffled; COOKIE alone has a place, the first."""
    shuffler = random.Random(63)
    orders = set()

    def shuffle(message: Outgoing) -> None:
        shuffler.shuffle(message.payloads)
        kinds = tuple(
            p.type if isinstance(p, NotifyPayload) else p.payload_type for p in message.payloads
        )
        orders.add((message.exchange, kinds))

    edit(monkeypatch, shuffle)
    for seed in range(200):
        pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=(PFS,)), seed=seed)
        pair.establish()
        pair.rekey(pair.b, "net")
        pair.drive(5)
        assert all(p.replaces for p in (*pair.a.current, *pair.b.current))
        pair.rekey(pair.a)
        pair.drive(5)
        pair.check_sads()
        pair.terminate(pair.b, "net")
        pair.drive(5)
        assert not pair.a.sad
        assert pair.a.endpoint.status()[0].state == "up"
    for exchange in (
        ExchangeType.IKE_SA_INIT,
        ExchangeType.IKE_AUTH,
        ExchangeType.CREATE_CHILD_SA,
    ):
        assert len([order for order in orders if order[0] == exchange]) > 100


@pytest.mark.requirement("M-63")
def test_our_cookie_is_the_first_payload_and_sk_the_last() -> None:
    pair = Pair(admission=AdmissionConfig(cookie_threshold=0))
    pair.establish()
    works(pair)
    first = [Message.decode(d.data) for _, d in pair.sent[:4]]
    types = [[getattr(p, "type", p.payload_type) for p in m.payloads] for m in first]
    assert types[2][0] == NotifyType.COOKIE
    assert NotifyType.COOKIE not in types[2][1:]
    for _, datagram in pair.sent[4:]:
        assert Header.decode(datagram.data).next_payload == PayloadType.SK
        assert len(Message.decode(datagram.data).payloads) == 1


@pytest.mark.requirement("R7296-142")
@pytest.mark.parametrize("exchange", [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL])
@pytest.mark.parametrize("fault", ["nothing", "a stranger", "an odd size", "a proof"])
def test_nobody_complains_about_an_answer(
    exchange: ExchangeType, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd: dict[str, list[Payload]] = {
        "nothing": [],
        "a stranger": [UnknownPayload(PayloadType.of(200), 0x80, b"")],
        "an odd size": [NotifyPayload(NotifyType.SET_WINDOW_SIZE, b"1")],
        "a proof": [AuthPayload(2, bytes(32))],  # type: ignore[arg-type]
    }
    pair = Pair()
    pair.establish()

    def spoil(message: Outgoing) -> None:
        if message.sender == "b" and message.is_response and message.exchange == exchange:
            message.payloads = list(odd[fault])

    edit(monkeypatch, spoil)
    pair.rekey(pair.a, "net")
    pair.drive(60)
    sent = [m for m in pair.messages if m.sender == "a" and not m.header.is_response]
    said = [m for m in sent if m.header.exchange == ExchangeType.INFORMATIONAL]
    assert len(sent) > 2
    assert {kind for message in said for kind in message.types} <= {"DELETE"}
