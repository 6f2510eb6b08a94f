"""What an engine asks of a data plane, as values (RFC 4301, section 4.4.2).

Both IKE and the data planes know these and nothing else of each other.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ipsecme.base import Path, Secret
    from ipsecme.crypto.suite import EspSuite
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["Mode", "OriginalAddresses", "SaHalf", "SaPair"]


class Mode(enum.Enum):
    """RFC 4301, section 4.1."""

    TUNNEL = "tunnel"
    TRANSPORT = "transport"


@dataclass(slots=True, frozen=True)
class SaHalf:
    """One direction of a Child SA: its SPI and its keys, in the sizes that the suite demands."""

    spi: int
    encryption_key: Secret
    integrity_key: Secret


class OriginalAddresses(NamedTuple):
    """The addresses of the peer's packets as it writes them, before NATs; 4 or 16 octets each.

    The checksums inside transport mode packets cover these (RFC 3948, section 3.1.2).
    """

    source: bytes
    destination: bytes


@dataclass(slots=True, frozen=True)
class SaPair:
    """A Child SA as a data plane installs it; it is known by the SPI of its inbound half.

    `path` is where its packets leave and arrive; ESP is inside UDP when `path.encapsulated`,
    otherwise it is IP protocol 50. With `outbound_ready` false the pair waits: the outbound half of
    the SA that it `replaces` (an inbound SPI) stays in use until the first packet passes every
    check on the new inbound half, or the replaced SA is retired (RFC 7296, section 2.8).
    `replay_window` is in packets. The `own_addresses` among `local_ts` are not this host's by
    itself: it has them, and sends from them, as long as a pair needs them.
    In transport mode all selectors of a side name one and the same address, and `original` holds
    what NATs changed, if they did.
    """

    connection: str
    child: str
    inbound: SaHalf
    outbound: SaHalf
    suite: EspSuite
    mode: Mode
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    path: Path
    replaces: int | None = None
    outbound_ready: bool = True
    replay_window: int = 1024
    own_addresses: tuple[bytes, ...] = ()
    original: OriginalAddresses | None = None

    @property
    def spi(self) -> int:
        """The inbound SPI."""
        return self.inbound.spi
