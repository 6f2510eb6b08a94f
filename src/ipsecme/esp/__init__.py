"""The ESP engine: seals and opens packets, keeps windows and counters. Pure: no I/O, no clock."""

from __future__ import annotations

from ipsecme.esp.counters import Counters, SaCounters, Totals
from ipsecme.esp.processor import Processor, Verdict
from ipsecme.esp.reasons import DropReason

__all__ = ["Counters", "DropReason", "Processor", "SaCounters", "Totals", "Verdict"]
