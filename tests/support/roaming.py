"""A pair whose ends have several addresses, any of which may lose its cable."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.numbers import ExchangeType
from support.pair import A, B, Link, Node, Pair, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import EndpointConfig, PeerConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.sa import IkeSa
    from ipsecme.ike.services import Datagram
    from ipsecme.wire.ike import Payload

A2, A3, B2 = "198.51.100.1", "203.0.113.1", "198.51.100.2"


class Network:
    """A link filter: only between addresses with a cable does anything pass."""

    def __init__(self) -> None:
        self.up = {A, A2, A3, B, B2}

    def __call__(self, _sender: str, datagram: Datagram) -> bool:
        return {datagram.path.local.address, datagram.path.remote.address} <= self.up


def connected(
    link: Link | None = None,
    *,
    a: PeerConfig | None = None,
    b: PeerConfig | None = None,
    of_a: Sequence[str] = (A, A2),
    of_b: Sequence[str] = (B,),
    nat: bool = False,
    window: int = 1,
) -> tuple[Pair, Network]:
    """Return an established pair that has agreed on MOBIKE; both ends know their addresses."""
    network, link = Network(), link or Link()
    link.filter = None if nat else network
    pair = Pair(link, a=a or peer("a"), b=b or peer("b", nat=nat), nat=nat)
    for node, own in ((pair.a, of_a), (pair.b, of_b)):
        config: EndpointConfig = replace(node.endpoint.config, window=window)
        node.endpoint = Endpoint(config, node.rng)
        tell(pair, node, own)
    pair.establish()
    pair.drive(10)
    pair.check_sads()
    return pair, network


def tell(pair: Pair, node: Node, addresses: Sequence[str]) -> None:
    """Tell a node its addresses; it reaches everybody by the first."""
    best = next(iter(addresses), None)
    node.endpoint.handle_addresses(addresses, pair.now, lambda _remote: best)
    pair.flush(node)


def sa_of(node: Node) -> IkeSa:
    """Return the one IKE SA in use."""
    (found,) = [sa for sa in node.endpoint._registry if sa.state.value == "established"]
    return found


def where(node: Node) -> tuple[str, str]:
    """Return between which addresses the ESP packets of a node go."""
    (path,) = {pair.path for pair in node.current}
    return path.local.address, path.remote.address


def check_meeting(pair: Pair, of_a: str, of_b: str) -> None:
    """Both ends agree on the addresses, for IKE and for ESP, and nothing is left to do."""
    pair.check_sads()
    assert (where(pair.a), where(pair.b)) == ((of_a, of_b), (of_b, of_a))
    for node, ends in ((pair.a, (of_a, of_b)), (pair.b, (of_b, of_a))):
        sa = sa_of(node)
        assert (sa.path.local.address, sa.path.remote.address) == ends
        assert not sa.jobs
        assert not sa.dialogue.requests.outstanding
        assert sa.mobility.held is None


def informational(pair: Pair, sender: str) -> list[list[str]]:
    """Return what one end's INFORMATIONAL messages held that arrived."""
    return [
        message.types
        for message in pair.messages
        if message.sender == sender and message.header.exchange == ExchangeType.INFORMATIONAL
    ]


class Say(Task):
    """Says what a test wants said, and keeps the answer."""

    def __init__(self, *payloads: Payload) -> None:
        self.payloads = payloads
        self.answer: list[Payload] | None = None

    def build_request(self, ctx: ExchangeContext) -> None:
        ctx.out.extend(self.payloads)

    def read_response(self, ctx: ExchangeContext) -> None:
        self.answer = list(ctx.inside)


def say(pair: Pair, node: Node, *payloads: Payload) -> Say:
    """Have a node send an INFORMATIONAL request of any content; drive on to hear the answer."""
    task = Say(*payloads)
    sa = sa_of(node)
    sa.dialogue.begin(ExchangeType.INFORMATIONAL, [task], pair.now)
    node.endpoint._registry.settle(sa, pair.now)
    pair.flush(node)
    return task
