"""AUTH_LIFETIME: how long the responder accepts the initiator's proof (RFC 4478)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext

__all__ = ["AuthLifetime"]

_OCTETS = 4


class AuthLifetime(Task):
    """The responder tells it in the IKE_AUTH response; the initiator keeps it in mind."""

    __slots__ = ()

    def build_response(self, ctx: ExchangeContext) -> None:
        """Say how many seconds are left until the initiator has to authenticate again."""
        seconds = ctx.connection.reauthenticate
        if seconds is not None:
            octets = min(int(seconds), 0xFFFFFFFF).to_bytes(_OCTETS)
            ctx.out.append(NotifyPayload(NotifyType.AUTH_LIFETIME, octets))
        ctx.on_commit(lambda: ctx.sa.arm_reauthentication(None, ctx.now))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Plan to authenticate in time."""
        notify = ctx.notify(NotifyType.AUTH_LIFETIME)
        told = None
        if notify is not None and len(notify.data) == _OCTETS:
            told = float(int.from_bytes(notify.data))
        ctx.on_commit(lambda: ctx.sa.arm_reauthentication(told, ctx.now))
