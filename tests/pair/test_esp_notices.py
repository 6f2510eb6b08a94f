"""What peers say about ESP with a Child SA: padding against traffic analysis, fragments (1.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.esp import DropReason, Processor
from ipsecme.ike.tasks.child_create import ChildCreate
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType
from support.esp import fragment, udp
from support.pair import Pair, SeededRng, peer

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext

WEST, EAST = "10.1.0.1", "10.2.0.1"
ESP_OCTETS = 8 + 8 + 2 + 16  # SPI and number, IV, pad length and next header, ICV


def processor(pair: Pair, name: str) -> Processor:
    """Return an ESP engine with the SAs of one end."""
    node = {"a": pair.a, "b": pair.b}[name]
    engine = Processor(SeededRng(5))
    for sa in node.sad.values():
        engine.install(sa)
    return engine


def saying(monkeypatch: pytest.MonkeyPatch, kind: NotifyType) -> None:
    """Have requests for Child SAs carry a notification, too."""
    build = ChildCreate.build_request

    def build_and_say(task: ChildCreate, ctx: ExchangeContext) -> None:
        ctx.out.append(NotifyPayload(kind))
        build(task, ctx)

    monkeypatch.setattr(ChildCreate, "build_request", build_and_say)


def echoes(pair: Pair, kind: NotifyType) -> int:
    """Count a notification in what `b` sent."""
    payloads = [p for sent in pair.messages if sent.sender == "b" for p in sent.payloads]
    return sum(isinstance(p, NotifyPayload) and p.type == kind for p in payloads)


@pytest.mark.requirement("R7296-011")
@pytest.mark.parametrize("is_said", [False, True])
def test_no_padding_against_traffic_analysis_is_sent(
    monkeypatch: pytest.MonkeyPatch, *, is_said: bool
) -> None:
    if is_said:
        saying(monkeypatch, NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED)
    pair = Pair()
    pair.establish()
    pair.check_sads()
    engine = processor(pair, "b")
    for octets in range(20, 90):
        packet = udp(EAST, WEST, bytes(octets))
        sealed = engine.outbound(packet).octets
        assert len(sealed) - len(packet) - ESP_OCTETS in range(4)
    # We take such padding ourselves, and say nothing.
    assert echoes(pair, NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED) == 0


@pytest.mark.requirement("R7296-012")
def test_fragments_after_the_first_have_no_place_on_an_sa_for_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saying(monkeypatch, NotifyType.NON_FIRST_FRAGMENTS_ALSO)
    a = peer("a", local_ts=("10.1.0.0/16[udp]",), remote_ts=("10.2.0.0/16[udp/53]",))
    b = peer("b", local_ts=("10.2.0.0/16[udp/53]",), remote_ts=("10.1.0.0/16[udp]",))
    pair = Pair(a=a, b=b)
    pair.establish()
    pair.check_sads()
    assert echoes(pair, NotifyType.NON_FIRST_FRAGMENTS_ALSO) == 0
    engine = processor(pair, "a")
    assert engine.outbound(udp(WEST, EAST)).reason is None
    later = fragment(WEST, EAST, 16, more=False, payload=udp(WEST, EAST)[20:])
    assert engine.outbound(later).reason is DropReason.NO_POLICY


@pytest.mark.requirement("R7296-012")
def test_we_never_ask_for_fragments() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(3)
    kinds = [kind for sent in pair.messages for kind in sent.types]
    assert NotifyType.NON_FIRST_FRAGMENTS_ALSO.name not in kinds
