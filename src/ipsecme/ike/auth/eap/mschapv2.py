"""EAP-MSCHAPv2 of both ends (draft-kamath-pppext-eap-mschapv2; RFC 2759).

Type-Data is OpCode, MS-CHAPv2-ID, MS-Length (two octets, of all that) and the data of the OpCode:

    Challenge  Value-Size (16), Challenge, Name
    Response   Value-Size (49), Peer-Challenge (16), zeros (8), NT-Response (24), Flags, Name
    Success    "S=" and 40 hexadecimal digits, and a message; the answer is the OpCode alone
    Failure    "E=691 R=0 C=... V=3 M=..."; the answer is the OpCode alone
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ipsecme.base import Secret
from ipsecme.crypto import mschapv2 as chap
from ipsecme.ike.auth.eap.method import Accepted, ClientStep, ServerStep
from ipsecme.ike.failures import AuthenticationFailed
from ipsecme.wire.numbers import EapType

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.ike.auth.eap.method import Users

__all__ = ["MsChapV2Client", "MsChapV2Server"]

_CHALLENGE, _RESPONSE, _SUCCESS, _FAILURE = 1, 2, 3, 4
_HEADER_OCTETS = 4
_VALUE_OCTETS = 49
_LONGEST_NAME = 256
_ERROR = re.compile(rb"E=(\d{1,10})")
_ERRORS = {
    646: "the account may not be used at this hour",
    647: "the account is disabled",
    648: "the password has expired",
    649: "the account may not dial in",
    691: "user name or password is wrong",
}
_WRONG = "user name or password is wrong"


@dataclass(slots=True, frozen=True)
class MsChapV2Client:
    """A user who proves knowledge of a password, and wants to see the server prove it, too."""

    name: bytes
    password: Secret
    challenges: chap.Challenges | None = None
    nt_response: bytes = b""
    may_succeed: bool = False
    failure: str = ""

    @property
    def type(self) -> EapType:
        """MSCHAPV2."""
        return EapType.MSCHAPV2

    @property
    def msk(self) -> Secret | None:
        """The MSK of 64 octets; there is none before the server proved itself."""
        return chap.msk(self.password, self.nt_response) if self.may_succeed else None

    def receive(self, data: bytes, identifier: int, rng: Rng) -> ClientStep:
        """Answer Challenge, Success and Failure, each where it may come."""
        del identifier
        code, number, value = _parse(data)
        if code == _CHALLENGE and self.challenges is None:
            return self._respond(number, value, rng)
        if code == _SUCCESS and self.challenges and not self.may_succeed and not self.failure:
            self._check(self.challenges, value)
            return ClientStep(replace(self, may_succeed=True), bytes((_SUCCESS,)))
        if code == _FAILURE and self.challenges and not self.may_succeed:
            return ClientStep(replace(self, failure=_reason(value)), bytes((_FAILURE,)))
        raise AuthenticationFailed(f"EAP-MSCHAPv2: the gateway sent OpCode {code} out of turn")

    def _respond(self, number: int, value: bytes, rng: Rng) -> ClientStep:
        size = chap.CHALLENGE_OCTETS
        if len(value) < 1 + size or value[0] != size:
            raise AuthenticationFailed("EAP-MSCHAPv2: the gateway's challenge is malformed")
        made = chap.Challenges(value[1 : 1 + size], rng.octets(size), self.name)
        answer = chap.response(made, self.password)
        octets = bytes((_VALUE_OCTETS,)) + made.peer + bytes(8) + answer + bytes(1) + self.name
        after = replace(self, challenges=made, nt_response=answer)
        return ClientStep(after, _packet(_RESPONSE, number, octets))

    def _check(self, challenges: chap.Challenges, value: bytes) -> None:
        expected = chap.authenticator(challenges, self.password, self.nt_response).hex().upper()
        if not hmac.compare_digest(value[:42].upper(), b"S=" + expected.encode()):
            raise AuthenticationFailed(
                "EAP-MSCHAPv2: the gateway does not know the password; beware, it may be false"
            )


@dataclass(slots=True, frozen=True)
class MsChapV2Server:
    """A gateway with a table of users. Strangers and wrong passwords look alike to the peer."""

    users: Users
    host: bytes = b"ipsecme"
    challenge: bytes = b""
    number: int = 0
    accepted: Accepted | None = None
    refusal: str = ""

    @property
    def type(self) -> EapType:
        """MSCHAPV2."""
        return EapType.MSCHAPV2

    def begin(self, rng: Rng) -> ServerStep:
        """Return the Challenge."""
        challenge = rng.octets(chap.CHALLENGE_OCTETS)
        (number,) = rng.octets(1)
        value = bytes((len(challenge),)) + challenge + self.host
        after = replace(self, challenge=challenge, number=number)
        return ServerStep(after, _packet(_CHALLENGE, number, value))

    def receive(self, data: bytes, identifier: int) -> ServerStep | Accepted:
        """Judge the Response, or take note that the peer has seen what we think of it."""
        del identifier
        if self.refusal:
            raise AuthenticationFailed(self.refusal)
        if self.accepted is not None:
            if data[:1] == bytes((_SUCCESS,)):
                return self.accepted
            raise AuthenticationFailed("EAP-MSCHAPv2: the peer does not accept our proof")
        code, number, value = _parse(data)
        if code != _RESPONSE or number != self.number:
            raise AuthenticationFailed(f"EAP-MSCHAPv2: the peer sent OpCode {code} out of turn")
        return self._judge(value)

    def _judge(self, value: bytes) -> ServerStep:
        name = value[1 + _VALUE_OCTETS :]
        if len(value) <= _VALUE_OCTETS or value[0] != _VALUE_OCTETS or len(name) > _LONGEST_NAME:
            raise AuthenticationFailed("EAP-MSCHAPv2: the peer's response is malformed")
        found = self.users.password(name)
        password = Secret(b"nobody") if found is None else found
        challenges = chap.Challenges(self.challenge, value[1:17], name)
        answer = value[25:49]
        is_right = hmac.compare_digest(chap.response(challenges, password), answer)
        if found is None or not is_right:
            return self._refuse(name, is_known=found is not None)
        proof = chap.authenticator(challenges, password, answer).hex().upper().encode()
        accepted = Accepted(name, chap.msk(password, answer))
        packet = _packet(_SUCCESS, self.number, b"S=" + proof + b" M=OK")
        return ServerStep(replace(self, accepted=accepted), packet)

    def _refuse(self, name: bytes, *, is_known: bool) -> ServerStep:
        who = name.decode("ascii", "backslashreplace")
        why = f"wrong password of user {who!r}" if is_known else f"no user {who!r} in the users"
        text = f"E=691 R=0 C={self.challenge.hex().upper()} V=3 M={_WRONG}"
        packet = _packet(_FAILURE, self.number, text.encode())
        return ServerStep(replace(self, refusal=f"EAP-MSCHAPv2: {why}"), packet)


def _parse(data: bytes) -> tuple[int, int, bytes]:
    """Return OpCode, MS-CHAPv2-ID and what follows; MS-Length must be right."""
    if len(data) < _HEADER_OCTETS or int.from_bytes(data[2:4]) != len(data):
        raise AuthenticationFailed("EAP-MSCHAPv2: a packet is malformed")
    return data[0], data[1], data[_HEADER_OCTETS:]


def _packet(code: int, number: int, value: bytes) -> bytes:
    return bytes((code, number)) + (_HEADER_OCTETS + len(value)).to_bytes(2) + value


def _reason(value: bytes) -> str:
    """Return in our own words what the gateway says; its text is not to be trusted."""
    found = _ERROR.search(value)
    number = int(found[1]) if found is not None else 0
    return f"{_ERRORS.get(number, 'it gives no known reason')} (E={number})"
