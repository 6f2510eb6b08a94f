"""What the engine counted, as values: packets and octets of inner traffic, drops by reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.esp.reasons import DropReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Counters", "SaCounters", "Totals", "drops_by_reason"]


@dataclass(slots=True, frozen=True)
class SaCounters:
    """One SA pair, named by its inbound SPI.

    `last_inbound` is when a packet last passed every check, in monotonic seconds of the machine;
    None before the first one.
    """

    spi: int
    packets_in: int
    octets_in: int
    packets_out: int
    octets_out: int
    last_inbound: float | None
    drops: Mapping[DropReason, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Totals:
    """All traffic since the start, removed SAs included, and the packets that met no SA."""

    packets_in: int
    octets_in: int
    packets_out: int
    octets_out: int
    drops: Mapping[DropReason, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Counters:
    """The installed pairs, and the totals."""

    sas: Sequence[SaCounters]
    totals: Totals


def drops_by_reason(counts: Sequence[int]) -> dict[DropReason, int]:
    """Return what a list indexed by reason holds, without the zeros."""
    return {DropReason.of(code): count for code, count in enumerate(counts) if count}
