"""SET_WINDOW_SIZE in IKE_AUTH (RFC 7296, section 2.3). `Dialogue` reads it in any message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext

__all__ = ["WindowSize"]


class WindowSize(Task):
    """Tells the peer how many requests it may have under way, if that is more than one."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Announce our window."""
        self._announce(ctx)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Announce our window."""
        self._announce(ctx)

    def _announce(self, ctx: ExchangeContext) -> None:
        size = ctx.sa.services.config.window
        if size > 1:
            ctx.out.append(NotifyPayload(NotifyType.SET_WINDOW_SIZE, size.to_bytes(4)))
