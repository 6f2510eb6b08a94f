"""What a change of policy does to the SAs that are there (RFC 7296, section 2.9.1).

An SA goes if it could not be made any more: the connection is gone or its ends prove themselves
otherwise, or mode, traffic or algorithms of a Child SA are no longer allowed. All others live on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.internal_addresses import local_selectors, remote_selectors
from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.state import IkeState
from ipsecme.policy.selector import contains

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme.ike.child import ChildSa
    from ipsecme.ike.config import ChildConfig, PeerConfig
    from ipsecme.ike.sa import IkeSa

__all__ = ["adapt"]

_REASON = "policy_changed"
_PROOFS = (
    "local_id",
    "remote_id",
    "psk",
    "credentials",
    "trust",
    "local_null",
    "remote_null",
    "proposals",
)


def adapt(sa: IkeSa, peers: Mapping[str, PeerConfig], now: float) -> None:
    """Hold an IKE SA and its Child SAs to the connections of these names."""
    if sa.state is IkeState.CLOSED:
        return
    sa.candidates = tuple(peers[peer.name] for peer in sa.candidates if peer.name in peers)
    if sa.peer is None:
        if not sa.candidates:
            sa.finish(now)
        return
    new = peers.get(sa.peer.name)
    if new is None or any(getattr(new, name) != getattr(sa.peer, name) for name in _PROOFS):
        sa.delete(_REASON, now)
        return
    sa.peer, sa.candidates = new, (new,)
    by_name = {config.name: config for config in new.children}
    for child in sa.children:
        if child.is_current:
            _adapt_child(sa, child, by_name.get(child.config.name), now)


def _adapt_child(sa: IkeSa, child: ChildSa, new: ChildConfig | None, now: float) -> None:
    if new is None:
        sa.children.delete(child, _REASON, now)
    elif not _allows(sa, new, child):
        sa.children.delete(child, _REASON, now)
        if sa.original_initiator:
            sa.queue(CreateChild(new), now)
    else:
        child.config = new


def _allows(sa: IkeSa, config: ChildConfig, child: ChildSa) -> bool:
    pair = child.pair
    local, remote = local_selectors(config, sa.internal), remote_selectors(config, sa.internal)
    return (
        config.mode is child.config.mode
        and config.proposals == child.config.proposals
        and all(contains(local, ts) for ts in pair.local_ts)
        and all(contains(remote, ts) for ts in pair.remote_ts)
    )
