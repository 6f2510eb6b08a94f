"""Strays: answers without protection to messages of no IKE SA (RFC 7296, sections 1.5, 2.21.4).

Nobody can tell who sent such a message, so the answers are few, hold nothing but what the message
held, and change nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    NO_SPI,
    Header,
    Message,
    NotifyPayload,
)
from ipsecme.wire.numbers import ExchangeType, NotifyType

if TYPE_CHECKING:
    from ipsecme.base import Path
    from ipsecme.ike.services import Services

__all__ = ["MAJOR_VERSION", "Strays"]

MAJOR_VERSION = 2
_REPLIES_PER_SECOND = 10


class Strays:
    """Keeps the budget that all of them share."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._second = 0.0
        self._used = 0

    def answer(self, header: Header, path: Path, now: float) -> None:
        """Answer a request with INVALID_IKE_SPI, or INVALID_MAJOR_VERSION if it is a newer IKE."""
        newer = header.major_version > MAJOR_VERSION
        if header.major_version < MAJOR_VERSION or not self.may_reply(now):
            return  # IKEv1 is not spoken here and gets no answer
        kind = NotifyType.INVALID_MAJOR_VERSION if newer else NotifyType.INVALID_IKE_SPI
        flags = FLAG_RESPONSE | (0 if header.from_original_initiator else FLAG_INITIATOR)
        answer = Message(
            header.spi_i,
            header.spi_r,
            header.exchange,
            flags,
            header.message_id,
            [NotifyPayload(kind)],
        )
        self._services.send(answer.encode(), path)

    def tell_invalid_spi(self, spi: int, path: Path, now: float) -> None:
        """Say to whoever sends ESP that its SPI is unknown; a hint, to which nobody answers.

        It is no exchange: the Initiator flag is set and the IKE SPIs are zero.
        """
        if not self.may_reply(now):
            return
        notify = NotifyPayload(NotifyType.INVALID_SPI, spi.to_bytes(4))
        hint = Message(NO_SPI, NO_SPI, ExchangeType.INFORMATIONAL, FLAG_INITIATOR, 0, [notify])
        self._services.send(hint.encode(), path)

    def may_reply(self, now: float) -> bool:
        """Tell whether one more answer is within the budget, and take it."""
        if now - self._second >= 1:
            self._second, self._used = now, 0
        self._used += 1
        return self._used <= _REPLIES_PER_SECOND
