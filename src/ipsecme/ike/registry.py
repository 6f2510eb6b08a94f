"""Registry: the IKE SAs of an endpoint, found by SPI, first request and identity, and their timers.

The heap of deadlines is lazy: an entry whose IKE SA has another deadline by now is passed over.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from ipsecme.ike.sa import IkeSa
from ipsecme.ike.state import IkeState
from ipsecme.wire.ike import NO_SPI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.base import Transport
    from ipsecme.ike.config import Identity, PeerConfig
    from ipsecme.ike.half_open import HalfOpen
    from ipsecme.ike.jobs import CreateChild

__all__ = ["Registry"]

_STALE_KEPT = 64


class Registry:
    """A table with several keys; `settle` is due after whatever happened on an IKE SA."""

    def __init__(self, half_open: HalfOpen) -> None:
        self.half_open = half_open
        self.is_closed = False  # the host stops, and no IKE SA is begun any more
        self._by_spi: dict[bytes, IkeSa] = {}
        self._by_request: dict[tuple[bytes, Transport], IkeSa] = {}
        self._by_identity: dict[tuple[str, tuple[int, bytes]], set[IkeSa]] = {}
        self._deadlines: list[tuple[float, int, IkeSa]] = []
        self._pushes = 0

    def __iter__(self) -> Iterator[IkeSa]:
        return iter(list(self._by_spi.values()))

    def __len__(self) -> int:
        return len(self._by_spi)

    # who is found how

    def find(self, spi: bytes) -> IkeSa | None:
        """Return the IKE SA with this local SPI."""
        return self._by_spi.get(spi)

    def is_local_spi(self, spi: bytes) -> bool:
        """Tell whether an IKE SA has this local SPI."""
        return spi in self._by_spi

    def of_request(self, data: bytes, remote: Transport) -> IkeSa | None:
        """Return the IKE SA that this first request made."""
        return self._by_request.get((data, remote))

    def live_of(self, peer: PeerConfig) -> list[IkeSa]:
        """Return the live IKE SAs of a connection."""
        return [sa for sa in self._by_spi.values() if sa.peer is peer and sa.is_live]

    def has_live(self, peer: PeerConfig, but: IkeSa) -> bool:
        """Tell whether a connection has another live IKE SA."""
        return any(sa is not but for sa in self.live_of(peer))

    def with_identity(self, peer: PeerConfig, identity: Identity) -> list[IkeSa]:
        """Return the live IKE SAs of a connection with a peer of this identity."""
        return [sa for sa in self._by_identity.get((peer.name, identity.key), ()) if sa.is_live]

    # who comes and goes

    def adopt(self, sa: IkeSa) -> None:
        """Make an IKE SA known by its local SPI."""
        self._by_spi[sa.local_spi] = sa
        self._schedule(sa)

    def adopt_half_open(self, sa: IkeSa, request: bytes) -> None:
        """Make an IKE SA known that a first request of a stranger made."""
        sa.request_key = (request, sa.path.remote)
        self._by_request[sa.request_key] = sa
        self.half_open.add(sa)
        self.adopt(sa)

    def identify(self, sa: IkeSa) -> None:
        """Make an IKE SA known by its connection and its peer's identity."""
        if sa.peer_identity is not None:
            self._by_identity.setdefault((sa.name, sa.peer_identity.key), set()).add(sa)

    def release(self, sa: IkeSa) -> None:
        """Forget an IKE SA."""
        if self._by_spi.get(sa.local_spi) is sa:
            del self._by_spi[sa.local_spi]
        self.half_open.discard(sa)
        if (question := sa.dialogue.question) is not None:
            sa.services.questions.pop(question, None)
        if sa.peer_identity is not None:
            key = (sa.name, sa.peer_identity.key)
            same = self._by_identity.get(key, set())
            same.discard(sa)
            if not same:
                self._by_identity.pop(key, None)
        if sa.request_key is not None:
            self._by_request.pop(sa.request_key, None)

    def reopen(self, old: IkeSa, wanted: list[CreateChild], now: float) -> None:
        """Open another IKE SA with the same peer; the old one goes when that is up."""
        peer = old.peer
        if peer is None or self.is_closed:
            return
        services = old.services
        sa = IkeSa(
            services,
            (services.new_ike_spi(), NO_SPI),
            old.path,
            now,
            original_initiator=True,
            candidates=(peer,),
        )
        sa.predecessor = old if old.is_live else None
        self.adopt(sa)
        sa.start(wanted, now)
        self.settle(sa, now)

    # when

    def next_deadline(self) -> float | None:
        """Return when the first of them wants to be called, or None."""
        while self._deadlines:
            at, _, sa = self._deadlines[0]
            if sa.scheduled_at == at:
                return at
            heapq.heappop(self._deadlines)
        return None

    def handle_timeout(self, now: float) -> None:
        """Call all whose time has come."""
        while True:
            at = self.next_deadline()
            if at is None or at > now:
                return
            _, _, sa = heapq.heappop(self._deadlines)
            sa.scheduled_at = None
            sa.handle_timeout(now)
            self.settle(sa, now)

    def settle(self, sa: IkeSa, now: float) -> None:
        """Bring the books and the deadlines of an IKE SA, and of those tied to it, up to date."""
        if sa.state is not IkeState.HALF_OPEN:
            self.half_open.discard(sa)
        sa.services.note_errors(now)
        link: IkeSa | None = sa
        while link is not None:
            self._schedule(link)
            link = link.heir
        for older in sa.mobility.older:
            self._schedule(older)

    def _schedule(self, sa: IkeSa) -> None:
        at = sa.next_timeout() if self.is_local_spi(sa.local_spi) else None
        if at == sa.scheduled_at:
            return
        sa.scheduled_at = at
        if at is not None:
            self._pushes += 1
            heapq.heappush(self._deadlines, (at, self._pushes, sa))
            if len(self._deadlines) > 2 * len(self._by_spi) + _STALE_KEPT:
                self._forget_stale()

    def _forget_stale(self) -> None:
        """Keep one deadline of each IKE SA: a busy peer makes them change faster than they pass."""
        self._deadlines = [
            (sa.scheduled_at, number, sa)
            for number, sa in enumerate(self._by_spi.values())
            if sa.scheduled_at is not None
        ]
        heapq.heapify(self._deadlines)
