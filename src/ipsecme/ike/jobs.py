"""What this end wants to do next; jobs wait until the window has room for a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsecme.ike.child import ChildSa
    from ipsecme.ike.config import ChildConfig
    from ipsecme.ike.trigger import Trigger

__all__ = [
    "CheckLiveness",
    "CheckRoute",
    "CloseChild",
    "CloseIke",
    "CreateChild",
    "Job",
    "RekeyChild",
    "RekeyIke",
    "TellAddresses",
    "TellInvalidSpi",
    "UpdateAddresses",
]


@dataclass(slots=True, frozen=True)
class CreateChild:
    """Create a Child SA, for a packet that waits for it or just so."""

    config: ChildConfig
    trigger: Trigger | None = None


@dataclass(slots=True, frozen=True)
class RekeyChild:
    """Rekey the Child SA with this inbound SPI, if it is still there."""

    spi: int


@dataclass(slots=True, frozen=True)
class RekeyIke:
    """Rekey the IKE SA."""


@dataclass(slots=True, frozen=True)
class CloseChild:
    """Delete a Child SA; without `child`, an inbound SPI that the peer knows and we do not use."""

    child: ChildSa | None
    spi: int
    reason: str


@dataclass(slots=True, frozen=True)
class CloseIke:
    """Delete the IKE SA."""

    reason: str


@dataclass(slots=True, frozen=True)
class CheckLiveness:
    """Ask whether the peer is there."""


@dataclass(slots=True, frozen=True)
class CheckRoute:
    """Ask whether the peer receives where it says that it is (RFC 4555, section 3.7)."""


@dataclass(slots=True, frozen=True)
class TellAddresses:
    """Tell the peer our other addresses (RFC 4555, section 3.6)."""


@dataclass(slots=True, frozen=True)
class UpdateAddresses:
    """Have the peer's SAs follow us (RFC 4555, section 3.5)."""


@dataclass(slots=True, frozen=True)
class TellInvalidSpi:
    """Tell the peer that it sends ESP on an SPI that is not ours (section 1.5)."""

    spi: int


Job = (
    CreateChild
    | RekeyChild
    | RekeyIke
    | CloseChild
    | CloseIke
    | CheckLiveness
    | CheckRoute
    | TellAddresses
    | TellInvalidSpi
    | UpdateAddresses
)
