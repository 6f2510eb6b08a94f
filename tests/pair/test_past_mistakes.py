"""Mistakes that other implementations have made, tried on this one (docs/past-mistakes.md)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import MalformedMessage
from ipsecme.ike.events import IkeSaClosed, IkeSaEstablished
from ipsecme.ike.exchange import ROWS
from ipsecme.wire.ike import (
    DeletePayload,
    Header,
    Message,
    NotifyPayload,
    SaPayload,
    UnknownPayload,
)
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType, ProtocolId
from support.crafted import Outgoing, ask, edit
from support.pair import Pair, peer

if TYPE_CHECKING:
    from ipsecme.ike.services import Datagram
    from ipsecme.wire.ike import Payload

PFS = "aes256gcm16-x25519"
KNOWN = {int(kind) for kind in PayloadType if 33 <= kind <= 48} | {PayloadType.SKF}


def others_work() -> None:
    """A pair that has nothing to do with what happened comes up."""
    pair = Pair(seed=99)
    pair.establish()
    pair.check_sads()


def notifies(answer: list[Payload]) -> list[NotifyType]:
    """Return the types of the Notify payloads of an answer."""
    return [p.type for p in answer if isinstance(p, NotifyPayload)]


@pytest.mark.requirement("PAR-07")
@pytest.mark.parametrize("critical", [False, True])
def test_every_payload_number_is_known_or_opaque(*, critical: bool) -> None:
    for number in sorted(set(range(1, 256)) - KNOWN):
        pair = Pair()
        pair.establish()
        stranger = UnknownPayload(PayloadType.of(number), 0x80 if critical else 0, b"\0\1\2\3")
        answer = ask(pair, [stranger], ExchangeType.INFORMATIONAL)
        if critical:
            expected = NotifyPayload(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, bytes([number]))
            assert answer == [expected]
        else:
            assert answer == []
        assert not pair.b.of(IkeSaClosed)


def golden() -> dict[ExchangeType, list[Payload]]:
    """Return the payloads of a good request of each kind that creates something."""
    pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=(PFS,)))
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(1)
    requests = [m for m in pair.messages if m.sender == "a" and not m.header.is_response]
    return {m.header.exchange: m.payloads for m in requests}


GOLDEN = golden()
CHANGES = [
    (exchange, place, twice)
    for exchange, payloads in GOLDEN.items()
    for place in range(len(payloads))
    for twice in (False, True)
    if twice or exchange != ExchangeType.INFORMATIONAL  # without its Delete, a liveness check
]


@pytest.mark.requirement("PAR-08")
@pytest.mark.parametrize(("exchange", "place", "twice"), CHANGES)
def test_requests_with_a_payload_too_few_or_too_many(
    exchange: ExchangeType, place: int, *, twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised, both ends agree on what there is, and others are not disturbed."""

    def change(message: Outgoing) -> None:
        payloads = message.payloads
        asks = message.sender == "a" and not message.is_response
        if asks and message.exchange == exchange and len(payloads) > place:
            if twice:
                payloads.insert(place, copy.copy(payloads[place]))
            else:
                del payloads[place]

    pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=(PFS,)))
    is_later = exchange not in (ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH)
    if is_later:
        pair.establish()
    with monkeypatch.context() as patch:
        edit(patch, change)
        if exchange == ExchangeType.CREATE_CHILD_SA:
            pair.rekey(pair.a, "net")
        elif exchange == ExchangeType.INFORMATIONAL:
            pair.terminate(pair.a, "net")
        else:
            pair.initiate()
        pair.drive(400)
    assert len(pair.a.current) == len(pair.b.current) <= 2
    assert pair.b.endpoint.half_open == 0
    others_work()


@pytest.mark.requirement("STM-04")
def test_a_failed_authentication_leaves_one_answer_and_nothing_else() -> None:
    pair = Pair(a=peer("a", psk=b"a secret that is not the right one"))
    pair.establish()
    request = next(
        d
        for name, d in pair.sent
        if name == "a" and Header.decode(d.data).exchange == ExchangeType.IKE_AUTH
    )
    arriving = pair.cross(pair.a, request)
    assert arriving is not None
    answers = set()
    for _ in range(3):
        pair.b.endpoint.receive_datagram(arriving.data, arriving.path, pair.now)
        answers |= {d.data for d in pair.b.drain(pair.now)}
    assert len(answers) == 1
    assert not pair.b.of(IkeSaEstablished)
    assert pair.b.endpoint.half_open == 0
    pair.drive(60)
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("STM-05")
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 255])
@pytest.mark.parametrize("octets", range(9))
@pytest.mark.parametrize("what", ["REKEY_SA", "Delete"])
def test_any_protocol_and_any_size_of_spi_get_an_answer(
    protocol: int, octets: int, what: str
) -> None:
    pair = Pair()
    pair.establish()
    spi = bytes([7]) * octets
    if what == "Delete":
        body = bytes((protocol, octets)) + b"\0\1" + spi
        payload: Payload = UnknownPayload(PayloadType.DELETE, 0, body)
        answer = ask(pair, [payload], ExchangeType.INFORMATIONAL)
    else:
        notify = NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.of(protocol), spi)
        rest = GOLDEN[ExchangeType.CREATE_CHILD_SA][1:]
        answer = ask(pair, [notify, *rest], ExchangeType.CREATE_CHILD_SA)
    is_sane = protocol == ProtocolId.ESP and octets == 4
    if what == "REKEY_SA":
        expected = NotifyType.CHILD_SA_NOT_FOUND if is_sane else NotifyType.INVALID_SYNTAX
        assert notifies(answer) == [expected]
    else:
        assert notifies(answer) in ([], [NotifyType.INVALID_SYNTAX])
        assert not [p for p in answer if isinstance(p, DeletePayload)]
    assert bool(pair.b.of(IkeSaClosed)) == (notifies(answer) == [NotifyType.INVALID_SYNTAX])


