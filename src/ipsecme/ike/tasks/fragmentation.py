"""IKEV2_FRAGMENTATION_SUPPORTED in IKE_SA_INIT (RFC 7383, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext

__all__ = ["Fragmentation"]


class Fragmentation(Task):
    """Both ends say that they can reassemble; from then on either may send fragments."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Offer it."""
        ctx.out.append(NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))

    def read_request(self, ctx: ExchangeContext) -> None:
        """Note that the peer offers it."""
        self._note(ctx)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Agree, if it was offered."""
        if ctx.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is not None:
            ctx.out.append(NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Note that the peer agreed."""
        self._note(ctx)

    def _note(self, ctx: ExchangeContext) -> None:
        if ctx.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is not None:
            ctx.on_commit(lambda: setattr(ctx.sa, "fragmentation", True))
