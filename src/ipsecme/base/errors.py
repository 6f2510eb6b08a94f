"""Errors by blame: who did wrong decides the class, and the class knows what follows.

The scope says how far the damage reaches when a peer's message caused the error; `ike.failures`
turns it into a Notify (RFC 7296, section 2.21). Each class documents its case; the message is for
people.
"""

from __future__ import annotations

import enum

__all__ = [
    "ConfigError",
    "Incompatible",
    "IpsecmeError",
    "LocalMisuse",
    "MalformedMessage",
    "PeerError",
    "PeerReported",
    "ProtocolViolation",
    "Scope",
    "SystemRefused",
    "Truncated",
]


class Scope(enum.Enum):
    """How far an error in a peer's message reaches."""

    DROP = "drop"  # the datagram is ignored: nothing it says can be trusted
    EXCHANGE = "exchange"  # the exchange fails, the IKE SA lives
    IKE_SA = "ike_sa"  # the IKE SA and its Child SAs end


class IpsecmeError(Exception):
    """Root of every error that ipsecme raises on purpose."""


class PeerError(IpsecmeError):
    """The other end's bytes or choices are the cause."""

    scope = Scope.EXCHANGE


class MalformedMessage(PeerError):
    """The bytes do not parse (INVALID_SYNTAX once the sender is authenticated)."""

    scope = Scope.IKE_SA


class Truncated(MalformedMessage):
    """A length points past the end of what there is."""

    def __init__(self, wanted: int, left: int) -> None:
        super().__init__(f"{wanted} octets wanted where {left} are left")


class ProtocolViolation(PeerError):
    """The bytes parse but break a rule of the protocol."""

    scope = Scope.IKE_SA


class Incompatible(PeerError):
    """Both ends follow the rules but share no algorithm, selector or method."""


class PeerReported(PeerError):
    """The peer answered with an error Notify."""


class LocalMisuse(IpsecmeError):
    """The program that uses this library called it wrongly."""


class ConfigError(IpsecmeError):
    """The configuration cannot be used; the message names the place and the remedy."""


class SystemRefused(IpsecmeError):
    """The operating system refused something; the message says what to allow or install."""
