"""CHILDLESS_IKEV2_SUPPORTED in IKE_SA_INIT: an IKE SA may begin without Child SA (RFC 6023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType, ProtocolId

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext

__all__ = ["Childless"]


class Childless(Task):
    """The responder says whether it takes IKE_AUTH without SA, TSi and TSr; nobody asks for it."""

    __slots__ = ()

    def build_response(self, ctx: ExchangeContext) -> None:
        """Say so, if any connection that this peer may be for allows it."""
        if any(peer.childless != "never" for peer in ctx.sa.candidates):
            ctx.out.append(
                NotifyPayload(NotifyType.CHILDLESS_IKEV2_SUPPORTED, protocol=ProtocolId.IKE)
            )

    def read_response(self, ctx: ExchangeContext) -> None:
        """Note what the responder takes."""
        if ctx.notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None:
            ctx.on_commit(lambda: setattr(ctx.sa, "peer_takes_childless", True))
