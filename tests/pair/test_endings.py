"""Who is told of an end and who is not, and what a peer that rekeys nothing leads to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.ike.config import Lifetimes
from ipsecme.ike.dialogue import Dialogue
from ipsecme.ike.events import IkeSaClosed, IkeSaEstablished
from ipsecme.ike.failures import Refused
from ipsecme.wire.ike import (
    ConfigPayload,
    DeletePayload,
    NotifyPayload,
    UnknownPayload,
    VendorIdPayload,
)
from ipsecme.wire.numbers import ConfigType, ExchangeType, NotifyType, PayloadType, ProtocolId
from support.crafted import ask
from support.pair import Pair, Sent, peer

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.tasks.base import Task

QUIET = 1e6


def deletes(pair: Pair, protocol: ProtocolId) -> list[Sent]:
    """Return the requests that delete SAs of a protocol."""
    return [
        m
        for m in pair.messages
        if not m.header.is_response
        and any(isinstance(p, DeletePayload) and p.protocol == protocol for p in m.payloads)
    ]


def rekey_nothing(monkeypatch: pytest.MonkeyPatch, answer: NotifyType) -> None:
    """Have both ends refuse every CREATE_CHILD_SA, as minimal implementations may."""
    admit = Dialogue._admit

    def refuse(dialogue: Dialogue, ctx: ExchangeContext) -> list[Task]:
        if ctx.exchange == ExchangeType.CREATE_CHILD_SA:
            raise Refused(answer, "not here")
        return admit(dialogue, ctx)

    monkeypatch.setattr(Dialogue, "_admit", refuse)


@pytest.mark.requirement("R7296-049")
@pytest.mark.parametrize("protocol", [ProtocolId.IKE, ProtocolId.ESP])
def test_the_peer_is_told_of_what_ends_by_its_age(
    protocol: ProtocolId, monkeypatch: pytest.MonkeyPatch
) -> None:
    rekey_nothing(monkeypatch, NotifyType.NO_PROPOSAL_CHOSEN)
    short, long = Lifetimes(rekey=100, hard=130), Lifetimes(rekey=1e5, hard=2e5)
    is_ike = protocol == ProtocolId.IKE
    a = peer(
        "a",
        lifetimes=short if is_ike else long,
        child_lifetimes=long if is_ike else short,
        liveness=QUIET,
    )
    pair = Pair(a=a, b=peer("b", lifetimes=long, child_lifetimes=long, liveness=QUIET))
    pair.establish()
    pair.drive(140)
    # A Child SA that could not be rekeyed takes its IKE SA along (section 2.8).
    (told,) = deletes(pair, ProtocolId.IKE)
    assert not deletes(pair, ProtocolId.ESP)
    assert told.sender == "a"
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.a.reasons(IkeSaClosed) == ["expired"]
    assert pair.b.reasons(IkeSaClosed) == ["deleted_by_peer"]


@pytest.mark.requirement("R7296-049")
def test_a_peer_that_does_not_answer_is_not_told() -> None:
    pair = Pair()
    pair.establish()
    pair.link.loss = 1.0
    pair.rekey(pair.a, "net")
    before = len(pair.sent)
    pair.drive(1000)
    assert pair.a.reasons(IkeSaClosed) == ["unreachable"]
    repeated = {d.data for name, d in pair.sent[before - 1 :] if name == "a"}
    assert len(repeated) == 1  # the request that nobody answers, and no Delete after it


@pytest.mark.requirement("R7296-228")
def test_whatever_is_asked_by_informational_is_answered() -> None:
    pair = Pair()
    pair.establish()
    assert len(pair.sent) == 4
    pair.check_sads()
    for payloads in (
        [],
        [NotifyPayload(NotifyType.INVALID_SPI, b"\1\2\3\4")],
        [VendorIdPayload(b"?")],
        [ConfigPayload(ConfigType.CFG_SET, ())],
        [*(UnknownPayload(PayloadType.of(n), 0, b"?") for n in range(54, 256))][:100],
    ):
        answer = ask(pair, payloads, ExchangeType.INFORMATIONAL)
        assert not [p for p in answer if isinstance(p, NotifyPayload) and p.type.is_error]
    assert not pair.b.of(IkeSaClosed)


@pytest.mark.requirement("R7296-228")
@pytest.mark.parametrize("child", ["net", None])
@pytest.mark.parametrize("break_first", [False, True])
def test_a_peer_that_rekeys_nothing_gets_a_new_ike_sa(
    child: str | None, *, break_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rekey_nothing(monkeypatch, NotifyType.NO_ADDITIONAL_SAS)
    a = replace(peer("a", liveness=QUIET), break_before_make=break_first)
    pair = Pair(a=a, b=peer("b", liveness=QUIET))
    pair.establish()
    (old,) = pair.a.sad
    pair.rekey(pair.a, child)
    pair.drive(40)
    assert len(pair.a.of(IkeSaEstablished)) == 2
    assert pair.a.reasons(IkeSaClosed) == ["reauthenticated"]
    assert old not in pair.a.sad
    pair.drive(100)
    if child is not None or break_first:
        assert len(pair.a.of(IkeSaEstablished)) == 2  # and is content with it
    assert len(pair.a.current) == 1
    assert len(pair.a.endpoint.status()[0].ike_sas) == 1


@pytest.mark.requirement("R7296-228")
def test_the_end_that_was_called_leaves_that_to_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair()
    pair.establish()
    rekey_nothing(monkeypatch, NotifyType.NO_ADDITIONAL_SAS)
    pair.rekey(pair.b)
    pair.drive(5)
    assert len(pair.b.of(IkeSaEstablished)) == 1
    assert not pair.b.of(IkeSaClosed)
    pair.check_sads()
