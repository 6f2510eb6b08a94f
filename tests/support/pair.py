"""Two endpoints in memory and in virtual time: the main test bed.

A `Pair` owns the clock. Datagrams travel over a `Link` that loses, delays, reorders and duplicates
them by a seeded generator, so that every run can be repeated. Commands are carried out on a table
of SAs that the test can look at, always before the datagrams that follow them.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ipsecme.base import MalformedMessage, Path, Secret, Transport
from ipsecme.crypto.certificate_bundle import LocationUnfit
from ipsecme.crypto.protection import IntegrityFailure
from ipsecme.crypto.signature import sign
from ipsecme.daemon.certificates import ChainChecker
from ipsecme.ike.commands import (
    CheckChain,
    FetchCertificates,
    InstallSa,
    RemoveSa,
    RetireSa,
    Sign,
    UpdatePath,
)
from ipsecme.ike.config import (
    AdmissionConfig,
    ChildConfig,
    EndpointConfig,
    Identity,
    Lifetimes,
    PeerConfig,
    Retransmission,
)
from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.events import (
    ChildSaClosed,
    ChildSaFailed,
    Event,
    IkeSaClosed,
    IkeSaFailed,
)
from ipsecme.ike.protect import inside, open_message
from ipsecme.ike.reassembly import Fragment
from ipsecme.ike.services import Datagram
from ipsecme.policy.keywords import parse_proposals
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.ike import Header, Message, NotifyPayload, Payload
from ipsecme.wire.numbers import ExchangeType, ProtocolId
from support.certificates import AT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.policy.parameters import SaPair

A, B = "192.0.2.1", "192.0.2.2"
NAT_ADDRESS = "198.51.100.9"
IKE_LIFETIMES = Lifetimes(rekey=14400, hard=15840)
CHILD_LIFETIMES = Lifetimes(rekey=3600, hard=3960)
RETRANSMISSION = Retransmission()

E = TypeVar("E", bound=Event)
P = TypeVar("P", bound=Payload)
Ending = TypeVar("Ending", IkeSaFailed, IkeSaClosed, ChildSaFailed, ChildSaClosed)


class SeededRng:
    """Repeatable octets; `script` is handed out first, each entry for a request of its length."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.script: list[bytes] = []

    def octets(self, count: int) -> bytes:
        for index, entry in enumerate(self.script):
            if len(entry) == count:
                return self.script.pop(index)
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


@dataclass
class Link:
    """What happens to datagrams on their way; times in seconds, the others are probabilities."""

    latency: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    seed: int = 1
    filter: Callable[[str, Datagram], bool] | None = None  # (sender's name, datagram) -> keep?
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def arrivals(self, sender: str, datagram: Datagram) -> list[float]:
        """Return the delays after which copies of the datagram arrive."""
        if self.filter is not None and not self.filter(sender, datagram):
            return []
        if self.random.random() < self.loss:
            return []
        copies = 2 if self.random.random() < self.duplicate else 1
        return [self.latency + self.jitter * self.random.random() for _ in range(copies)]


