"""A network that does with datagrams whatever the test says, and what has to hold meanwhile."""

from __future__ import annotations

import struct
from collections import Counter, deque
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from ipsecme.base import Transport
from ipsecme.ike.state import ChildState, IkeState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.ike.child import ChildSa
    from ipsecme.ike.sa import IkeSa
    from ipsecme.ike.services import Datagram
    from support.pair import Node, Pair

STRANGER = Transport("203.0.113.66", 4242)
State = TypeVar("State", IkeState, ChildState)

MOST = 160  # entries in any container of an endpoint, some ten times what the test needs

_IKE_MOVES: dict[IkeState, set[IkeState]] = {
    IkeState.HALF_OPEN: {IkeState.ESTABLISHED, IkeState.CLOSED},
    IkeState.ESTABLISHED: {IkeState.REKEYED, IkeState.CLOSING, IkeState.CLOSED},
    IkeState.REKEYED: {IkeState.CLOSING, IkeState.CLOSED},
    IkeState.CLOSING: {IkeState.REKEYED, IkeState.CLOSED},
    IkeState.CLOSED: set(),
}
_CHILD_MOVES: dict[ChildState, set[ChildState]] = {
    ChildState.INSTALLED: {ChildState.REKEYED, ChildState.CLOSING, ChildState.CLOSED},
    ChildState.REKEYED: {ChildState.CLOSING, ChildState.CLOSED},
    ChildState.CLOSING: {ChildState.CLOSED},
    ChildState.CLOSED: set(),
}


class HostileNetwork:
    """Keeps each datagram until it is told what becomes of it; remembers all that it has seen."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.waiting: deque[tuple[str, Datagram]] = deque()
        self.seen: list[tuple[str, Datagram]] = []
        pair.link.filter = self._keep

    def _keep(self, sender: str, datagram: Datagram) -> bool:
        self.waiting.append((sender, datagram))
        self.seen.append((sender, datagram))
        return False

    def node(self, name: str) -> Node:
        """Return an end by its name."""
        return self.pair.a if name == "a" else self.pair.b

    def other(self, name: str) -> Node:
        """Return the end that does not have this name."""
        return self.pair.b if name == "a" else self.pair.a

    def carry(self, sender: str, datagram: Datagram) -> None:
        """Bring a datagram to where it belongs."""
        arriving = self.pair.cross(self.node(sender), datagram)
        if arriving is not None:
            self.pair.deliver(self.other(sender), arriving)

    def inject(self, receiver: str, data: bytes, like: Datagram, *, strange: bool) -> None:
        """Bring any octets to an end as if they came from its peer, or from a stranger."""
        node = self.node(receiver)
        path = like.path._replace(local=like.path.remote, remote=like.path.local)
        if self.pair.sent and path.local.address != _address_of(receiver):
            path = like.path
        if strange:
            path = path._replace(remote=STRANGER)
        node.endpoint.receive_datagram(data, path, self.pair.now)
        self.pair.flush(node)

    def heal(self) -> None:
        """Lose what is under way and carry everything from now on."""
        self.waiting.clear()
        self.pair.link.filter = None


def _address_of(name: str) -> str:
    return "192.0.2.1" if name == "a" else "192.0.2.2"


def forged(data: bytes, field: str, value: int) -> bytes:
    """Return a message with one field of its header changed; `value` says how."""
    octets = bytearray(data)
    match field:
        case "message id":
            (mid,) = struct.unpack_from("!I", octets, 20)
            struct.pack_into("!I", octets, 20, (mid + value) % (1 << 32))
        case "exchange":
            octets[18] = 34 + value % 5
        case "flags":
            octets[19] ^= (0x08, 0x20, 0x28, 0x10, 0xC7)[value % 5]
        case "version":
            octets[17] = (0x10, 0x21, 0x30, 0x00)[value % 4]
        case "spis":
            octets[:16] = octets[8:16] + octets[:8]
        case "responder's spi":
            octets[8:16] = bytes(8) if value % 2 else bytes((value % 256,)) * 8
        case "first payload":
            octets[16] = value % 256
        case "length":
            struct.pack_into("!I", octets, 24, value)
        case "cut":
            del octets[value % len(octets) :]
        case "grown":
            octets += bytes(1 + value % 40)
            struct.pack_into("!I", octets, 24, len(octets))
        case _:
            octets[value % len(octets)] ^= 1 + value % 255
    return bytes(octets)


FIELDS = (
    "message id", "exchange", "flags", "version", "spis", "responder's spi", "first payload",
    "length", "cut", "grown", "any octet",
)  # fmt: skip


class Watch:
    """Compares an endpoint with itself a step before, and with the tables of states."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ike: dict[IkeSa, IkeState] = {}
        self._children: dict[int, tuple[ChildSa, ChildState]] = {}

    def check(self) -> None:
        """Fail when something is not as the tables say, or larger than it may get."""
        endpoint = self._node.endpoint
        sas = list(endpoint._registry)
        for sa in sas:
            self._check_ike(sa)
        children = [child for sa in sas for child in sa.children]
        for child in children:
            before = self._children.get(id(child), (child, child.state))[1]
            assert child.state in _reachable(_CHILD_MOVES, before), (before, child.state)
        assert len({child.spi for child in children}) == len(children)
        assert set(endpoint._services.inbound_spis) == {child.spi for child in children}
        assert set(self._node.sad) == {child.spi for child in children}
        for path, size in containers(endpoint):
            assert size <= MOST, (path, size)
        self._ike = {sa: sa.state for sa in sas}
        self._children = {id(child): (child, child.state) for child in children}

    def _check_ike(self, sa: IkeSa) -> None:
        before = self._ike.get(sa, IkeState.HALF_OPEN)
        assert sa.state in _reachable(_IKE_MOVES, before), (before, sa.state)
        requests, responses = sa.dialogue.requests, sa.dialogue.responses
        if sa.state in (IkeState.HALF_OPEN, IkeState.REKEYED, IkeState.CLOSED):
            assert not len(sa.children)
        if sa.state is IkeState.REKEYED:
            assert sa.heir is not None
        if sa.state is not IkeState.HALF_OPEN and sa.peer_identity is None:
            assert sa.state is IkeState.CLOSED
        assert len(requests.outstanding) <= requests.size
        assert all(mid < requests.next_id for mid in requests.outstanding)
        assert len(responses._answers) <= 2 * responses.size


