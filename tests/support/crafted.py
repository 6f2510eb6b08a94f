"""Messages that the engines would not send: requests made by hand, and edited messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import Path
from ipsecme.ike.dialogue import Dialogue
from ipsecme.ike.protect import inside, open_message, seal_message
from ipsecme.wire.ike import FLAG_INITIATOR, FLAG_RESPONSE, Header, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from ipsecme.ike.sa import IkeSa
    from ipsecme.wire.ike import Payload
    from ipsecme.wire.numbers import ExchangeType
    from support.pair import Node, Pair


def in_use(node: Node) -> IkeSa:
    """Return the one IKE SA of a node that is not closed."""
    (sa,) = [sa for sa in node.endpoint._registry if sa.is_live]
    return sa


def ask(
    pair: Pair, payloads: Sequence[Payload], exchange: ExchangeType, *, asker: str = "a"
) -> list[Payload]:
    """Let one node send a request with these payloads; return those of the other's answer."""
    asking, asked = (pair.a, pair.b) if asker == "a" else (pair.b, pair.a)
    sa = in_use(asking)
    assert sa.sealing is not None
    assert sa.opening is not None
    flags = FLAG_INITIATOR if sa.original_initiator else 0
    mid = sa.dialogue.requests.next_id
    message = Message(sa.spi_i, sa.spi_r, exchange, flags, mid, list(payloads))
    sa.dialogue.requests.next_id += 1
    path = Path(sa.path.remote, sa.path.local, sa.path.encapsulated)
    asked.endpoint.receive_datagram(seal_message(message, sa.sealing), path, pair.now)
    (answer, *_) = asked.drain(pair.now)
    opened = open_message(answer.data, Header.decode(answer.data), sa.opening)
    assert isinstance(opened, bytes)
    return list(inside(opened))


@dataclass
class Outgoing:
    """A message that an engine is about to encode; `payloads` may be changed in place."""

    sa: IkeSa
    exchange: ExchangeType
    is_response: bool
    payloads: list[Payload]

    @property
    def sender(self) -> str:
        """``a`` or ``b``, as long as nobody but `a` called."""
        return "a" if self.sa.original_initiator else "b"


def edit(monkeypatch: pytest.MonkeyPatch, change: Callable[[Outgoing], None]) -> None:
    """Let `change` see and alter what both engines send, before it is sealed."""
    encode = Dialogue._encode

    def edited(
        dialogue: Dialogue,
        exchange: ExchangeType,
        message_id: int,
        payloads: Sequence[Payload],
        flags: int,
    ) -> list[bytes]:
        message = Outgoing(dialogue._sa, exchange, bool(flags & FLAG_RESPONSE), list(payloads))
        change(message)
        return encode(dialogue, exchange, message_id, message.payloads, flags)

    monkeypatch.setattr(Dialogue, "_encode", edited)
