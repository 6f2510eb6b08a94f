"""ChildSa: a pair of ESP SAs as IKE knows it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.base import TimerTable
from ipsecme.ike.state import ChildState

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.ike.config import ChildConfig, Lifetimes
    from ipsecme.policy.parameters import SaPair

__all__ = ["ChildSa", "ChildTimer", "rekey_delay"]


class ChildTimer(enum.Enum):
    """What a Child SA waits for."""

    REKEY = "rekey"
    EXPIRE = "expire"
    REMOVE = "remove"  # the replaced SA still takes packets that were under way


@dataclass(slots=True)
class ChildSa:
    """A Child SA; known by its inbound SPI, which is `pair.spi`. Times are monotonic seconds."""

    config: ChildConfig
    pair: SaPair
    created_at: float
    state: ChildState = ChildState.INSTALLED
    timers: TimerTable[ChildTimer] = field(default_factory=TimerTable)
    rekey_at: float = 0.0
    expires_at: float = 0.0
    rekeying_failed: bool = False  # since it was created

    @property
    def spi(self) -> int:
        """The inbound SPI."""
        return self.pair.spi

    @property
    def is_current(self) -> bool:
        """True while it is neither replaced nor going."""
        return self.state is ChildState.INSTALLED

    @property
    def outbound_spi(self) -> int:
        """The SPI that the peer receives on."""
        return self.pair.outbound.spi

    def start_timers(self, rng: Rng, now: float) -> None:
        """Begin the lifetimes of the configuration (section 2.8)."""
        lifetimes = self.config.lifetimes
        self.rekey_at = now + rekey_delay(lifetimes, rng)
        self.expires_at = now + lifetimes.hard
        self.timers.arm(ChildTimer.REKEY, self.rekey_at)
        self.timers.arm(ChildTimer.EXPIRE, self.expires_at)


def rekey_delay(lifetimes: Lifetimes, rng: Rng) -> float:
    """Return when to rekey, earlier by a random part so that two ends seldom start together."""
    return lifetimes.rekey * (1 - lifetimes.jitter * rng.fraction())
