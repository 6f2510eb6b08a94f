"""The states of IKE SAs and Child SAs, and which exchange a peer may start in which.

What is in flight is not a state: it lives in the windows. A cell that is not in `ACCEPTS` is
refused.
"""

from __future__ import annotations

import enum

from ipsecme.wire.numbers import ExchangeType

__all__ = ["ACCEPTS", "ChildState", "IkeState"]


class IkeState(enum.Enum):
    """The life of an IKE SA."""

    HALF_OPEN = "half-open"  # no end is authenticated yet
    ESTABLISHED = "established"
    REKEYED = "rekeyed"  # a successor has its Child SAs; it waits for its Delete
    CLOSING = "closing"  # our Delete is on its way
    CLOSED = "closed"  # answers repeated requests for a while and does nothing else


class ChildState(enum.Enum):
    """The life of a Child SA."""

    INSTALLED = "installed"
    REKEYED = "rekeyed"  # a successor carries the traffic
    CLOSING = "closing"  # our Delete is on its way
    CLOSED = "closed"


ACCEPTS: dict[IkeState, frozenset[ExchangeType]] = {
    IkeState.HALF_OPEN: frozenset({ExchangeType.IKE_AUTH}),
    IkeState.ESTABLISHED: frozenset({ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL}),
    IkeState.REKEYED: frozenset({ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL}),
    IkeState.CLOSING: frozenset({ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL}),
    IkeState.CLOSED: frozenset(),
}
"""Which requests of the peer are taken up. In HALF_OPEN the original initiator takes up none."""
