"""Data planes: they carry out what IKE agreed on, and move the packets."""

from __future__ import annotations

from ipsecme.dataplane.base import (
    Counters,
    DataPlane,
    DataPlaneLost,
    DropReason,
    Listener,
    SaCounters,
    Totals,
)

__all__ = [
    "Counters",
    "DataPlane",
    "DataPlaneLost",
    "DropReason",
    "Listener",
    "SaCounters",
    "Totals",
]
