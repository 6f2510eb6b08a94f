"""Waiting in the middle of an exchange for an answer from outside the engine.

A task asks with `ExchangeContext.ask`. While there is no answer that raises `Suspend`; the message
is kept and read again from the start when the answer is there. Tasks change nothing before they
commit, so reading twice is harmless, as long as nothing random was drawn before the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.base import Path
    from ipsecme.ike.commands import Command
    from ipsecme.ike.window import Outstanding
    from ipsecme.wire.ike import Header

__all__ = ["Received", "Suspend", "Suspended"]


class Suspend(Exception):
    """The exchange waits; `question` makes the command that asks, from the number it gets."""

    def __init__(self, key: str, question: Callable[[int], Command]) -> None:
        super().__init__(key)
        self.key = key
        self.question = question


class Received(NamedTuple):
    """A message whose integrity has been checked; a request in fragments has its first here."""

    header: Header
    datagram: bytes
    opened: bytes


class Suspended(NamedTuple):
    """A message that waits. `ours` is our request when the message is the response to it."""

    number: int
    key: str
    received: Received
    path: Path
    answers: dict[str, object]
    ours: Outstanding | None
