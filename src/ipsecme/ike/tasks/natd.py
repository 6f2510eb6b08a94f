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
    from ipsecme.ike.sa import IkeSa

__all__ = [
    "NatDetection",
    "describe",
    "detection_hash",
    "mapping",
    "nats_on_path",
    "remember_mapping",
]

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
        describe(ctx, NO_SPI)

    def read_request(self, ctx: ExchangeContext) -> None:
        """Compare with the path by which the request came."""
        self._compare(ctx, NO_SPI)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Describe the path as the responder sees it."""
        describe(ctx, ctx.spi_r)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Compare with the path by which the response came."""
        self._compare(ctx, ctx.spi_r)
        ctx.on_commit(lambda: remember_mapping(ctx))

    def _compare(self, ctx: ExchangeContext, spi_r: bytes) -> None:
        nats = nats_on_path(ctx, spi_r)
        if nats is not None:
            local, remote = nats
            ctx.on_commit(lambda: _note(ctx.sa, local=local, remote=remote))


def _note(sa: IkeSa, *, local: bool, remote: bool) -> None:
    """Remember who is behind a NAT; move to the NAT traversal port as initiator.

    With MOBIKE also without a NAT: there may be one on a later path (RFC 4555, section 3.3).
    """
    sa.local_behind_nat, sa.remote_behind_nat = local, remote
    sa.mobility.peer_detects_nat = True
    may_move = sa.peer is not None and sa.peer.mobike
    wants_port = local or remote or sa.forces_encapsulation or may_move
    if sa.original_initiator and wants_port and not sa.path.encapsulated:
        port = sa.services.config.nat_port
        here, there = sa.path.local, sa.path.remote
        sa.path = sa.path._replace(
            local=here._replace(port=port),
            remote=there._replace(port=port),
            encapsulated=True,
        )


def describe(ctx: ExchangeContext, spi_r: bytes) -> None:
    """Write both notifications about the path of the exchange."""
    sa = ctx.sa
    if sa.forces_encapsulation:
        # A hash that fits nothing makes the peer believe in a NAT, and so use UDP for ESP.
        source = sa.services.rng.octets(_HASH_OCTETS)
    else:
        source = detection_hash(sa.spi_i, spi_r, ctx.path.local)
    destination = detection_hash(sa.spi_i, spi_r, ctx.path.remote)
    ctx.out.append(NotifyPayload(NotifyType.NAT_DETECTION_SOURCE_IP, source))
    ctx.out.append(NotifyPayload(NotifyType.NAT_DETECTION_DESTINATION_IP, destination))


def nats_on_path(ctx: ExchangeContext, spi_r: bytes | None = None) -> tuple[bool, bool] | None:
    """Tell whether this end, and the other, is behind a NAT; None if the message does not say."""
    sa = ctx.sa
    spi_r = ctx.spi_r if spi_r is None else spi_r
    sources = ctx.notifies(NotifyType.NAT_DETECTION_SOURCE_IP)
    destination = ctx.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or destination is None:
        return None  # the peer does not do NAT traversal
    theirs = detection_hash(sa.spi_i, spi_r, ctx.path.remote)
    ours = detection_hash(sa.spi_i, spi_r, ctx.path.local)
    return destination.data != ours, all(source.data != theirs for source in sources)


def mapping(ctx: ExchangeContext) -> tuple[bytes, bytes] | None:
    """Return how the peer sees us: the SPIs in the hash, and the hash of our address and port."""
    destination = ctx.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if destination is None:
        return None
    return ctx.sa.spi_i + ctx.spi_r, destination.data


def remember_mapping(ctx: ExchangeContext) -> None:
    """Keep how the peer sees us, to notice when that changes (RFC 4555, section 3.8)."""
    seen = mapping(ctx)
    if seen is not None:
        ctx.sa.mobility.mapping = seen
