"""Trigger: the packet that a Child SA is created for (RFC 7296, sections 2.9 and 2.9.2).

Its selectors go first into TSi and TSr of a new Child SA, so that a responder with several policies
knows which one is meant; never into a rekeying, which is for no packet in particular.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.policy.selector import contains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import ChildConfig
    from ipsecme.policy.parameters import SaPair
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["Trigger"]


@dataclass(slots=True, frozen=True)
class Trigger:
    """The addresses, protocol and ports of one outbound packet, as two selectors.

    With `alone` nothing else is asked for, as the peer wants one pair of addresses for each Child
    SA (SINGLE_PAIR_REQUIRED).
    """

    local: TrafficSelector
    remote: TrafficSelector
    alone: bool = False

    def fits(self, local: Sequence[TrafficSelector], remote: Sequence[TrafficSelector]) -> bool:
        """Tell whether selectors cover the packet."""
        return contains(local, self.local) and contains(remote, self.remote)

    def is_for(self, config: ChildConfig) -> bool:
        """Tell whether policy wants this Child SA for the packet."""
        return self.fits(config.local_ts, config.remote_ts)

    def is_carried_by(self, pair: SaPair) -> bool:
        """Tell whether a Child SA takes the packet already."""
        return self.fits(pair.local_ts, pair.remote_ts)
