"""Children: the Child SAs of an IKE SA, installed to removed (RFC 7296, sections 1.4.1, 2.8)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.ike.child import ChildSa, ChildTimer
from ipsecme.ike.commands import InstallSa, RemoveSa, RetireSa, UpdatePath
from ipsecme.ike.events import ChildSaClosed, ChildSaCreated
from ipsecme.ike.jobs import CloseChild, RekeyChild
from ipsecme.ike.state import ChildState
from ipsecme.policy.selector import selector_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.base import Path
    from ipsecme.ike.sa import IkeSa

__all__ = ["Children"]

_REMOVE_SECONDS = 5.0  # a replaced Child SA still takes packets that were under way


class Children:
    """A table by inbound SPI, and what happens to its entries."""

    __slots__ = ("_by_spi", "_sa")

    def __init__(self, sa: IkeSa) -> None:
        self._sa = sa
        self._by_spi: dict[int, ChildSa] = {}

    def __iter__(self) -> Iterator[ChildSa]:
        return iter(list(self._by_spi.values()))

    def __len__(self) -> int:
        return len(self._by_spi)

    def find(self, spi: int) -> ChildSa | None:
        """Return the Child SA with this inbound SPI."""
        return self._by_spi.get(spi)

    def find_outbound(self, spi: int) -> ChildSa | None:
        """Return the Child SA that the peer receives on with this SPI."""
        for child in self._by_spi.values():
            if child.outbound_spi == spi and child.state is not ChildState.CLOSED:
                return child
        return None

    def take(self, child: ChildSa, now: float, *, is_initiator: bool) -> None:
        """Install a new Child SA."""
        sa, pair = self._sa, child.pair
        services = sa.services
        self._by_spi[child.spi] = child
        services.inbound_spis[child.spi] = sa
        child.start_timers(services.rng, now)
        services.commands.append(InstallSa(pair))
        services.publish(
            ChildSaCreated(
                sa.name,
                child.config.name,
                sa.handle,
                child.spi,
                child.outbound_spi,
                pair.suite,
                is_initiator,
                tuple(selector_text(s) for s in pair.local_ts),
                tuple(selector_text(s) for s in pair.remote_ts),
                pair.replaces,
            )
        )

    def supersede(self, child: ChildSa) -> None:
        """Move the traffic to a successor; inbound packets are still welcome."""
        child.state = ChildState.REKEYED
        child.timers.disarm(ChildTimer.REKEY)
        self._sa.services.commands.append(RetireSa(child.spi))

    def delete(self, child: ChildSa, reason: str, now: float) -> None:
        """Ask the peer to close a Child SA with us."""
        if child.state in (ChildState.CLOSING, ChildState.CLOSED):
            return
        child.state = ChildState.CLOSING
        child.timers.disarm(ChildTimer.REKEY)
        self._sa.queue(CloseChild(child, child.spi, reason), now)

    def drop(self, child: ChildSa, reason: str, now: float) -> None:
        """End a Child SA here; one that was replaced goes on receiving for a moment."""
        if child.state is ChildState.CLOSED:
            return
        child.state = ChildState.CLOSED
        child.timers.clear()
        sa = self._sa
        if reason == "rekeyed":
            sa.services.commands.append(RetireSa(child.spi))
            child.timers.arm(ChildTimer.REMOVE, now + _REMOVE_SECONDS)
        else:
            self._remove(child)
        sa.services.publish(ChildSaClosed(sa.name, child.config.name, sa.handle, child.spi, reason))

    def drop_all(self, reason: str, now: float) -> None:
        """End all of them, without grace for those that were replaced."""
        for child in self:
            self.drop(child, reason, now)
            if child.spi in self._by_spi:
                self._remove(child)

    def _remove(self, child: ChildSa) -> None:
        self._by_spi.pop(child.spi, None)
        self._sa.services.inbound_spis.pop(child.spi, None)
        self._sa.services.commands.append(RemoveSa(child.spi))

    def move_to(self, heir: Children) -> None:
        """Give all of them to another IKE SA."""
        for spi, child in self._by_spi.items():
            heir._by_spi[spi] = child
            self._sa.services.inbound_spis[spi] = heir._sa
        self._by_spi = {}

    def follow(self, path: Path) -> None:
        """Send along another path from now on."""
        for child in self._by_spi.values():
            child.pair = replace(child.pair, path=path)
            self._sa.services.commands.append(UpdatePath(child.spi, path))

    def _expire(self, child: ChildSa, now: float) -> None:
        """Close what is too old; with all of the IKE SA if rekeying it has failed (section 2.8)."""
        if child.is_current and child.rekeying_failed:
            self._sa.delete("expired", now)
        else:
            self.delete(child, "expired", now)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of them all."""
        earliest: float | None = None
        for child in self._by_spi.values():
            deadline = child.timers.next_deadline()
            if deadline is not None and (earliest is None or deadline < earliest):
                earliest = deadline
        return earliest

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for child in self:
            for timer in child.timers.due(now):
                match timer:
                    case ChildTimer.REKEY:
                        self._sa.queue(RekeyChild(child.spi), now)
                    case ChildTimer.EXPIRE:
                        self._expire(child, now)
                    case ChildTimer.REMOVE:
                        self._remove(child)