class Node:
    """An endpoint with its driver: carries commands out, keeps events and SAs for the test."""

    def __init__(self, name: str, config: EndpointConfig, seed: int) -> None:
        self.name = name
        self.rng = SeededRng(seed)
        self.endpoint = Endpoint(config, self.rng)
        self.events: list[Event] = []
        self.sad: dict[int, SaPair] = {}
        self.retired: set[int] = set()
        self.refuse_installs = False
        self.questions: list[CheckChain] = []
        self.lookups: list[FetchCertificates] = []
        self.signatures: list[Sign] = []
        self.web: dict[str, bytes] = {}  # what URLs give
        self.answers_questions = True

    def drain(self, now: float) -> list[Datagram]:
        """Carry out commands, keep events, return datagrams; in the order that drivers must
        keep.
        """
        failed = []
        while (command := self.endpoint.next_command()) is not None:
            match command:
                case CheckChain() | FetchCertificates() | Sign():
                    self.take_question(command, now)
                case InstallSa(pair):
                    assert pair.spi not in self.sad
                    if self.refuse_installs:
                        failed.append(pair.spi)
                    else:
                        self.sad[pair.spi] = pair
                case RetireSa(spi):
                    self.retired.add(spi)
                case RemoveSa(spi):
                    self.sad.pop(spi, None)
                    self.retired.discard(spi)
                case UpdatePath(spi, path):
                    self.sad[spi] = replace(self.sad[spi], path=path)
        datagrams = self.endpoint.datagrams_to_send()
        while (event := self.endpoint.next_event()) is not None:
            self.events.append(event)
        for spi in failed:
            self.endpoint.handle_install_failed(spi, "no memory", now)
        return datagrams + (self.drain(now) if failed else [])

    def take_question(self, question: CheckChain | FetchCertificates | Sign, now: float) -> None:
        """Keep a question, and answer it unless the test wants to."""
        if isinstance(question, Sign):
            self.signatures.append(question)
            reply = self.sign
        elif isinstance(question, CheckChain):
            self.questions.append(question)
            reply = self.answer
        else:
            self.lookups.append(question)
            reply = self.look_up
        if self.answers_questions:
            reply(now)

    def answer(self, now: float) -> None:
        """Answer the last question as the daemon does, on the first of June 2030."""
        question = self.questions[-1]
        self.endpoint.answer(question.number, ChainChecker().check(question, AT), now)

    def sign(self, now: float) -> None:
        """Make the last signature that was asked for."""
        question = self.signatures[-1]
        made = sign(question.key, question.octets, question.peer_hashes)
        self.endpoint.answer(question.number, made, now)

    def look_up(self, now: float) -> None:
        """Answer the last lookup from `web`."""
        question = self.lookups[-1]
        contents = tuple(self.web.get(location.url) for location in question.locations)
        answer = LocationUnfit("no such page") if None in contents else contents
        self.endpoint.answer(question.number, answer, now)

    def names(self) -> list[str]:
        """Return the kinds of events so far."""
        return [type(event).__name__ for event in self.events]

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def reasons(self, kind: type[Ending]) -> list[str]:
        """Return the reasons of the events of one kind."""
        return [event.reason for event in self.of(kind)]

    @property
    def current(self) -> list[SaPair]:
        """The pairs that carry outbound traffic."""
        return [pair for spi, pair in self.sad.items() if spi not in self.retired]


class Sent(NamedTuple):
    """A message that arrived, opened: who sent it, its header, its payloads."""

    sender: str
    header: Header
    payloads: list[Payload]

    @property
    def types(self) -> list[str]:
        """The payloads in order; a Notify by its own type."""
        return [
            p.type.name if isinstance(p, NotifyPayload) else p.payload_type.name
            for p in self.payloads
        ]

    def only(self, kind: type[P]) -> P:
        """Return the one payload of a class."""
        (payload,) = [p for p in self.payloads if isinstance(p, kind)]
        return payload


