"""DataPlane: what moves the packets of Child SAs, and of IKE on the NAT traversal port.

The IKE side says what to install, the data plane reports what it hears. Implementations: `memory`
for tests, `user` with a packet process of its own. One conformance suite holds them all to this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ipsecme.base import SystemRefused
from ipsecme.esp import Counters, DropReason, SaCounters, Totals

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ipsecme.base import Path
    from ipsecme.policy.parameters import SaPair

__all__ = [
    "Counters",
    "DataPlane",
    "DataPlaneLost",
    "DropReason",
    "Listener",
    "SaCounters",
    "Totals",
]


class DataPlaneLost(SystemRefused):
    """The data plane has ended; nothing can be installed or sent any more."""


class Listener(Protocol):
    """Who hears from a data plane. Called from the event loop, never from inside a call to it."""

    def receive_ike(self, data: bytes, path: Path) -> None:
        """Take an IKE message that came on the NAT traversal port, marker taken off.

        `path` leads back: its local end is where the message arrived, and it is encapsulated.
        """
        ...

    def expiring(self, spi: int) -> None:
        """Hear that the pair with this inbound SPI needs rekeying: its numbers run out."""
        ...

    def unknown_spi(self, spi: int, path: Path) -> None:
        """Hear that ESP arrived on an SPI that no pair has; a few times a second at most.

        `path` leads back. Where ESP came without UDP its ports are those of IKE.
        """
        ...

    def failed(self, text: str) -> None:
        """Hear that the data plane has ended by itself, and why. Nothing follows."""
        ...


class DataPlane(Protocol):
    """Installs SA pairs and sends on the NAT traversal port.

    Calls are carried out in the order in which they were made: what is sent after `install` leaves
    when the pair can receive. SPIs are inbound SPIs; unknown ones are ignored. All methods are
    called from the event loop in which `start` ran.
    """

    async def start(self, listener: Listener) -> None:
        """Begin. Raises `SystemRefused` with the remedy when the system does not allow it."""
        ...

    async def close(self) -> None:
        """Remove everything that was installed, and end."""
        ...

    def install(self, pair: SaPair) -> Awaitable[None]:
        """Install both halves of a pair.

        The call itself puts the pair into the order; the awaitable, which must be awaited, ends
        when the pair is there. It raises `LocalMisuse`, `Incompatible` or `SystemRefused`, and then
        nothing of the pair is installed.
        """
        ...

    def update_path(self, spi: int, path: Path) -> None:
        """Send the outbound packets of a pair along another path."""
        ...

    def retire(self, spi: int) -> None:
        """Send no more on the outbound half; a successor takes over. Inbound stays."""
        ...

    def remove(self, spi: int) -> None:
        """Forget both halves of a pair."""
        ...

    def send(self, data: bytes, path: Path) -> None:
        """Send an IKE message from the NAT traversal port; the marker is added here.

        The one octet 0xff is a NAT-keepalive and goes out as it is (RFC 3948, section 2.3).
        Datagrams that the system refuses are counted and lost, as on any network.
        """
        ...

    async def counters(self) -> Counters:
        """Return what has been counted so far. Raises `DataPlaneLost` when there is nobody left."""
        ...
