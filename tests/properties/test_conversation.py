"""Whatever becomes of the messages: two ends stay sound, stay small, and agree in the end.

Operators begin things at both ends while the network delivers, loses, repeats, delays, reorders,
reflects, forges and damages datagrams in any order (RFC 7296, sections 2.1 to 2.4, 2.8, 2.21 and
2.25). After each step the states are those of the tables and every container is small; when the
network is honest again both ends have the same Child SAs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipsecme.ike.jobs import CheckLiveness
from ipsecme.ike.state import IkeState
from support.hostile_network import FIELDS, HostileNetwork, Watch, agree, forged
from support.pair import Pair, peer, with_window

if TYPE_CHECKING:
    from ipsecme.ike.services import Datagram

ENDS = st.sampled_from("ab")
WAITS = st.sampled_from([0.01, 0.3, 1.0, 6.0, 40.0])
INDEX = st.integers(0, 1 << 16)
LONG_ENOUGH = 900.0  # to find out that the peer is gone, and for all that lingers to go


class Conversation(RuleBasedStateMachine):
    """Two endpoints and a network that the rules are in charge of."""

    pair: Pair
    network: HostileNetwork
    watched: list[Watch]

    @initialize(
        window=st.sampled_from([1, 4]),
        fragment_octets=st.sampled_from([1228, 150]),
        mobike=st.booleans(),
        established=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def begin(
        self, *, window: int, fragment_octets: int, mobike: bool, established: bool, seed: int
    ) -> None:
        pair = Pair(a=peer("a", mobike=mobike), fragment_octets=fragment_octets, seed=seed)
        self.pair = with_window(pair, window)
        if established:
            self.pair.establish()
        self.network = HostileNetwork(self.pair)
        self.network.seen += self.pair.sent
        self.watched = [Watch(self.pair.a), Watch(self.pair.b)]

    # what operators do

    @rule(end=ENDS)
    def initiate(self, end: str) -> None:
        node = self.network.node(end)
        node.endpoint.initiate("test", None, self.pair.now)
        self.pair.flush(node)

    @rule(end=ENDS, child=st.sampled_from(["net", None]))
    def rekey(self, end: str, child: str | None) -> None:
        node = self.network.node(end)
        node.endpoint.rekey("test", child, self.pair.now)
        self.pair.flush(node)

    @rule(child=st.sampled_from(["net", None]))
    def rekey_at_both_ends(self, child: str | None) -> None:
        self.rekey("a", child)
        self.rekey("b", child)

    @rule(end=ENDS, child=st.sampled_from(["net", "net", None]))
    def terminate(self, end: str, child: str | None) -> None:
        node = self.network.node(end)
        node.endpoint.terminate("test", child, self.pair.now)
        self.pair.flush(node)

    @rule(end=ENDS)
    def check_liveness(self, end: str) -> None:
        node = self.network.node(end)
        for sa in node.endpoint._registry:
            if sa.state is IkeState.ESTABLISHED:
                sa.queue(CheckLiveness(), self.pair.now)
                node.endpoint._registry.settle(sa, self.pair.now)
        self.pair.flush(node)

    # what the network does

    def waits(self) -> bool:
        return bool(self.network.waiting)

    def has_seen(self) -> bool:
        return bool(self.network.seen)

    @precondition(waits)
    @rule(count=st.integers(1, 8))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.network.waiting))):
            self.network.carry(*self.network.waiting.popleft())

    @precondition(waits)
    @rule(index=INDEX)
    def deliver_out_of_order(self, index: int) -> None:
        waiting = self.network.waiting
        waiting.rotate(-(index % len(waiting)))
        self.network.carry(*waiting.popleft())

    @precondition(waits)
    @rule()
    def deliver_twice(self) -> None:
        first = self.network.waiting.popleft()
        self.network.carry(*first)
        self.network.carry(*first)

    @precondition(waits)
    @rule(count=st.integers(1, 6))
    def lose(self, count: int) -> None:
        for _ in range(min(count, len(self.network.waiting))):
            self.network.waiting.popleft()

    @precondition(has_seen)
    @rule(index=INDEX, strange=st.booleans())
    def replay(self, index: int, *, strange: bool) -> None:
        sender, datagram = self.old(index)
        receiver = self.network.other(sender).name
        self.network.inject(receiver, datagram.data, datagram, strange=strange)

    @precondition(has_seen)
    @rule(index=INDEX)
    def reflect(self, index: int) -> None:
        sender, datagram = self.old(index)
        self.network.inject(sender, datagram.data, datagram, strange=False)

    @precondition(has_seen)
    @rule(index=INDEX, field=st.sampled_from(FIELDS), value=INDEX, end=ENDS, strange=st.booleans())
    def forge(self, index: int, field: str, value: int, end: str, *, strange: bool) -> None:
        _, datagram = self.old(index)
        data = forged(datagram.data, field, value)
        self.network.inject(end, data, datagram, strange=strange)

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.pair.drive(seconds)

    def old(self, index: int) -> tuple[str, Datagram]:
        """Return something that was sent, more often than not one of the last."""
        seen = self.network.seen[-8:] if index % 3 else self.network.seen
        return seen[index % len(seen)]

    # what has to hold

    @invariant()
    def both_ends_are_sound(self) -> None:
        for watch in getattr(self, "watched", []):
            watch.check()

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.network.heal()
        self.pair.drive(LONG_ENOUGH)
        for watch in self.watched:
            watch.check()
        agree(self.pair)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40)
