"""EAP-MD5 of both ends (RFC 3748, section 5.4; RFC 1994). It makes no key and proves no server.

Type-Data is Value-Size, Value and Name in both directions; the answer's value is the MD5 of the EAP
Identifier, the password and the challenge. As RFC 7296, section 2.16, advises against methods
without a key, it is used only where the configuration names it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ipsecme.base import Secret
from ipsecme.ike.auth.eap.method import Accepted, ClientStep, ServerStep
from ipsecme.ike.failures import AuthenticationFailed
from ipsecme.wire.numbers import EapType

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.ike.auth.eap.method import Users

__all__ = ["Md5Client", "Md5Server"]

_DIGEST_OCTETS = 16
_LONGEST_NAME = 256


@dataclass(slots=True, frozen=True)
class Md5Client:
    """A user who proves knowledge of a password."""

    name: bytes
    password: Secret
    may_succeed: bool = False

    @property
    def type(self) -> EapType:
        """MD5_CHALLENGE."""
        return EapType.MD5_CHALLENGE

    @property
    def msk(self) -> Secret | None:
        """None: the method makes no key."""
        return None

    @property
    def failure(self) -> str:
        """Nothing: the method has no words for it."""
        return ""

    def receive(self, data: bytes, identifier: int, rng: Rng) -> ClientStep:
        """Answer the challenge, once."""
        del rng
        size = data[0] if data else 0
        if self.may_succeed or not size or len(data) < 1 + size:
            raise AuthenticationFailed("EAP-MD5: the gateway's challenge is malformed")
        digest = _digest(identifier, self.password, data[1 : 1 + size])
        answer = bytes((len(digest),)) + digest + self.name
        return ClientStep(replace(self, may_succeed=True), answer)


@dataclass(slots=True, frozen=True)
class Md5Server:
    """A gateway with a table of users."""

    users: Users
    claimed: bytes = b""
    challenge: bytes = b""

    @property
    def type(self) -> EapType:
        """MD5_CHALLENGE."""
        return EapType.MD5_CHALLENGE

    def begin(self, rng: Rng) -> ServerStep:
        """Return the challenge."""
        challenge = rng.octets(_DIGEST_OCTETS)
        after = replace(self, challenge=challenge)
        return ServerStep(after, bytes((len(challenge),)) + challenge)

    def receive(self, data: bytes, identifier: int) -> ServerStep | Accepted:
        """Judge the answer; who gives no name is who IDi says."""
        name = data[1 + _DIGEST_OCTETS :] or self.claimed
        if data[:1] != bytes((_DIGEST_OCTETS,)) or len(data) <= _DIGEST_OCTETS:
            raise AuthenticationFailed("EAP-MD5: the peer's response is malformed")
        found = self.users.password(name) if len(name) <= _LONGEST_NAME else None
        password = Secret(b"nobody") if found is None else found
        digest = _digest(identifier, password, self.challenge)
        is_right = hmac.compare_digest(digest, data[1 : 1 + _DIGEST_OCTETS])
        who = name[:_LONGEST_NAME].decode("ascii", "backslashreplace")
        if found is None:
            raise AuthenticationFailed(f"EAP-MD5: no user {who!r} in the users")
        if not is_right:
            raise AuthenticationFailed(f"EAP-MD5: wrong password of user {who!r}")
        return Accepted(name, None)


def _digest(identifier: int, password: Secret, challenge: bytes) -> bytes:
    octets = bytes((identifier,)) + password.reveal() + challenge
    return hashlib.md5(octets, usedforsecurity=False).digest()
