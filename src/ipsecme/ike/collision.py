"""Who gives way when both ends rekey the same SA at once (RFC 7296, sections 2.8.1 and 2.8.2).

Of the two new SAs, the one made by the exchange that holds the lowest of the four nonces is closed
by the end that created it. Octet strings compare as Python's `bytes` do: octet by octet, and a
prefix is lower.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Nonces", "ours_is_redundant"]


class Nonces(NamedTuple):
    """Ni and Nr of one exchange."""

    initiator: bytes
    responder: bytes

    def joined(self) -> bytes:
        """Return Ni | Nr, as key derivation wants them."""
        return self.initiator + self.responder


def ours_is_redundant(ours: Nonces, theirs: Nonces) -> bool:
    """Tell whether the SA that our exchange created has to go."""
    return min(ours) < min(theirs)
