"""Randomness as an argument: the engines take an `Rng` and never ask the system themselves."""

from __future__ import annotations

import secrets
from typing import Protocol

__all__ = ["Rng", "SystemRng"]


class Rng(Protocol):
    """A source of unpredictable octets. A source that fails must raise: there is no fallback."""

    def octets(self, count: int) -> bytes:
        """Return `count` octets."""
        ...

    def fraction(self) -> float:
        """Return a number in [0, 1), for jitter."""
        ...


class SystemRng:
    """The operating system's generator."""

    __slots__ = ()

    def octets(self, count: int) -> bytes:
        """Return `count` octets from the system."""
        return secrets.token_bytes(count)

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return secrets.randbits(53) / (1 << 53)
