"""What an endpoint lends to its IKE SAs: randomness, key pairs, SPIs, counters and the outbox."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ipsecme.ike.host_addresses import HostAddresses

if TYPE_CHECKING:
    from ipsecme.base import Path, Rng
    from ipsecme.crypto.ke import KeyExchangeProvider
    from ipsecme.ike.commands import Command
    from ipsecme.ike.config import ChildConfig, EndpointConfig, Identity, PeerConfig
    from ipsecme.ike.events import Event
    from ipsecme.ike.sa import IkeSa

__all__ = ["Datagram", "Services"]


class Datagram(NamedTuple):
    """An IKE message to send, without a non-ESP marker, or a NAT-keepalive (one octet, 0xff)."""

    data: bytes
    path: Path


class Registry(Protocol):
    """The endpoint's table of IKE SAs, as an IKE SA sees it."""

    def adopt(self, sa: IkeSa) -> None:
        """Make an IKE SA known by its local SPI."""
        ...

    def release(self, sa: IkeSa) -> None:
        """Forget an IKE SA."""
        ...

    def identify(self, sa: IkeSa) -> None:
        """Make an IKE SA known by its connection and its peer's identity."""
        ...

    def with_identity(self, peer: PeerConfig, identity: Identity) -> list[IkeSa]:
        """Return the live IKE SAs of a connection with a peer of this identity."""
        ...

    def has_live(self, peer: PeerConfig, but: IkeSa) -> bool:
        """Tell whether a connection has another live IKE SA."""
        ...

    def reopen(self, old: IkeSa, wanted: list[ChildConfig], now: float) -> None:
        """Open another IKE SA with the same peer; the old one goes when that is up."""
        ...

    def is_local_spi(self, spi: bytes) -> bool:
        """Tell whether an IKE SA has this local SPI."""
        ...


class Services:
    """Shared by all IKE SAs of one endpoint."""

    __slots__ = (
        "_last_question",
        "commands",
        "config",
        "counters",
        "datagrams",
        "events",
        "fresh_events",
        "host",
        "inbound_spis",
        "key_exchange",
        "questions",
        "registry",
        "rng",
    )

    def __init__(
        self,
        config: EndpointConfig,
        rng: Rng,
        key_exchange: KeyExchangeProvider,
        registry: Registry,
    ) -> None:
        self.config = config
        self.rng = rng
        self.key_exchange = key_exchange
        self.registry = registry
        self.datagrams: list[Datagram] = []
        self.commands: deque[Command] = deque()
        self.events: deque[Event] = deque()
        self.fresh_events: list[Event] = []
        self.counters: Counter[str] = Counter()
        self.host = HostAddresses()
        self.inbound_spis: dict[int, IkeSa] = {}
        self.questions: dict[int, IkeSa] = {}
        self._last_question = 0

    def send(self, data: bytes, path: Path) -> None:
        """Put a datagram into the outbox."""
        self.counters["datagrams_out"] += 1
        self.datagrams.append(Datagram(data, path))

    def publish(self, event: Event) -> None:
        """Put an event into the outbox; the endpoint looks at fresh ones before others do."""
        self.events.append(event)
        self.fresh_events.append(event)

    def next_question(self, sa: IkeSa) -> int:
        """Return the number of a question that an IKE SA waits for."""
        self._last_question += 1
        self.questions[self._last_question] = sa
        return self._last_question

    def new_ike_spi(self) -> bytes:
        """Return an unused IKE SPI, never zero; its last octet is the worker's number."""
        while True:
            spi = self.rng.octets(7) + bytes((self.config.worker,))
            if spi[:7] != bytes(7) and not self.registry.is_local_spi(spi):
                return spi

    def new_esp_spi(self) -> int:
        """Return an unused inbound ESP SPI above the reserved 0 to 255 (RFC 4303, section 2.1)."""
        while True:
            spi = int.from_bytes(self.rng.octets(3)) << 8 | self.config.worker
            if spi > 255 and spi not in self.inbound_spis:
                return spi
