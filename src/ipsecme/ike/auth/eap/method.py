"""What an EAP method is to the engine (RFC 3748, sections 2 and 7).

Methods are values: each step returns the method as it is after it, so that a message that does not
pass leaves nothing behind. They see Type-Data only, without the EAP header. A server that asks
another host, as by RADIUS, would be one whose step is an answer from outside the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme.base import Rng, Secret
    from ipsecme.wire.numbers import EapType

__all__ = ["Accepted", "Client", "ClientStep", "Server", "ServerStep", "Users"]


class Client(Protocol):
    """The end that proves itself, which EAP calls the peer."""

    @property
    def type(self) -> EapType:
        """The method."""

    @property
    def may_succeed(self) -> bool:
        """True when the method has run so far that Success may come."""

    @property
    def msk(self) -> Secret | None:
        """The key that the method made, if it makes one."""

    @property
    def failure(self) -> str:
        """Why the server refuses us, if it said so."""

    def receive(self, data: bytes, identifier: int, rng: Rng) -> ClientStep:
        """Answer a request; raises `AuthenticationFailed` when the server is none to talk to."""


class ClientStep(NamedTuple):
    """The method after a request, and the Type-Data of the response."""

    method: Client
    data: bytes


class Accepted(NamedTuple):
    """A server's last word: whom the method authenticated, and the key, if there is one."""

    name: bytes
    msk: Secret | None


class Server(Protocol):
    """The end that judges, which EAP calls the authenticator."""

    @property
    def type(self) -> EapType:
        """The method."""

    def begin(self, rng: Rng) -> ServerStep:
        """Return the first request."""

    def receive(self, data: bytes, identifier: int) -> ServerStep | Accepted:
        """Judge a response; raises `AuthenticationFailed`."""


class ServerStep(NamedTuple):
    """The method after a response, and the Type-Data of the next request."""

    method: Server
    data: bytes


@dataclass(slots=True, frozen=True)
class Users:
    """Names and their passwords, in UTF-8; nobody sees either of them in a repr."""

    passwords: Mapping[str, Secret] = field(repr=False)

    def password(self, name: bytes) -> Secret | None:
        """Return the password of a name as it was sent; None for strangers."""
        try:
            return self.passwords.get(name.decode())
        except UnicodeDecodeError:
            return None
