"""ExchangeContext: what the tasks of one exchange share.

Handlers are transactional: a task changes nothing but the context and itself. What it wants changed
it hands to `on_commit`, which runs only when the whole message has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ipsecme.base import ProtocolViolation
from ipsecme.ike.suspend import Suspend
from ipsecme.wire.ike import NotifyPayload, Payload, UnknownPayload

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.base import Path, PeerError
    from ipsecme.ike.commands import Command
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.sa import IkeSa
    from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType

__all__ = ["ExchangeContext"]

P = TypeVar("P", bound=Payload)
T = TypeVar("T")


class ExchangeContext:
    """One exchange, seen from one end.

    `inside` holds the payloads of the message being read, `out` those of the message being built.
    `path` is the way by which the message came; `now` is when. `peer` is the connection, once a
    task knows it. `spi_r` is the original responder's SPI as the message has it. `message_id` is
    known of requests of the peer's, `sendings`, how often it left, of answered ones of ours.
    `internal` are the addresses that the IKE SA has when the message has passed; `refusal` is why
    there can be no Child SA without one.
    """

    __slots__ = (
        "_effects",
        "answers",
        "exchange",
        "inside",
        "internal",
        "is_initiator",
        "message_id",
        "now",
        "out",
        "path",
        "peer",
        "refusal",
        "sa",
        "sendings",
        "spi_r",
    )

    def __init__(
        self, sa: IkeSa, exchange: ExchangeType, path: Path, now: float, *, is_initiator: bool
    ) -> None:
        self.sa = sa
        self.exchange = exchange
        self.path = path
        self.now = now
        self.is_initiator = is_initiator
        self.message_id = -1
        self.sendings = 0
        self.answers: dict[str, object] = {}
        self.inside: list[Payload] = []
        self.out: list[Payload] = []
        self.peer: PeerConfig | None = sa.peer
        self.spi_r = sa.spi_r
        self.internal = sa.internal
        self.refusal: PeerError | None = None
        self._effects: list[Callable[[], None]] = []

    @property
    def connection(self) -> PeerConfig:
        """The connection; there is one from the moment that the peer is identified."""
        if self.peer is None:
            raise ProtocolViolation("the peer is not identified yet")
        return self.peer

    def find(self, kind: type[P]) -> P | None:
        """Return the first payload of a class."""
        for payload in self.inside:
            if type(payload) is kind:
                return payload
        return None

    def find_role(self, kind: type[P], role: PayloadType) -> P | None:
        """Return the payload of a class of twins that has this role (IDi or IDr, TSi or TSr)."""
        for payload in self.inside:
            if type(payload) is kind and payload.payload_type == role:
                return payload
        return None

    def notify(self, kind: NotifyType) -> NotifyPayload | None:
        """Return the first Notify of a type."""
        for payload in self.inside:
            if type(payload) is NotifyPayload and payload.type == kind:
                return payload
        return None

    def notifies(self, kind: NotifyType) -> list[NotifyPayload]:
        """Return all Notify payloads of a type."""
        return [p for p in self.inside if type(p) is NotifyPayload and p.type == kind]

    def error(self) -> NotifyPayload | None:
        """Return the first Notify that reports an error, of a known type or not."""
        for payload in self.inside:
            if type(payload) is NotifyPayload and payload.type.is_error:
                return payload
        return None

    def critical_stranger(self) -> PayloadType | None:
        """Return the type of an unknown payload with the critical bit (section 2.5)."""
        for payload in self.inside:
            if type(payload) is UnknownPayload and payload.critical:
                return payload.type
        return None

    def ask(self, key: str, question: Callable[[int], Command]) -> object:
        """Return the answer to a question from outside the engine; raise `Suspend` until then."""
        if key not in self.answers:
            raise Suspend(key, question)
        return self.answers[key]

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Return what `make` made, also when the message is read again after a suspension."""
        if key not in self.answers:
            self.answers[key] = make()
        return self.answers[key]  # type: ignore[return-value]

    def on_commit(self, effect: Callable[[], None]) -> None:
        """Run `effect` when the whole message has passed."""
        self._effects.append(effect)

    def commit(self) -> None:
        """Run the effects in the order in which they were handed in."""
        effects, self._effects = self._effects, []
        for effect in effects:
            effect()

    def discard(self) -> None:
        """Forget the effects: the message did not pass."""
        self._effects.clear()
