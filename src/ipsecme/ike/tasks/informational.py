"""INFORMATIONAL exchanges: Delete, fatal notices, liveness (RFC 7296, sections 1.4 and 2.4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.state import ChildState
from ipsecme.ike.succession import hand_over
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import DeletePayload, NotifyPayload
from ipsecme.wire.numbers import NotifyType, ProtocolId

if TYPE_CHECKING:
    from ipsecme.base import PeerError
    from ipsecme.ike.child import ChildSa
    from ipsecme.ike.context import ExchangeContext

__all__ = ["DeleteChild", "DeleteIke", "Inform", "InvalidSpi", "Liveness", "ReportFailure"]

# With these an initiator refuses our answer to its IKE_AUTH, in its next request (2.21.2).
_REFUSALS = (NotifyType.INVALID_SYNTAX, NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)
_AFTER_IKE_AUTH = 2


class Inform(Task):
    """The peer's INFORMATIONAL requests: Deletes are collected first and carried out last."""

    __slots__ = ("_closed", "_ends", "_lost", "_unknown")

    def read_request(self, ctx: ExchangeContext) -> None:
        """Note what the peer closes."""
        self._closed: list[ChildSa] = []
        self._lost: list[ChildSa] = []
        self._unknown: list[bytes] = []
        self._ends = ""
        for payload in ctx.inside:
            if isinstance(payload, DeletePayload):
                self._read_delete(ctx, payload)
        self._lost = [
            child
            for notify in ctx.notifies(NotifyType.INVALID_SPI)
            if (child := ctx.sa.children.find_outbound(int.from_bytes(notify.data[:4])))
            if child.is_current
        ]
        if ctx.notify(NotifyType.AUTHENTICATION_FAILED) is not None:
            self._ends = "authentication_failed"
        elif ctx.message_id == _AFTER_IKE_AUTH and not ctx.sa.original_initiator:
            refused = [kind for kind in _REFUSALS if ctx.notify(kind) is not None]
            self._ends = self._ends or (refused[0].name.lower() if refused else "")

    def _read_delete(self, ctx: ExchangeContext, payload: DeletePayload) -> None:
        if payload.protocol == ProtocolId.IKE:
            self._ends = self._ends or "deleted_by_peer"
            return
        if payload.protocol != ProtocolId.ESP:
            return  # there are no SAs of other protocols
        for spi in payload.spis:
            child = ctx.sa.children.find_outbound(int.from_bytes(spi))
            if child is None:
                self._unknown.append(spi)
            elif child not in self._closed:
                self._closed.append(child)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Answer with our half of each pair, unless our own Delete for it is on its way (1.4.1)."""
        if self._ends:
            reason = self._ends
            ctx.on_commit(lambda: _end(ctx, reason))
            return
        ours = [c.spi.to_bytes(4) for c in self._closed if c.state is not ChildState.CLOSING]
        if ours:
            ctx.out.append(DeletePayload(ProtocolId.ESP, tuple(ours)))
        for lost in self._lost:
            if lost not in self._closed:
                ctx.on_commit(partial(_make_anew, ctx, lost))
        closed, unknown = self._closed, self._unknown
        ctx.on_commit(lambda: _close_all(ctx, closed, unknown))


def _make_anew(ctx: ExchangeContext, child: ChildSa) -> None:
    """Replace a Child SA of which the peer, authenticated, says that it has lost it."""
    ctx.sa.services.counters["child_sas_lost_by_peer"] += 1
    ctx.sa.children.delete(child, "lost_by_peer", ctx.now)
    ctx.sa.queue(CreateChild(child.config), ctx.now)


def _close_all(ctx: ExchangeContext, closed: list[ChildSa], unknown: list[bytes]) -> None:
    for creating in ctx.sa.creating_children():
        for spi in unknown:
            creating.note_closed(spi)
    for child in closed:
        was_rekeyed = child.state is ChildState.REKEYED
        ctx.sa.children.drop(child, "rekeyed" if was_rekeyed else "deleted_by_peer", ctx.now)


def _end(ctx: ExchangeContext, reason: str) -> None:
    mine = ctx.sa.rekeying()
    if reason == "deleted_by_peer" and mine is not None and mine.rival is not None:
        # The peer's rekeying won before our own was answered: its IKE SA inherits (2.8.2).
        hand_over(ctx.sa, mine.rival[0], ctx.now, is_initiator=False)
    ctx.sa.close(reason, _details(reason), ctx.now)


def _details(reason: str) -> str:
    if reason == "authentication_failed":
        return (
            "the peer does not accept our proof of identity; its log says why: "
            "compare psk or certificates, and identities"
        )
    if reason == "deleted_by_peer":
        return "the peer deleted the IKE SA"
    return f"the peer refused our answer to IKE_AUTH: {reason}"


class DeleteChild(Task):
    """Delete for one Child SA, or for an inbound SPI that never became one."""

    __slots__ = ("_child", "_reason", "_spi")

    def __init__(self, child: ChildSa | None, spi: int, reason: str) -> None:
        self._child = child
        self._spi = spi
        self._reason = reason

    @property
    def child(self) -> ChildSa | None:
        """The Child SA that is being closed."""
        return self._child

    def build_request(self, ctx: ExchangeContext) -> None:
        """Name our inbound SPI."""
        ctx.out.append(DeletePayload(ProtocolId.ESP, (self._spi.to_bytes(4),)))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Close our half, whatever the peer answered."""
        ctx.on_commit(lambda: self._drop(ctx))

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Close our half all the same."""
        self._drop(ctx)

    def _drop(self, ctx: ExchangeContext) -> None:
        if self._child is not None:
            ctx.sa.children.drop(self._child, self._reason, ctx.now)


class DeleteIke(Task):
    """Delete for the IKE SA itself."""

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write a Delete without SPI."""
        ctx.out.append(DeletePayload(ProtocolId.IKE))

    def read_response(self, ctx: ExchangeContext) -> None:
        """End, whatever the answer holds."""
        ctx.on_commit(lambda: ctx.sa.close(self._reason, "deleted here", ctx.now))

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """End all the same."""
        ctx.sa.close(self._reason, "deleted here", ctx.now)


class ReportFailure(Task):
    """Tells a responder that its proof of identity was not accepted (section 2.21.2)."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write AUTHENTICATION_FAILED."""
        ctx.out.append(NotifyPayload(NotifyType.AUTHENTICATION_FAILED))

    def read_response(self, ctx: ExchangeContext) -> None:
        """End."""
        ctx.on_commit(lambda: ctx.sa.finish(ctx.now))


class InvalidSpi(Task):
    """Tells the peer that it sends ESP on an SPI that is not ours (section 1.5)."""

    __slots__ = ("_spi",)

    def __init__(self, spi: int) -> None:
        self._spi = spi

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write INVALID_SPI; the SPI is the notification's data."""
        ctx.out.append(NotifyPayload(NotifyType.INVALID_SPI, self._spi.to_bytes(4)))


class Liveness(Task):
    """An empty request; that it is answered is the point (section 2.4)."""

    __slots__ = ()
