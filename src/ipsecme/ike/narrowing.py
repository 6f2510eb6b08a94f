"""Which policy a request for a Child SA is for, and what it allows (RFC 7296, section 2.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipsecme.ike.failures import Refused
from ipsecme.ike.internal_addresses import local_selectors, remote_selectors
from ipsecme.ike.transport_mode import tunnel_policy
from ipsecme.policy.selector import contains, narrow, selector_text
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import ChildConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["Narrowed", "narrow_request", "texts"]

Selectors = tuple["TrafficSelector", ...]


class Narrowed(NamedTuple):
    """What a peer gets. `more` tells that it could have more of its request in other Child SAs."""

    config: ChildConfig
    local: Selectors
    remote: Selectors
    more: bool


def narrow_request(
    ctx: ExchangeContext,
    configs: Sequence[ChildConfig],
    offered_local: Sequence[TrafficSelector],
    offered_remote: Sequence[TrafficSelector],
) -> Narrowed:
    """Return the first policy that allows some of an offer in a tunnel; sides as seen from here.

    A policy that covers the first selectors, which may be those of a packet that waits at the peer,
    is preferred to one that covers others only. Raises `Refused` with TS_UNACCEPTABLE or
    SINGLE_PAIR_REQUIRED.
    """
    found = []
    for config in configs:
        allowed = tunnel_policy(ctx, config)
        local, remote = narrow(offered_local, allowed[0]), narrow(offered_remote, allowed[1])
        if local and remote:
            found.append(Narrowed(config, local, remote, more=False))
    if not found:
        raise Refused(
            NotifyType.TS_UNACCEPTABLE,
            f"the peer offers {texts(offered_local)} to {texts(offered_remote)}; "
            f"configured here is {'; '.join(_policy_text(ctx, c) for c in configs)}",
        )
    packet = offered_local[0], offered_remote[0]
    best = next((n for n in found if _covers(n, *packet)), found[0])
    if best.config.single_pair:
        return _single_pair(best, *packet)
    others = (n for n in found if n is not best)
    return best._replace(more=any(not _includes(best, other) for other in others))


def _covers(narrowed: Narrowed, local: TrafficSelector, remote: TrafficSelector) -> bool:
    return contains(narrowed.local, local) and contains(narrowed.remote, remote)


def _includes(one: Narrowed, other: Narrowed) -> bool:
    return all(contains(one.local, ts) for ts in other.local) and all(
        contains(one.remote, ts) for ts in other.remote
    )


def _single_pair(narrowed: Narrowed, local: TrafficSelector, remote: TrafficSelector) -> Narrowed:
    """Keep the pair of addresses that the peer names first."""
    is_pair = local.start == local.end and remote.start == remote.end
    if not is_pair or not _covers(narrowed, local, remote):
        raise Refused(
            NotifyType.SINGLE_PAIR_REQUIRED,
            f"{narrowed.config.name} is for one pair of addresses at a time, and the peer asks for "
            f"{selector_text(local)} to {selector_text(remote)} first",
        )
    is_all = narrowed.local == (local,) and narrowed.remote == (remote,)
    return narrowed._replace(local=(local,), remote=(remote,), more=not is_all)


def _policy_text(ctx: ExchangeContext, config: ChildConfig) -> str:
    local, remote = local_selectors(config, ctx.internal), remote_selectors(config, ctx.internal)
    return f"{texts(local)} to {texts(remote)} in {config.mode.value} mode"


def texts(selectors: Sequence[TrafficSelector]) -> str:
    """Return selectors as people read them."""
    return ", ".join(selector_text(s) for s in selectors) or "nothing"
