"""Succession: what a rekeyed IKE SA hands to the one that replaces it (RFC 7296, section 2.8)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipsecme.ike import events
from ipsecme.ike.internal_addresses import InternalAddresses
from ipsecme.ike.mobility import inherit
from ipsecme.ike.schedule import IkeTimer
from ipsecme.ike.state import IkeState

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa

__all__ = ["hand_over"]

_TIMERS_OF_THE_LIVING = (
    IkeTimer.REKEY,
    IkeTimer.REAUTHENTICATE,
    IkeTimer.LIVENESS,
    IkeTimer.KEEPALIVE,
)


def hand_over(old: IkeSa, new: IkeSa, now: float, *, is_initiator: bool) -> None:
    """Give the Child SAs and the waiting jobs to a successor."""
    if new.state is IkeState.HALF_OPEN:
        new.begin_life(now)
    registry = old.services.registry
    registry.adopt(new)
    registry.identify(new)
    old.children.move_to(new.children)
    new.internal, old.internal = old.internal, InternalAddresses()
    old.heir = new
    new.jobs, old.jobs = old.jobs, deque()
    inherit(old, new)
    old.state = IkeState.REKEYED
    for timer in _TIMERS_OF_THE_LIVING:
        old.timers.disarm(timer)
    new.export_keys()
    old.services.publish(
        events.IkeSaRekeyed(old.name, old.handle, new.handle, is_initiator, new.suite)
    )
    new.pump(now)
