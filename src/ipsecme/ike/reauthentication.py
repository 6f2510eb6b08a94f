"""Reauthentication: a new IKE SA, then the old one goes (RFC 7296, section 2.8.3; RFC 4478).

Rekeying proves nothing about the peer; this does. The original initiator sees to it by itself, or
because the responder said by AUTH_LIFETIME how long its proof is good for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.state import IkeState

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa

__all__ = ["reauthenticate", "reauthentication_delay", "start_over"]

_RETRY_SECONDS = 60.0
_RESPONDER_GRACE = 1.1  # a responder waits a little longer than it told the initiator
_EARLY = 0.9


def reauthentication_delay(sa: IkeSa, told: float | None) -> float | None:
    """Return the seconds from authentication until we act; `told` is the peer's AUTH_LIFETIME."""
    own = sa.peer.reauthenticate if sa.peer else None
    if not sa.original_initiator:
        return None if own is None else own * _RESPONDER_GRACE
    limits = [limit for limit in (own, told) if limit is not None]
    if not limits:
        return None
    return min(limits) * (_EARLY + 0.1 * sa.services.rng.fraction() * _EARLY)


def reauthenticate(sa: IkeSa, now: float) -> None:
    """Begin, or end an IKE SA whose initiator did not begin in time."""
    if sa.state is not IkeState.ESTABLISHED or sa.peer is None:
        return
    if not sa.original_initiator:
        sa.delete("authentication_expired", now)
        return
    wanted = [CreateChild(child.config) for child in sa.children if child.is_current]
    if sa.peer.break_before_make:
        sa.reopens = wanted
        sa.delete("reauthenticated", now)
        return
    sa.services.registry.reopen(sa, wanted, now)
    sa.rearm_reauthentication(now + _RETRY_SECONDS)


def start_over(sa: IkeSa, now: float) -> None:
    """Replace an IKE SA on which the peer rekeys nothing by a new one (RFC 7296, section 4).

    The end that was called leaves that to the other, and its own lifetimes end what is too old.
    """
    is_under_way = any(other.predecessor is sa for other in sa.services.registry)
    if sa.original_initiator and not is_under_way:
        reauthenticate(sa, now)
