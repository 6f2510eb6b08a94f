"""SA pairs and their succession: which outbound half is in use (RFC 7296, section 2.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.base import Path
    from ipsecme.esp.inbound import InboundSa
    from ipsecme.esp.outbound import OutboundSa
    from ipsecme.policy.parameters import SaPair

__all__ = ["InstalledPair"]


class InstalledPair:
    """Both halves of an SA pair, and how it stands to the one that it replaces.

    `age` counts the pairs installed before it. `is_ready` says that the peer is known to receive on
    the pair; `is_retired` that its outbound half is gone. A ready successor supersedes its
    predecessor; if the successor goes away first, as happens when two rekeyings collide, the
    predecessor is in use again.
    """

    __slots__ = (
        "age",
        "inbound",
        "is_ready",
        "is_retired",
        "outbound",
        "path",
        "predecessor",
        "successors",
    )

    def __init__(
        self,
        pair: SaPair,
        inbound: InboundSa,
        outbound: OutboundSa,
        *,
        age: int,
        predecessor: InstalledPair | None,
    ) -> None:
        self.age = age
        self.inbound = inbound
        self.outbound = outbound
        self.path: Path = pair.path
        self.predecessor = predecessor
        self.successors: list[InstalledPair] = []
        self.is_retired = False
        orphaned = pair.replaces is not None and (predecessor is None or predecessor.is_retired)
        self.is_ready = pair.outbound_ready or orphaned
        if predecessor is not None:
            predecessor.successors.append(self)

    @property
    def spi(self) -> int:
        """The inbound SPI, which names the pair."""
        return self.outbound.pair.spi

    @property
    def is_in_use(self) -> bool:
        """Whether outbound traffic takes this pair."""
        if self.is_retired or not self.is_ready:
            return False
        return not any(successor.supersedes() for successor in self.successors)

    def supersedes(self) -> bool:
        """Tell whether this pair, or one after it, carries its predecessor's traffic."""
        if self.is_ready and not self.is_retired:
            return True
        return any(successor.supersedes() for successor in self.successors)

    def family(self) -> Iterator[InstalledPair]:
        """Yield all pairs of the succession, the eldest first."""
        eldest = self
        while eldest.predecessor is not None:
            eldest = eldest.predecessor
        waiting = [eldest]
        while waiting:
            member = waiting.pop()
            yield member
            waiting.extend(member.successors)

    def retire(self) -> None:
        """Give up the outbound half. Successors that waited for it are ready now."""
        self.is_retired = True
        for successor in self.successors:
            successor.is_ready = True

    def leave(self) -> None:
        """Leave the succession for good; what came after follows what came before."""
        self.retire()
        predecessor = self.predecessor
        if predecessor is not None:
            predecessor.successors.remove(self)
            predecessor.successors.extend(self.successors)
        for successor in self.successors:
            successor.predecessor = predecessor
        self.predecessor = None
        self.successors = []