@pytest.mark.requirement("STM-08")
@pytest.mark.parametrize("task", ROWS[0].tasks, ids=lambda task: task.__name__)
@pytest.mark.parametrize("step", ["read_request", "build_response"])
def test_a_first_request_that_fails_at_any_step_leaves_nothing(
    task: type, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MalformedMessage("no")

    pair = Pair()
    pair.initiate()
    with monkeypatch.context() as patch:
        patch.setattr(task, step, fail)
        pair.drive(0.1)
        assert not pair.b.endpoint._registry
        assert pair.b.endpoint.half_open == 0
    refusal = Message.decode(next(d.data for name, d in pair.sent if name == "b"))
    assert refusal.payloads == [NotifyPayload(NotifyType.INVALID_SYNTAX)]
    assert refusal.spi_r == bytes(8)
    pair.drive(3)  # the request that is repeated is taken
    pair.check_sads()


@pytest.mark.requirement("STM-09")
def test_a_child_sa_is_rekeyed_once() -> None:
    """The second rekeying of the same SPI is put off; Deletes in any order leave nothing."""
    pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=(PFS,)))
    pair.establish()
    (old,) = pair.a.sad
    rest = GOLDEN[ExchangeType.CREATE_CHILD_SA][1:]
    notify = NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, old.to_bytes(4))
    first = ask(pair, [notify, *rest], ExchangeType.CREATE_CHILD_SA)
    second = ask(pair, [notify, *rest], ExchangeType.CREATE_CHILD_SA)
    assert not notifies(first)
    assert notifies(second) == [NotifyType.TEMPORARY_FAILURE]
    (offered,) = [p.proposals[0].spi for p in rest if isinstance(p, SaPayload)]
    for spi in (old.to_bytes(4), offered, offered):
        ask(pair, [DeletePayload(ProtocolId.ESP, (spi,))], ExchangeType.INFORMATIONAL)
    pair.b.endpoint.handle_timeout(pair.now + 10)
    pair.b.drain(pair.now + 10)
    assert not pair.b.sad
    assert not pair.b.endpoint._services.inbound_spis
    assert not pair.b.of(IkeSaClosed)


@pytest.mark.requirement("STM-16")
@pytest.mark.parametrize("size", [0, 1, 64, 65])
def test_a_cookie_means_nothing_outside_of_the_first_exchange(size: int) -> None:
    pair = Pair()
    pair.establish()
    cookie = NotifyPayload(NotifyType.COOKIE, bytes(size))
    answer = ask(pair, [cookie], ExchangeType.INFORMATIONAL)
    assert notifies(answer) == ([] if 1 <= size <= 64 else [NotifyType.INVALID_SYNTAX])


@pytest.mark.requirement("STM-16")
def test_a_cookie_in_the_answer_to_a_rekeying_starts_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def add(message: Outgoing) -> None:
        if message.is_response and message.exchange == ExchangeType.CREATE_CHILD_SA:
            message.payloads.insert(0, NotifyPayload(NotifyType.COOKIE, b"again"))

    edit(monkeypatch, add)
    pair = Pair()
    pair.establish()
    for child in ("net", None):
        pair.rekey(pair.a, child)
        pair.drive(5)
    assert pair.exchanges()[ExchangeType.CREATE_CHILD_SA] == 4
    pair.check_sads()


def stripped(data: bytes, index: int) -> bytes | None:
    """Return an IKE_SA_INIT message without one of its payloads, or None if it has fewer."""
    message = Message.decode(data)
    if index >= len(message.payloads):
        return None
    del message.payloads[index]
    return message.encode()


@pytest.mark.requirement("AUT-12")
@pytest.mark.parametrize("victim", ["a", "b"])
@pytest.mark.parametrize("index", range(8))
def test_whatever_is_taken_out_of_the_first_messages_nobody_is_up(victim: str, index: int) -> None:
    """Payloads that must be there, and those that announce something: AUTH covers them all."""
    pair = Pair()
    changed = []

    def strip(sender: str, datagram: Datagram) -> bool:
        header = Header.decode(datagram.data)
        if sender != victim or header.exchange != ExchangeType.IKE_SA_INIT:
            return True
        data = stripped(datagram.data, index)
        if data is None:
            return True
        changed.append(data)
        other = pair.b if sender == "a" else pair.a
        arriving = pair.cross(pair.a if sender == "a" else pair.b, datagram._replace(data=data))
        assert arriving is not None
        if len(changed) <= 3:
            pair.deliver(other, arriving)
        return False

    pair.link.filter = strip
    pair.initiate()
    pair.drive(300)
    if changed:
        assert not pair.a.of(IkeSaEstablished)
        # The responder believes until it is told: its answer was the one that was changed.
        told = pair.b.reasons(IkeSaClosed)
        assert len(pair.b.of(IkeSaEstablished)) == len(told) <= (victim == "b")
        assert set(told) <= {"authentication_failed"}
        assert not pair.a.sad
        assert not pair.b.sad
    else:
        pair.check_sads()