def _reachable(moves: dict[State, set[State]], start: State) -> set[State]:
    found, fresh = {start}, {start}
    while fresh:
        fresh = {after for before in fresh for after in moves[before]} - found
        found |= fresh
    return found


def containers(root: object) -> Iterator[tuple[str, int]]:
    """Yield every dict, list, set and deque that an object of ours leads to, with its size."""
    seen: set[int] = set()
    pending: list[tuple[str, object]] = [(type(root).__name__, root)]
    while pending:
        path, thing = pending.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (dict, list, set, deque, tuple)):
            if not isinstance(thing, (tuple, Counter)):
                yield path, len(thing)
            values = [*thing, *thing.values()] if isinstance(thing, dict) else thing
            pending += [(f"{path}[]", value) for value in values]
        elif type(thing).__module__.startswith("ipsecme."):
            names = [*getattr(thing, "__dict__", ()), *_slots(type(thing))]
            pending += [(f"{path}.{n}", getattr(thing, n)) for n in names if hasattr(thing, n)]


def _slots(kind: type) -> list[str]:
    if issubclass(kind, (Enum, int, bytes)):
        return []
    found: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return found


def agree(pair: Pair) -> None:
    """Both ends have the same Child SAs and nothing is left of others.

    Somebody on the path can make one of them believe in a NAT: then it sends ESP inside UDP and the
    other does not, which both take (section 2.23).
    """
    pair.check_sads(pairs=len(pair.a.current), paths=False)
    for node in (pair.a, pair.b):
        assert not node.retired, node.retired
        states = Counter(sa.state for sa in node.endpoint._registry)
        assert not states[IkeState.HALF_OPEN], states


__all__ = ["FIELDS", "HostileNetwork", "Watch", "agree", "containers", "forged"]