class Pair:
    """Two nodes, `a` (192.0.2.1) and `b` (192.0.2.2), connection "test" at both."""

    def __init__(
        self,
        link: Link | None = None,
        *,
        a: PeerConfig | None = None,
        b: PeerConfig | None = None,
        admission: AdmissionConfig | None = None,
        seed: int = 0,
        nat: bool = False,
        export_keys: bool = False,
        fragment_octets: int = 1228,
    ) -> None:
        self.link = link or Link()
        self.now = 100.0
        self.nat = nat
        self.behind_nat = {A}
        self._nat_ports: dict[Transport, int] = {}
        self._queue: list[tuple[float, int, Node, Datagram]] = []
        self._count = 0
        self.sent: list[tuple[str, Datagram]] = []
        self.messages: list[Sent] = []
        common = EndpointConfig(
            admission=admission or AdmissionConfig(),
            export_keys=export_keys,
            fragment_octets=fragment_octets,
        )
        self.a = Node("a", replace(common, peers=(a or peer("a"),)), seed * 2 + 1)
        self.b = Node("b", replace(common, peers=(b or peer("b", nat=nat),)), seed * 2 + 2)

    # what tests do

    def initiate(self, node: Node | None = None, child: str | None = None) -> None:
        """Let one node call."""
        node = node or self.a
        node.endpoint.initiate("test", child, self.now)
        self.flush(node)

    def establish(self) -> None:
        """Bring the connection up from `a`."""
        self.initiate()
        self.drive()

    def rekey(self, node: Node, child: str | None = None) -> None:
        """Let one node rekey."""
        assert node.endpoint.rekey("test", child, self.now) >= 1
        self.flush(node)

    def terminate(self, node: Node, child: str | None = None) -> None:
        """Let one node delete."""
        assert node.endpoint.terminate("test", child, self.now) >= 1
        self.flush(node)

    def drive(self, seconds: float = 4.0, steps: int = 20_000) -> None:
        """Let time pass until that much of it is over."""
        end = self.now + seconds
        for _ in range(steps):
            if not self.step(end):
                self.now = end
                return
        raise AssertionError(f"more than {steps} steps: the endpoints chatter")

    def step(self, end: float) -> bool:
        """Let the next thing happen, if it is due before `end`."""
        arrival = self._queue[0][0] if self._queue else None
        timers = [(at, node) for node in (self.a, self.b) if (at := node.endpoint.next_timeout())]
        timer = min(timers, key=lambda t: t[0], default=None)
        if arrival is not None and (timer is None or arrival <= timer[0]):
            if arrival > end:
                return False
            at, _, node, datagram = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            self.deliver(node, datagram)
            return True
        if timer is None or timer[0] > end:
            return False
        self.now = max(self.now, timer[0])
        timer[1].endpoint.handle_timeout(self.now)
        self.flush(timer[1])
        return True

    def deliver(self, node: Node, datagram: Datagram) -> None:
        """Hand a datagram to a node as if it had just arrived."""
        if datagram.data != b"\xff":
            self._read_along(node, datagram.data)
            node.endpoint.receive_datagram(datagram.data, datagram.path, self.now)
        self.flush(node)

    def _read_along(self, receiver: Node, data: bytes) -> None:
        """Keep what a message holds, opened with the receiver's keys."""
        with contextlib.suppress(MalformedMessage, IntegrityFailure):
            header = Header.decode(data)
            spi = header.spi_r if header.from_original_initiator else header.spi_i
            sa = receiver.endpoint._registry.find(spi)
            if header.exchange == ExchangeType.IKE_SA_INIT:
                payloads = Message.decode(data).payloads
            elif sa is not None and sa.opening is not None:
                opened = open_message(data, header, sa.opening)
                if isinstance(opened, Fragment):
                    return
                payloads = list(inside(opened))
            else:
                return
            sender = "b" if receiver.name == "a" else "a"
            self.messages.append(Sent(sender, header, payloads))

    def flush(self, node: Node) -> None:
        """Send what a node has to send."""
        for datagram in node.drain(self.now):
            self.sent.append((node.name, datagram))
            for delay in self.link.arrivals(node.name, datagram):
                self._count += 1
                other = self.b if node is self.a else self.a
                arriving = self.cross(node, datagram)
                if arriving is not None:
                    heapq.heappush(self._queue, (self.now + delay, self._count, other, arriving))

    def cross(self, sender: Node, datagram: Datagram) -> Datagram | None:
        """Turn the path round for the receiver, through the NAT in front of `a` if there is one."""
        local, remote, encapsulated = datagram.path
        if self.nat and sender is self.a and local.address in self.behind_nat:
            port = self._nat_ports.setdefault(local, 40_000 + local.port)
            local = Transport(NAT_ADDRESS, port)
        if self.nat and sender is self.b and remote.address in {NAT_ADDRESS, *self.behind_nat}:
            inside = next((i for i, o in self._nat_ports.items() if o == remote.port), None)
            if inside is None or remote.address != NAT_ADDRESS:
                return None
            remote = inside
        return Datagram(datagram.data, Path(remote, local, encapsulated))

    def rebind_nat(self) -> None:
        """Give `a` other outside ports, as a NAT that restarted does."""
        self._nat_ports = {inside: outside + 7 for inside, outside in self._nat_ports.items()}

    # what tests check

    def check_sads(self, pairs: int = 1, *, paths: bool = True) -> None:
        """Both ends have the same Child SAs in mirror image, and no more than asked for."""
        assert len(self.a.current) == pairs, [hex(p.spi) for p in self.a.current]
        assert len(self.b.current) == pairs, [hex(p.spi) for p in self.b.current]
        theirs = {pair.spi: pair for pair in self.b.sad.values()}
        for mine in self.a.current:
            other = theirs[mine.outbound.spi]
            assert other.outbound.spi == mine.spi
            assert other.inbound.encryption_key == mine.outbound.encryption_key
            assert other.outbound.encryption_key == mine.inbound.encryption_key
            assert other.inbound.integrity_key == mine.outbound.integrity_key
            assert other.outbound.integrity_key == mine.inbound.integrity_key
            assert other.suite == mine.suite
            assert other.local_ts == mine.remote_ts
            assert other.remote_ts == mine.local_ts
            assert not paths or other.path.encapsulated == mine.path.encapsulated

    def exchanges(self) -> Counter[ExchangeType]:
        """Count the datagrams sent so far by exchange type."""
        kinds = (Header.decode(d.data).exchange for _, d in self.sent if len(d.data) > 1)
        return Counter(kinds)


