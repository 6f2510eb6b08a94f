"""What crosses on the way (RFC 7296, sections 1.4.1, 2.8.1, 2.8.2 and 2.25)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.ike.events import ChildSaCreated, ChildSaFailed, IkeSaClosed
from ipsecme.wire.ike import DeletePayload, Header, NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType
from support.pair import Pair, with_window

if TYPE_CHECKING:
    from ipsecme.ike.services import Datagram


class Held:
    """A filter that keeps the requests, or responses, of one end until they are let go."""

    def __init__(
        self, pair: Pair, sender: str, exchange: ExchangeType, *, responses: bool = False
    ) -> None:
        self._pair = pair
        self._responses = responses
        self._sender = sender
        self._exchange = exchange
        self.kept: list[Datagram] = []
        pair.link.filter = self

    def __call__(self, sender: str, datagram: Datagram) -> bool:
        header = Header.decode(datagram.data)
        held = (
            sender == self._sender
            and header.exchange == self._exchange
            and header.is_response == self._responses
        )
        if held:
            self.kept.append(datagram)
        return not held

    def release(self) -> None:
        """Let the first copy of the first request through, and everything later."""
        pair = self._pair
        pair.link.filter = None
        sender, receiver = (pair.a, pair.b) if self._sender == "a" else (pair.b, pair.a)
        arriving = pair.cross(sender, self.kept[0])
        assert arriving is not None
        pair.deliver(receiver, arriving)


def answers(pair: Pair, sender: str) -> list[NotifyType]:
    """Return the error notifies that one end answered with."""
    return [
        p.type
        for m in pair.messages
        if m.sender == sender and m.header.is_response
        for p in m.payloads
        if isinstance(p, NotifyPayload) and p.type.is_error
    ]


def settled(pair: Pair) -> None:
    """One Child SA, one IKE SA at each end, and both still work."""
    pair.drive(100)
    pair.check_sads()
    for node in (pair.a, pair.b):
        assert len(node.endpoint._registry) == 1
        assert not node.of(IkeSaClosed)
    for node in (pair.a, pair.b):
        pair.rekey(node, "net")
        pair.drive(10)
        pair.rekey(node)
        pair.drive(40)
    pair.check_sads()


@pytest.mark.requirement("R7296-083", "R7296-087")
@pytest.mark.parametrize("wait", [0.5, 3.0])
def test_a_request_that_comes_after_the_peers_own_rekeying_is_over(wait: float) -> None:
    """Figure 2.8.1: req1 is lost, req2 is done, req1 arrives late and its sender knows why."""
    pair = Pair()
    pair.establish()
    held = Held(pair, "a", ExchangeType.CREATE_CHILD_SA)
    pair.rekey(pair.a, "net")
    pair.rekey(pair.b, "net")
    pair.drive(wait)
    held.release()
    settled(pair)
    refusals = answers(pair, "b")
    assert set(refusals) <= {NotifyType.TEMPORARY_FAILURE, NotifyType.CHILD_SA_NOT_FOUND}
    # No third Child SA was made for it: one by the handshake, one by req2, four by `settled`.
    assert len(pair.a.of(ChildSaCreated)) == 2 + 2
    assert not pair.a.of(ChildSaFailed)


@pytest.mark.requirement("R7296-085")
@pytest.mark.parametrize(
    ("wait", "told"), [(0.025, [NotifyType.TEMPORARY_FAILURE]), (0.3, [])], ids=["closing", "gone"]
)
def test_a_late_ike_rekeying_is_put_off(wait: float, told: list[NotifyType]) -> None:
    pair = Pair()
    pair.establish()
    held = Held(pair, "a", ExchangeType.CREATE_CHILD_SA)
    pair.rekey(pair.a)
    pair.rekey(pair.b)
    pair.drive(wait)
    held.release()
    pair.drive(0.1)
    assert answers(pair, "b") == told
    settled(pair)


@pytest.mark.requirement("R7296-164", "R7296-163", "STM-11")
def test_rekeying_what_is_not_there_any_more_makes_it_anew() -> None:
    pair = Pair()
    pair.establish()
    pair.drive(20)
    (a,), (b,) = pair.a.endpoint._registry, pair.b.endpoint._registry
    (lost,) = b.children
    b.children.drop(lost, "deleted", pair.now)
    pair.flush(pair.b)
    (child,) = a.children
    old = child.spi
    pair.rekey(pair.a, "net")
    pair.drive(5)
    assert answers(pair, "b") == [NotifyType.CHILD_SA_NOT_FOUND]
    notify = next(
        p
        for m in pair.messages
        for p in m.payloads
        if isinstance(p, NotifyPayload) and p.type == NotifyType.CHILD_SA_NOT_FOUND
    )
    assert notify.spi == old.to_bytes(4)
    pair.check_sads()
    assert old not in pair.a.sad
    # Silently: nobody asked for the old one to be deleted.
    assert not any(isinstance(p, DeletePayload) for m in pair.messages for p in m.payloads)


@pytest.mark.requirement("R7296-164")
def test_rekeying_what_the_peer_is_closing_is_put_off_and_then_pointless() -> None:
    pair = Pair()
    pair.establish()
    held = Held(pair, "b", ExchangeType.INFORMATIONAL)
    pair.terminate(pair.b, "net")
    pair.rekey(pair.a, "net")
    pair.drive(0.3)
    assert answers(pair, "b") == [NotifyType.TEMPORARY_FAILURE]
    held.release()
    pair.drive(100)
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.a.endpoint.status()[0].state == "up"


@pytest.mark.requirement("R7296-165", "STM-11")
def test_closing_what_we_are_rekeying_is_answered_and_ends_it() -> None:
    pair = Pair()
    pair.establish()
    held = Held(pair, "a", ExchangeType.CREATE_CHILD_SA)
    pair.rekey(pair.a, "net")
    pair.terminate(pair.b, "net")
    pair.drive(0.3)
    answer = next(m for m in pair.messages if m.sender == "a" and m.header.is_response)
    assert answer.types == ["DELETE"]
    held.release()
    pair.drive(20)
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-165", "R7296-022")
def test_closing_what_we_are_closing_is_answered_without_it() -> None:
    pair = Pair()
    pair.establish()
    pair.terminate(pair.a, "net")
    pair.terminate(pair.b, "net")
    pair.drive(1)
    replies = [m for m in pair.messages if m.header.is_response][2:]
    assert [m.types for m in replies] == [[], []]
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-166")
@pytest.mark.parametrize("what", ["rekey", "terminate"])
def test_an_ike_rekeying_while_a_child_sa_changes_is_put_off(what: str) -> None:
    pair = Pair()
    pair.establish()
    kind = ExchangeType.CREATE_CHILD_SA if what == "rekey" else ExchangeType.INFORMATIONAL
    held = Held(pair, "b", kind)
    getattr(pair, what)(pair.b, "net")
    pair.rekey(pair.a)
    pair.drive(0.3)
    assert answers(pair, "b") == [NotifyType.TEMPORARY_FAILURE]
    held.release()
    pair.drive(60)
    assert len(pair.a.endpoint._registry) == 1
    assert not pair.a.of(IkeSaClosed)


@pytest.mark.requirement("R7296-167", "R7296-168")
def test_an_ike_rekeying_while_the_ike_sa_is_closed_is_put_off() -> None:
    pair = Pair()
    pair.establish()
    held = Held(pair, "b", ExchangeType.INFORMATIONAL)
    pair.terminate(pair.b)
    pair.rekey(pair.a)
    pair.drive(0.3)
    assert answers(pair, "b") == [NotifyType.TEMPORARY_FAILURE]
    held.release()
    pair.drive(60)
    assert not pair.a.sad
    assert not pair.b.sad
    assert not pair.a.endpoint._registry
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("R7296-169")
def test_deleting_a_child_sa_while_the_ike_sa_is_rekeyed_is_answered() -> None:
    pair = Pair()
    pair.establish()
    held = Held(pair, "a", ExchangeType.CREATE_CHILD_SA)
    pair.rekey(pair.a)
    pair.terminate(pair.b, "net")
    pair.drive(0.3)
    assert not pair.a.sad
    held.release()
    pair.drive(60)
    assert not pair.b.sad
    assert pair.a.endpoint.status()[0].state == "up"


@pytest.mark.requirement("R7296-024")
def test_the_spi_of_a_closing_pair_is_not_used_again() -> None:
    pair = Pair()
    pair.establish()
    held = Held(pair, "a", ExchangeType.INFORMATIONAL)
    pair.terminate(pair.a, "net")
    (closing,) = pair.a.sad
    services = pair.a.endpoint._services
    pair.a.rng.script.append((closing >> 8).to_bytes(3))
    assert services.new_esp_spi() != closing
    held.release()


@pytest.mark.requirement("R7296-164")
@pytest.mark.parametrize("window", [1, 4])
def test_rekeying_what_is_not_known_yet_is_put_off(window: int) -> None:
    """The answer that creates a Child SA stays away so long that its maker rekeys it already."""
    pair = with_window(Pair(), window)
    pair.establish()
    held = Held(pair, "b", ExchangeType.CREATE_CHILD_SA, responses=True)
    pair.rekey(pair.a, "net")
    pair.drive(0.1)
    new = [p.spi for p in pair.b.current if p.replaces]
    for _ in range(3):
        pair.drive(20)
        pair.rekey(pair.b, "net")
        pair.drive(0.1)
    refusals = answers(pair, "a")
    assert len(refusals) >= 3
    assert set(refusals) == {NotifyType.TEMPORARY_FAILURE}
    assert [p.spi for p in pair.b.current if p.replaces] == new
    held.release()
    settled(pair)


@pytest.mark.requirement("R7296-165")
@pytest.mark.parametrize("rekeying", [False, True])
def test_a_delete_that_overtakes_the_answer_with_its_spi_counts(rekeying: bool) -> None:
    pair = Pair()
    pair.establish()
    if not rekeying:
        pair.terminate(pair.a, "net")
        pair.drive(10)
    held = Held(pair, "b", ExchangeType.CREATE_CHILD_SA, responses=True)
    if rekeying:
        pair.rekey(pair.a, "net")
    else:
        pair.initiate(pair.a)
    pair.drive(0.1)
    pair.terminate(pair.b, "net")
    pair.drive(0.1)
    held.release()
    pair.drive(10)
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.a.endpoint.status()[0].state == "up"
    pair.initiate(pair.a)
    pair.drive(1)
    pair.check_sads()
