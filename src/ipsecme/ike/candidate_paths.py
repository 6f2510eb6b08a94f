"""Which paths there are between this host and a peer (RFC 4555, sections 3.4 and 3.10).

Only what may be tried; when something is tried, and what follows, is in `ike.mobility`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsecme.base import Path
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.sa import IkeSa

__all__ = ["best_path", "candidates"]


def best_path(sa: IkeSa, peer: PeerConfig) -> Path | None:
    """Return the first of the peer's addresses to which there is a way, and from where."""
    here = sa.path.local
    for remote in _remotes(sa, peer):
        source = sa.services.host.source(peer, remote, here.address)
        if source is not None:
            return _between(sa, source, remote)
    return None


def candidates(sa: IkeSa, peer: PeerConfig) -> list[Path]:
    """Return every pair of addresses that may work; the end that does not choose stays put."""
    host, here = sa.services.host, sa.path.local.address
    found = []
    for remote in _remotes(sa, peer):
        sources = host.usable(peer, remote) if sa.mobility.is_client and host.addresses else [here]
        best = host.source(peer, remote, here)
        for source in sorted(sources, key=lambda address: address != best):
            path = _between(sa, source, remote)
            if path is not None and path not in found:
                found.append(path)
    return found


def _remotes(sa: IkeSa, peer: PeerConfig) -> list[str]:
    known = [sa.path.remote.address, *sa.mobility.peer_addresses]
    if sa.mobility.is_client and peer.remote_address is not None:
        known.append(peer.remote_address)
    return list(dict.fromkeys(known))


def _between(sa: IkeSa, source: str, remote: str) -> Path | None:
    if (":" in source) != (":" in remote):
        return None
    path = sa.path
    return path._replace(
        local=path.local._replace(address=source), remote=path.remote._replace(address=remote)
    )
