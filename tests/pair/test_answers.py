"""What answers hold, what they must not hold, and what becomes of those that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path
from ipsecme.ike import protect
from ipsecme.ike.auth import proof
from ipsecme.ike.events import IkeSaFailed
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    NO_SPI,
    AuthPayload,
    KePayload,
    Message,
    NotifyPayload,
    Proposal,
    SaPayload,
    Transform,
    UnknownPayload,
    encode_chain,
)
from ipsecme.wire.numbers import ExchangeType, KeId, NotifyType, PayloadType, TransformType
from support.crafted import Outgoing, ask, edit, in_use
from support.pair import Pair, peer

if TYPE_CHECKING:
    from ipsecme.wire.ike import Payload

PFS = "aes256gcm16-x25519"


@pytest.mark.requirement("R7296-067")
@pytest.mark.parametrize("asker", ["a", "b"])
def test_the_spi_in_an_accepted_proposal_is_that_of_who_accepts(asker: str) -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(getattr(pair, asker), "net")
    pair.drive(1)
    answers = [m for m in pair.messages if m.header.is_response and "SA" in m.types][1:]
    assert [m.header.exchange for m in answers] == [
        ExchangeType.IKE_AUTH,
        ExchangeType.CREATE_CHILD_SA,
    ]
    for answer in answers:
        (proposal,) = answer.only(SaPayload).proposals
        answering = pair.a if answer.sender == "a" else pair.b
        asking = pair.b if answer.sender == "a" else pair.a
        spi = int.from_bytes(proposal.spi)
        assert spi in answering.sad
        assert spi not in asking.sad
    pair.drive(10)
    pair.rekey(getattr(pair, asker))
    pair.drive(1)
    answer = [m for m in pair.messages if m.header.is_response and "SA" in m.types][-1]
    (proposal,) = answer.only(SaPayload).proposals
    assert proposal.spi == in_use(pair.b if asker == "a" else pair.a).local_spi
    assert proposal.spi == in_use(pair.a).spi_r


# key exchange methods


@pytest.mark.requirement("R7296-070", "CRY-08")
@pytest.mark.parametrize("named", [KeId.ECP_256, KeId.CURVE25519, KeId.NONE, KeId.of(1)])
def test_a_method_that_was_not_offered_is_no_instruction(named: KeId) -> None:
    pair = Pair()
    pair.initiate()
    sa = next(iter(pair.a.endpoint._registry))
    refusal = NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, named.to_bytes(2))
    forged = Message(sa.spi_i, NO_SPI, ExchangeType.IKE_SA_INIT, FLAG_RESPONSE, 0, [refusal])
    sent = len(pair.sent)
    pair.a.endpoint.receive_datagram(forged.encode(), sa.path, pair.now)
    pair.flush(pair.a)
    assert len(pair.sent) == sent
    assert pair.a.endpoint.counters["dropped_init_response_refused"] == 1
    pair.drive()  # the real answer is taken
    pair.check_sads()


@pytest.mark.requirement("R7296-070")
@pytest.mark.parametrize("named", [KeId.ECP_256, KeId.CURVE25519, KeId.NONE])
@pytest.mark.parametrize("child", ["net", None])
def test_nor_is_it_when_rekeying(
    named: KeId, child: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(a=peer("a", esp=(PFS,)), b=peer("b", esp=(PFS,)))
    pair.establish()
    refusal = NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, named.to_bytes(2))

    def refuse(message: Outgoing) -> None:
        if message.is_response and message.exchange == ExchangeType.CREATE_CHILD_SA:
            message.payloads = [refusal]

    edit(monkeypatch, refuse)
    pair.rekey(pair.a, child)
    pair.drive(20)
    asked = [m for m in pair.messages if m.header.exchange == ExchangeType.CREATE_CHILD_SA]
    assert len([m for m in asked if m.sender == "a" and not m.header.is_response]) == 1
    assert pair.a.endpoint.status()[0].state == "up"
    assert pair.a.current


@pytest.mark.requirement("R7296-188")
def test_without_a_chosen_method_the_key_exchange_payload_is_ignored() -> None:
    """Whether NONE is chosen by another proposal or by name."""
    pair = Pair(a=peer("a", esp=(PFS, "aes256gcm16")))
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(1)
    request, response = pair.messages[-4:-2]
    assert request.only(KePayload).method == KeId.CURVE25519
    assert "KE" not in response.types
    (chosen,) = response.only(SaPayload).proposals
    assert not chosen.of_type(TransformType.KE)
    pair.check_sads()
    (offered, _) = request.only(SaPayload).proposals
    none = Transform(TransformType.KE, KeId.NONE)
    both = Proposal(1, offered.protocol, b"\x44\x33\x22\x11", (*offered.transforms, none))
    spoiled: list[Payload] = [
        SaPayload((both,)) if isinstance(p, SaPayload) else p
        for p in request.payloads
        if not isinstance(p, (NotifyPayload, KePayload))
    ]
    spoiled.append(KePayload(KeId.CURVE25519, b"no public value"))
    answer = ask(pair, spoiled, ExchangeType.CREATE_CHILD_SA)
    (chosen,) = next(p for p in answer if isinstance(p, SaPayload)).proposals
    assert chosen.of_type(TransformType.KE) == [none]
    assert not [p for p in answer if isinstance(p, KePayload)]


# requests that are refused as a whole


def spoiled_auth(pair: Pair, fault: str) -> bytes:
    """Return an IKE_AUTH request with a false proof and, besides, a fault."""
    request = next(
        m
        for m in pair.messages
        if m.header.exchange == ExchangeType.IKE_AUTH and not m.header.is_response
    )
    payloads = [
        AuthPayload(p.method, bytes(32)) if isinstance(p, AuthPayload) else p
        for p in request.payloads
    ]
    if fault == "a stranger":
        payloads.append(UnknownPayload(PayloadType.of(200), 0x80, b"?"))
    first, chain = encode_chain(payloads)
    if fault == "a length beyond the end":
        chain = chain[:2] + b"\xff\xff" + chain[4:]
    if fault == "a chain that does not end":
        chain = chain[:-1]
    if fault == "an identity without type":
        chain = chain[:1] + b"\0\0\4" + chain[int.from_bytes(chain[2:4]) :]
    sa = next(iter(pair.a.endpoint._registry))
    assert sa.sealing is not None
    message = Message(sa.spi_i, sa.spi_r, ExchangeType.IKE_AUTH, FLAG_INITIATOR, 1, [])
    return protect._seal_whole(message, first, chain, sa.sealing)


@pytest.mark.requirement("R7296-138")
@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("none but the proof", NotifyPayload(NotifyType.AUTHENTICATION_FAILED)),
        ("a stranger", NotifyPayload(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8")),
        ("a length beyond the end", NotifyPayload(NotifyType.INVALID_SYNTAX)),
        ("a chain that does not end", NotifyPayload(NotifyType.INVALID_SYNTAX)),
        ("an identity without type", NotifyPayload(NotifyType.INVALID_SYNTAX)),
    ],
)
def test_a_proof_in_a_message_that_is_refused_as_a_whole_is_not_looked_at(
    fault: str, answer: NotifyPayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[object] = []
    check = proof.check

    def noted(*arguments: object, **named: object) -> object:
        checked.append(arguments)
        return check(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(proof, "check", noted)
    model = Pair()
    model.establish()
    pair = Pair()  # the same, up to that message
    pair.initiate()
    while pair.b.endpoint.half_open == 0:
        pair.step(pair.now + 1)
    while len(pair.sent) < 3:
        pair.step(pair.now + 1)
    pair._queue.clear()
    pair.messages = model.messages
    checked.clear()
    sa = next(iter(pair.a.endpoint._registry))
    path = Path(sa.path.remote, sa.path.local, sa.path.encapsulated)
    pair.b.endpoint.receive_datagram(spoiled_auth(pair, fault), path, pair.now)
    (sent,) = pair.b.drain(pair.now)
    assert sa.opening is not None
    opened = protect.open_message(sent.data, Message.decode(sent.data).header(PayloadType.SK, 0),
                                  sa.opening)  # fmt: skip
    assert isinstance(opened, bytes)
    assert list(protect.inside(opened)) == [answer]
    assert bool(checked) == (fault == "none but the proof")
    (failed,) = pair.b.of(IkeSaFailed)
    assert failed.reason in ("authentication_failed", "invalid_syntax", "refused")
    assert pair.b.endpoint.half_open == 0
    assert not pair.b.sad
