"""What an IKE SA does when its time has come: rekeying, expiry, liveness, keepalives.

Repetition of requests is `Dialogue`'s, lifetimes of Child SAs are `Children`'s.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ipsecme.ike.jobs import CheckLiveness, RekeyIke
from ipsecme.ike.reauthentication import reauthenticate
from ipsecme.ike.state import IkeState
from ipsecme.wire.encap import NAT_KEEPALIVE

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa

__all__ = ["IkeTimer", "on_timer"]


class IkeTimer(enum.Enum):
    """What an IKE SA waits for, besides the answers to its requests."""

    HALF_OPEN = "half-open"
    DOUBT = "doubt"
    REKEY = "rekey"
    EXPIRE = "expire"
    REAUTHENTICATE = "reauthenticate"
    LIVENESS = "liveness"
    KEEPALIVE = "keepalive"
    LINGER = "linger"


def on_timer(sa: IkeSa, timer: IkeTimer, now: float) -> None:
    """Do what is due."""
    match timer:
        case IkeTimer.HALF_OPEN:
            sa.fail("timeout", sa.dialogue.late)
            sa.services.registry.release(sa)
        case IkeTimer.DOUBT:
            sa.fail_unanswered()
            sa.finish(now)
        case IkeTimer.REKEY:
            sa.queue(RekeyIke(), now)
        case IkeTimer.EXPIRE:
            _expire(sa, now)
        case IkeTimer.REAUTHENTICATE:
            reauthenticate(sa, now)
        case IkeTimer.LIVENESS:
            _check_liveness(sa, now)
        case IkeTimer.KEEPALIVE:
            sa.services.send(NAT_KEEPALIVE, sa.path)
            sa.timers.arm(IkeTimer.KEEPALIVE, now + sa.services.config.keepalive)
        case IkeTimer.LINGER:
            sa.services.registry.release(sa)


def _expire(sa: IkeSa, now: float) -> None:
    if sa.state is IkeState.REKEYED:
        sa.close("expired", "the peer did not delete the replaced IKE SA", now)
    else:
        sa.delete("expired", now)


def _check_liveness(sa: IkeSa, now: float) -> None:
    if sa.peer is None or sa.state is not IkeState.ESTABLISHED:
        return
    due = sa.last_inbound_at + sa.peer.liveness
    if due > now:
        sa.timers.arm(IkeTimer.LIVENESS, due)
        return
    if not sa.dialogue.requests.outstanding:
        sa.queue(CheckLiveness(), now)
    sa.timers.arm(IkeTimer.LIVENESS, now + sa.peer.liveness)
