"""What an IKE SA does when its time has come: rekeying, expiry, liveness, keepalives.

Repetition of requests is `Dialogue`'s, lifetimes of Child SAs are `Children`'s.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.ike.config import Retransmission
from ipsecme.ike.jobs import CheckLiveness, RekeyIke
from ipsecme.ike.reauthentication import reauthenticate
from ipsecme.ike.state import IkeState
from ipsecme.wire.encap import NAT_KEEPALIVE

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa

__all__ = ["FIRST_REQUEST", "IkeTimer", "on_timer", "patience"]

_DELETE_TRIES = 4
FIRST_REQUEST = Retransmission(first_wait=0.25, factor=1.4, tries=16)
"""As patient as the default, with more tries early: a gateway under siege loses many of them, and
answers without keeping anything (section 2.6)."""

_TRIES_FOR_MOVERS = 6  # more; five minutes in all (RFC 4555, section 3.11)


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


def patience(sa: IkeSa) -> Retransmission:
    """Return when to repeat requests.

    A Delete is not worth waiting long for, a peer that may be about to move is.
    """
    usual = sa.peer.retransmission if sa.peer else Retransmission()
    if sa.agreed_suite is None and usual == Retransmission():
        return FIRST_REQUEST
    if sa.state is IkeState.CLOSING:
        return replace(usual, tries=min(usual.tries, _DELETE_TRIES))
    if sa.mobility.is_agreed and not sa.mobility.is_client and usual == Retransmission():
        return replace(usual, tries=usual.tries + _TRIES_FOR_MOVERS)
    return usual


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