def with_window(pair: Pair, size: int) -> Pair:
    """Give both ends a window."""
    for node in (pair.a, pair.b):
        config: EndpointConfig = replace(node.endpoint.config, window=size)
        node.endpoint = Endpoint(config, node.rng)
    return pair


def peer(
    side: str,
    *,
    psk: bytes = b"a secret of twenty octets",
    remote_id: str | None = "default",
    ike: tuple[str, ...] = ("aes256gcm16-prfsha256-x25519",),
    esp: tuple[str, ...] = ("aes256gcm16",),
    local_ts: tuple[str, ...] | None = None,
    remote_ts: tuple[str, ...] | None = None,
    lifetimes: Lifetimes = IKE_LIFETIMES,
    child_lifetimes: Lifetimes = CHILD_LIFETIMES,
    liveness: float = 30.0,
    encapsulate: bool = False,
    retransmission: Retransmission = RETRANSMISSION,
    nat: bool = False,
    mobike: bool = True,
    return_routability: bool = True,
    children: tuple[ChildConfig, ...] | None = None,
) -> PeerConfig:
    """Return one side of the connection "test": 10.1.0.0/16 behind `a`, 10.2.0.0/16 behind `b`."""
    mine, other = (A, B) if side == "a" else (B, A)
    nets = (("10.1.0.0/16",), ("10.2.0.0/16",))
    own, far = nets if side == "a" else nets[::-1]
    if remote_id == "default":
        remote_id = f"{'b' if side == 'a' else 'a'}.example.com"
    child = ChildConfig(
        name="net",
        local_ts=tuple(parse_selector(t) for t in local_ts or own),
        remote_ts=tuple(parse_selector(t) for t in remote_ts or far),
        proposals=parse_proposals(esp, ProtocolId.ESP),
        lifetimes=child_lifetimes,
    )
    return PeerConfig(
        name="test",
        local_id=Identity.parse(f"{side}.example.com"),
        remote_id=None if remote_id is None else Identity.parse(remote_id),
        psk=Secret(psk),
        children=(child,) if children is None else children,
        local_address=mine,
        remote_address=None if nat and side == "b" else other,
        proposals=parse_proposals(ike, ProtocolId.IKE),
        lifetimes=lifetimes,
        retransmission=retransmission,
        liveness=liveness,
        encapsulate=encapsulate,
        mobike=mobike,
        return_routability=return_routability,
    )
