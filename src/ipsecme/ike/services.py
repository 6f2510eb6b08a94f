"""What an endpoint lends to its IKE SAs: randomness, key pairs, SPIs, counters and the outbox."""

from __future__ import annotations

import datetime as dt
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from ipsecme.ike.events import ChildSaFailed, IkeSaClosed, IkeSaEstablished, IkeSaFailed
from ipsecme.ike.host_addresses import HostAddresses
from ipsecme.ike.status import LastError
from ipsecme.policy.address_pool import AddressPool

if TYPE_CHECKING:
    from ipsecme.base import Path, Rng
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.crypto.ke import KeyExchangeProvider
    from ipsecme.ike.commands import Command
    from ipsecme.ike.config import EndpointConfig
    from ipsecme.ike.events import Event
    from ipsecme.ike.registry import Registry
    from ipsecme.ike.sa import IkeSa

__all__ = ["Datagram", "Services"]

_GOOD_ENDS = ("deleted", "deleted_by_peer", "reauthenticated")


class Datagram(NamedTuple):
    """An IKE message to send, without a non-ESP marker, or a NAT-keepalive (one octet, 0xff)."""

    data: bytes
    path: Path


class Services:
    """Shared by all IKE SAs of one endpoint."""

    __slots__ = (
        "_fresh_events",
        "_last_question",
        "_midnight",
        "addresses",
        "commands",
        "config",
        "counters",
        "datagrams",
        "events",
        "host",
        "inbound_spis",
        "key_exchange",
        "last_assigned",
        "last_errors",
        "ocsp",
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
        self.last_errors: dict[str, LastError] = {}
        self._fresh_events: list[Event] = []
        self.counters: Counter[str] = Counter()
        self.host = HostAddresses()
        self.addresses = AddressPool()
        self.last_assigned: dict[str, tuple[bytes, ...]] = {}  # to us, by connection
        self.inbound_spis: dict[int, IkeSa] = {}
        self.questions: dict[int, IkeSa] = {}
        self._last_question = 0
        self.ocsp: dict[Certificate, bytes] = {}  # what proves that ours are not revoked
        self._midnight: dt.datetime | None = None  # the time of day at monotonic zero

    @property
    def is_besieged(self) -> bool:
        """True while strangers must show a COOKIE (RFC 7296, section 2.6)."""
        return len(self.registry.half_open) > self.config.admission.cookie_threshold

    def set_wall_clock(self, wall: dt.datetime, now: float) -> None:
        """Learn what time of day it is at a monotonic time."""
        self._midnight = wall - dt.timedelta(seconds=now)

    def wall(self, now: float) -> dt.datetime | None:
        """Return the time of day, if anybody told."""
        return None if self._midnight is None else self._midnight + dt.timedelta(seconds=now)

    def send(self, data: bytes, path: Path) -> None:
        """Put a datagram into the outbox."""
        self.counters["datagrams_out"] += 1
        self.datagrams.append(Datagram(data, path))

    def publish(self, event: Event) -> None:
        """Put an event into the outbox."""
        self.events.append(event)
        self._fresh_events.append(event)

    def note_errors(self, now: float) -> None:
        """Remember the last error of each connection, from the events since the last call."""
        for event in self._fresh_events:
            if isinstance(event, IkeSaEstablished):
                self.last_errors.pop(event.connection, None)
            elif isinstance(event, (IkeSaFailed, ChildSaFailed)) or _is_bad_end(event):
                self.last_errors[event.connection] = LastError(event.reason, event.detail, now)
        self._fresh_events.clear()

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


def _is_bad_end(event: Event) -> TypeGuard[IkeSaClosed]:
    return isinstance(event, IkeSaClosed) and event.reason not in _GOOD_ENDS
