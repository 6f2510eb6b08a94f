"""NAT detection (RFC 7296, section 2.23).

Each end sends SHA-1(SPIi | SPIr | address | port) of both ends of the path as it sees them; a hash
that does not fit tells that somebody rewrote an address in between.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ipsecme.base import packed_address
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NO_SPI, NotifyPayload
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from ipsecme.base import Transport
    from ipsecme.ike.context import ExchangeContext

__all__ = ["NatDetection", "detection_hash"]

_HASH_OCTETS = 20


def detection_hash(spi_i: bytes, spi_r: bytes, end: Transport) -> bytes:
    """Return the 20 octets for one end of the path."""
    octets = spi_i + spi_r + packed_address(end.address) + end.port.to_bytes(2)
    return hashlib.sha1(octets, usedforsecurity=False).digest()


class NatDetection(Task):
    """NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP of both IKE_SA_INIT messages."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Describe the path; the responder's SPI is still zero."""
        self._describe(ctx, NO_SPI)

    def read_request(self, ctx: ExchangeContext) -> None:
        """Compare with the path by which the request came."""
        self._compare(ctx, NO_SPI)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Describe the path as the responder sees it."""
        self._describe(ctx, ctx.spi_r)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Compare with the path by which the response came."""
        self._compare(ctx, ctx.spi_r)

    def _describe(self, ctx: ExchangeContext, spi_r: bytes) -> None:
        sa = ctx.sa
        if sa.forces_encapsulation:
            # A hash that fits nothing makes the peer believe in a NAT, and so use UDP for ESP.
            source = sa.services.rng.octets(_HASH_OCTETS)
        else:
            source = detection_hash(sa.spi_i, spi_r, ctx.path.local)
        destination = detection_hash(sa.spi_i, spi_r, ctx.path.remote)
        ctx.out.append(NotifyPayload(NotifyType.NAT_DETECTION_SOURCE_IP, source))
        ctx.out.append(NotifyPayload(NotifyType.NAT_DETECTION_DESTINATION_IP, destination))

    def _compare(self, ctx: ExchangeContext, spi_r: bytes) -> None:
        sa = ctx.sa
        sources = ctx.notifies(NotifyType.NAT_DETECTION_SOURCE_IP)
        destination = ctx.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
        if not sources or destination is None:
            return  # the peer does not do NAT traversal
        theirs = detection_hash(sa.spi_i, spi_r, ctx.path.remote)
        ours = detection_hash(sa.spi_i, spi_r, ctx.path.local)
        remote_behind = all(source.data != theirs for source in sources)
        local_behind = destination.data != ours
        ctx.on_commit(lambda: sa.note_nat(local=local_behind, remote=remote_behind))
