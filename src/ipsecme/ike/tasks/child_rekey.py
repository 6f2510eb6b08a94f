"""Rekeying a Child SA (RFC 7296, sections 1.3.3, 2.8, 2.8.1, 2.9.2 and 2.25.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import PeerError, ProtocolViolation
from ipsecme.ike.child import ChildSa, ChildTimer
from ipsecme.ike.collision import Nonces, ours_is_redundant
from ipsecme.ike.failures import NotifyReceived, Refused
from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.reauthentication import start_over
from ipsecme.ike.state import ChildState
from ipsecme.ike.tasks.child_create import ChildCreate, Selectors
from ipsecme.ike.transport_mode import between_hosts
from ipsecme.policy.parameters import Mode
from ipsecme.policy.selector import contains
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType, ProtocolId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import ChildConfig
    from ipsecme.ike.context import ExchangeContext

__all__ = ["ChildRekey"]

_RETRY_SECONDS = 5.0  # after TEMPORARY_FAILURE, plus a random part of the same size
_RETRY_REFUSED_SECONDS = 60.0
_SETTLING_SECONDS = 15.0


class ChildRekey(ChildCreate):
    """REKEY_SA, and what makes a new Child SA; then the old one goes.

    When both ends rekey the same Child SA at once, `rival` is the one that the peer's exchange
    made.
    """

    __slots__ = ("old", "rival")

    def __init__(self, old: ChildSa | None = None) -> None:
        super().__init__(old.config if old else None)
        self.old = old
        self.rival: tuple[ChildSa, Nonces] | None = None

    def selectors(self, ctx: ExchangeContext, config: ChildConfig) -> tuple[Selectors, Selectors]:
        """Ask for what the old Child SA has (section 2.9.2)."""
        if self.old is None:
            return super().selectors(ctx, config)
        return self.old.pair.local_ts, self.old.pair.remote_ts

    def requested_mode(self, config: ChildConfig) -> Mode:
        """Ask for the mode that the old Child SA has (section 1.3.3)."""
        return super().requested_mode(config) if self.old is None else self.old.pair.mode

    def replaced_spi(self) -> int | None:
        """Return the old inbound SPI."""
        return self.old.spi if self.old else None

    # the initiator's side

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write REKEY_SA with the SPI that we receive on, then the request for a Child SA."""
        if self.old is None:
            return
        spi = self.old.spi.to_bytes(4)
        ctx.out.append(NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, spi))
        super().build_request(ctx)

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Decide when to try again; an unknown Child SA is made anew (section 2.25)."""
        old = self.old
        if old is None or self.rival is not None or not old.is_current:
            return  # the peer rekeyed or closed it meanwhile, and that stands
        if self.retry_method(ctx, error) is not None:
            super().failed(ctx, error)
            return
        kind = error.notify.type if isinstance(error, NotifyReceived) else None
        # A Child SA that the peer asked for a moment ago may be unknown to it for a moment more.
        is_settled = ctx.now - old.created_at > _SETTLING_SECONDS
        if kind == NotifyType.CHILD_SA_NOT_FOUND and is_settled:
            ctx.sa.children.drop(old, "deleted_by_peer", ctx.now)
            ctx.sa.queue(CreateChild(old.config), ctx.now)
            return
        if kind in (NotifyType.TEMPORARY_FAILURE, NotifyType.CHILD_SA_NOT_FOUND):
            delay = _RETRY_SECONDS * (1 + ctx.sa.services.rng.fraction())
            ctx.sa.put_off(ctx.now)
        else:
            super().failed(ctx, error)
            delay = _RETRY_REFUSED_SECONDS
            if kind == NotifyType.NO_ADDITIONAL_SAS:
                start_over(ctx.sa, ctx.now)
        old.rekeying_failed = True
        old.timers.arm(ChildTimer.REKEY, ctx.now + delay)

    # the responder's side

    def read_request(self, ctx: ExchangeContext) -> None:
        """Find the Child SA that is meant by the SPI that the peer receives on."""
        notify = ctx.notify(NotifyType.REKEY_SA)
        if notify is None or notify.protocol != ProtocolId.ESP or len(notify.spi) != 4:
            raise ProtocolViolation("REKEY_SA does not name an ESP SA")
        self.check_idle(ctx)
        old = ctx.sa.children.find_outbound(int.from_bytes(notify.spi))
        if old is None and ctx.sa.creating_children():
            # The peer would forget it for good while the answer that tells us of it is under way.
            raise Refused(NotifyType.TEMPORARY_FAILURE, "that Child SA may just have been created")
        if old is None:
            raise Refused(
                NotifyType.CHILD_SA_NOT_FOUND,
                f"the peer rekeys an ESP SA {notify.spi.hex()} that does not exist here",
                protocol=ProtocolId.ESP,
                spi=notify.spi,
            )
        if old.state is ChildState.CLOSING:
            raise Refused(NotifyType.TEMPORARY_FAILURE, "that Child SA is being closed")
        if old.state is ChildState.REKEYED:
            raise Refused(NotifyType.TEMPORARY_FAILURE, "that Child SA has been rekeyed already")
        self.old = old
        super().read_request(ctx)
        before = old.pair.local_ts, old.pair.remote_ts
        if old.pair.mode is Mode.TRANSPORT:
            # A NAT may show the peer at another address by now; what is inside does not change.
            before = between_hosts(*before, ctx.sa.child_path())
        kept = zip(before, (self.agreed.local_ts, self.agreed.remote_ts), strict=True)
        if not all(contains(new, selector) for had, new in kept for selector in had):
            raise Refused(
                NotifyType.TS_UNACCEPTABLE, "the peer's rekeying would narrow the Child SA"
            )

    def candidates(self, ctx: ExchangeContext) -> Sequence[ChildConfig]:
        """Return the configuration of the old Child SA and no other."""
        return (self.old.config,) if self.old else super().candidates(ctx)

    # both

    def on_created(self, ctx: ExchangeContext, child: ChildSa, nonces: Nonces) -> None:
        """Settle what becomes of the old Child SA, and of ours if the peer's makes it redundant."""
        if ctx.is_initiator:
            ctx.on_commit(lambda: self._settle(ctx, child, nonces))
        else:
            ctx.on_commit(lambda: self._give_way(ctx, child, nonces))

    def _settle(self, ctx: ExchangeContext, child: ChildSa, nonces: Nonces) -> None:
        old = self.old
        if old is None:
            return
        if self.rival is not None and ours_is_redundant(nonces, self.rival[1]):
            # The peer's new Child SA stays and the peer deletes the old one (section 2.8.1).
            ctx.sa.children.delete(child, "redundant", ctx.now)
            return
        ctx.sa.children.supersede(old)
        ctx.sa.children.delete(old, "rekeyed", ctx.now)

    def _give_way(self, ctx: ExchangeContext, child: ChildSa, nonces: Nonces) -> None:
        old = self.old
        if old is None:
            return
        mine = ctx.sa.rekeying_of(old)
        if mine is not None:
            mine.rival = (child, nonces)
        old.state = ChildState.REKEYED
        old.timers.disarm(ChildTimer.REKEY)
