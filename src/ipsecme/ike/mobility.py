"""Mobility: which path the SAs of a peer take, and when that changes (RFC 4555).

Owns the decisions: where the IKE SA and its Child SAs go when this host's addresses change, when a
path falls silent, or when the peer tells or asks for something else. What is said about it in
messages is in `tasks.mobike`. "Client" is the end that initiated the first of a row of rekeyed IKE
SAs: it alone chooses the addresses (section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.ike import events
from ipsecme.ike.candidate_paths import best_path, candidates
from ipsecme.ike.host_addresses import is_plausible
from ipsecme.ike.jobs import CheckRoute, Job, TellAddresses, UpdateAddresses
from ipsecme.ike.schedule import IkeTimer
from ipsecme.ike.state import IkeState

if TYPE_CHECKING:
    from ipsecme.base import Path
    from ipsecme.ike.sa import IkeSa

__all__ = [
    "Mobility",
    "ask_for_update",
    "follow_nat",
    "follow_server",
    "hand_on",
    "hear_answer",
    "inherit",
    "is_acceptable",
    "is_other_way",
    "move",
    "note_nat",
    "react_to_addresses",
    "release",
    "step_back",
    "take_update",
    "ways",
]

_PATIENT_SENDINGS = 2  # so many on the path in use, then on the others, too
_MOST_WAYS = 6


@dataclass(slots=True)
class Mobility:
    """What an IKE SA and its successors share.

    `generation` counts the changes of path, so that an answer to an older question is known as
    such. `held` is the path of the Child SAs while the new one is not checked (section 3.7).
    `newest` is the handle and Message ID of the newest update taken. `mapping` is how the peer saw
    us: the SPIs in the hash, and the hash (section 3.8). `older` are replaced IKE SAs: as long as
    the peer has not deleted one, it may not know of the successor, and must be told there, too.
    """

    is_agreed: bool = False
    is_client: bool = False
    peer_detects_nat: bool = False
    peer_addresses: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    generation: int = 0
    held: Path | None = None
    newest: tuple[str, int] = ("", -1)
    mapping: tuple[bytes, bytes] = (b"", b"")
    checked: set[str] = field(default_factory=set)
    refused: set[Path] = field(default_factory=set)
    moved_early: bool = False  # before the peer could be told
    older: list[IkeSa] = field(default_factory=list)
    is_asking: bool = False  # the peer has not confirmed our last move
    is_telling: bool = False  # the client is told that we had to leave an address
    nat_surprises: int = 0


def react_to_addresses(sa: IkeSa, now: float) -> None:
    """Look at the path again: this host's addresses or routes have changed."""
    mobility, peer = sa.mobility, sa.peer
    if peer is None or not peer.mobike or sa.state is IkeState.CLOSED:
        return
    if sa.state is IkeState.HALF_OPEN:
        if sa.original_initiator:
            _leave_vanished(sa, now)
        return
    if not mobility.is_agreed:
        return
    if sa.state is not IkeState.ESTABLISHED:
        if sa.state is not IkeState.REKEYED:  # that one goes with its successor
            _leave_vanished(sa, now)
        return
    mobility.refused.clear()
    may_change = mobility.is_client or _has_lost_address(sa)
    best = best_path(sa, peer) if may_change else None
    if best is not None and best != sa.path:
        change = move if mobility.is_client else _shift
        change(sa, best, now)
    elif sa.services.host.announced(peer, sa.path) != mobility.announced:
        sa.queue(TellAddresses(), now)


def move(sa: IkeSa, path: Path, now: float) -> None:
    """Take another path as the client, and tell the peer (section 3.5)."""
    mobility = sa.mobility
    if path.remote.address not in mobility.checked and path.remote != sa.path.remote:
        mobility.held = mobility.held or sa.child_path()
    elif mobility.held is not None and path.remote == mobility.held.remote:
        mobility.held = None
    _change(sa, path)
    mobility.is_asking = True
    _restart(sa, now)
    _put_first(sa, UpdateAddresses(), now)


def _shift(sa: IkeSa, path: Path, now: float) -> None:
    """Leave an address that is gone, as the end that does not choose; the client is told."""
    mobility = sa.mobility
    if mobility.held is not None:
        mobility.held = mobility.held._replace(local=path.local)
    mobility.is_telling = True
    _change(sa, path)
    _restart(sa, now)
    _put_first(sa, TellAddresses(), now)


def take_update(sa: IkeSa, path: Path, now: float) -> None:
    """Follow the client to where its update came from (section 3.5)."""
    mobility, old = sa.mobility, sa.path
    if path == old:
        return
    needs_check = sa.peer is not None and sa.peer.return_routability
    if needs_check and path.remote != (mobility.held or old).remote:
        mobility.held = mobility.held or sa.child_path()
    else:
        mobility.held = None
    _change(sa, path)
    _restart(sa, now)
    if mobility.held is not None:
        _check_after_answer(sa, now)


def _check_after_answer(sa: IkeSa, now: float) -> None:
    """Ask at the new address; on the IKE SA of the update that begins once it is answered."""
    current = _row(sa)[-1]
    if CheckRoute() not in current.jobs:
        current.jobs.append(CheckRoute())
    if current is not sa:
        current.pump(now)


def release(sa: IkeSa) -> None:
    """Let the Child SAs follow: the peer has answered on the new path."""
    sa.mobility.held = None
    sa.mobility.is_asking = False
    sa.mobility.checked.add(sa.path.remote.address)
    _steer(sa)


def follow_server(sa: IkeSa, path: Path, told: tuple[str, ...], now: float) -> None:
    """Take the peer's new list; leave its old address when that is no longer in it (3.6)."""
    mobility = sa.mobility
    mobility.peer_addresses = told
    if not mobility.is_client or sa.path.remote.address in (path.remote.address, *told):
        return
    move(sa, path, now)


def step_back(sa: IkeSa, now: float) -> None:
    """Look for another path after the peer refused the one that we asked for."""
    mobility, peer = sa.mobility, sa.peer
    sa.services.counters["address_updates_refused"] += 1
    mobility.refused.add(sa.path)
    mobility.is_asking = False
    if peer is None or len(mobility.refused) > _MOST_WAYS:
        return
    others = [path for path in candidates(sa, peer) if path not in mobility.refused]
    others.sort(key=lambda path: not _are_same_ends(path, mobility.held))
    if others:
        move(sa, others[0], now)


def ask_for_update(sa: IkeSa, now: float) -> None:
    """Have the peer look at our address again, though we did not move."""
    sa.mobility.generation += 1
    sa.mobility.is_asking = True
    _put_first(sa, UpdateAddresses(), now)


def ways(sa: IkeSa, sendings: int) -> list[Path]:
    """Return the paths for a request that leaves for the n-th time (sections 3.5, 3.6 and 3.10).

    One that stays unanswered is sent along other paths, too; the first answer tells which works.
    """
    peer = sa.peer
    if sendings <= _PATIENT_SENDINGS or peer is None or not sa.mobility.is_agreed:
        return [sa.path]
    if not sa.mobility.is_client and not sa.mobility.is_telling:
        return [sa.path]
    others = [path for path in candidates(sa, peer) if path != sa.path]
    return [sa.path, *others][:_MOST_WAYS]


def hear_answer(sa: IkeSa, sendings: int, path: Path, now: float) -> None:
    """Go where an answer came from, if we had asked in several places."""
    if not sa.mobility.is_client or sa.state is not IkeState.ESTABLISHED:
        return
    if is_other_way(sa, sendings, path):
        move(sa, path, now)


def is_other_way(sa: IkeSa, sendings: int, path: Path) -> bool:
    """Tell whether a request that left so often has also left by this path, not the one in use."""
    return path != sa.path and path in ways(sa, sendings)


def note_nat(sa: IkeSa, *, local: bool, remote: bool, now: float) -> None:
    """Enable or disable what NATs need: UDP for ESP, and keepalives (section 3.5)."""
    for link in _row(sa):
        link.local_behind_nat, link.remote_behind_nat = local, remote
    sa = _row(sa)[-1]
    if not local:
        sa.timers.disarm(IkeTimer.KEEPALIVE)
    elif sa.timers.deadline(IkeTimer.KEEPALIVE) is None:
        sa.timers.arm(IkeTimer.KEEPALIVE, now + sa.services.config.keepalive)
    _steer(sa)


def is_acceptable(sa: IkeSa, path: Path, *, has_nat: bool) -> bool:
    """Judge both addresses of an update (section 3.5)."""
    local, remote = path.local.address, path.remote
    if sa.peer is None or sa.peer.listen_address not in (None, local):
        return False
    if has_nat and not path.encapsulated:
        return False  # ESP inside UDP has no place on that port
    return remote.port != 0 and is_plausible(remote.address, beside=local)


def inherit(old: IkeSa, new: IkeSa) -> None:
    """Give the path to a successor that was perhaps made before the last move.

    What there is to tell of addresses is told on the old one, too: should our answer be lost, the
    peer asks for it where we no longer are, and knows no other IKE SA.
    """
    if not old.mobility.is_agreed:
        return
    new.path = old.path
    new.local_behind_nat, new.remote_behind_nat = old.local_behind_nat, old.remote_behind_nat
    old.mobility.older.append(old)
    old.jobs.extend(job for job in (UpdateAddresses(), TellAddresses()) if job in new.jobs)
    _remind(new)


def hand_on(closed: IkeSa, now: float) -> None:
    """Ask on the successor what a replaced IKE SA left unanswered when it ended."""
    if closed.heir is not None and closed.mobility.is_agreed:
        heir = _row(closed)[-1]
        _remind(heir)
        heir.pump(now)


def follow_nat(sa: IkeSa, path: Path) -> None:
    """Follow a peer whose NAT gave it another port (RFC 7296, section 2.23).

    With MOBIKE only an explicit update moves anything (RFC 4555, section 3.8).
    """
    if sa.mobility.is_agreed:
        return
    if path == sa.path or not sa.remote_behind_nat or sa.local_behind_nat:
        if sa.state is IkeState.HALF_OPEN and not sa.original_initiator:
            sa.path = path  # from port 500 to the NAT traversal port
        return
    old, sa.path = sa.path, path
    if sa.state is IkeState.HALF_OPEN:
        return
    sa.services.publish(events.PathChanged(sa.name, sa.handle, old, path))
    sa.children.follow(sa.child_path())


# how


def _row(sa: IkeSa) -> list[IkeSa]:
    """Return the IKE SA and its successors, the one in use last."""
    found = [sa]
    while (heir := found[-1].heir) is not None:
        found.append(heir)
    return found


def _remind(sa: IkeSa) -> None:
    """See to it that everything that is open is on the list, perhaps once too often."""
    mobility = sa.mobility
    reasons = (
        (mobility.is_client and mobility.is_asking, UpdateAddresses()),
        (mobility.is_telling, TellAddresses()),
        (not mobility.is_client and mobility.held is not None, CheckRoute()),
    )
    sa.jobs.extend(job for is_open, job in reasons if is_open and job not in sa.jobs)


def _remaining(sa: IkeSa) -> list[IkeSa]:
    """Return the replaced IKE SAs that are still there."""
    older = sa.mobility.older
    older[:] = [link for link in older if link.state is not IkeState.CLOSED]
    return list(older)


def _restart(sa: IkeSa, now: float) -> None:
    for link in (*_remaining(sa), _row(sa)[-1]):
        link.dialogue.restart(now)


def _change(sa: IkeSa, path: Path) -> None:
    old = sa.path
    sa.mobility.generation += 1
    for link in (*_remaining(sa), *_row(sa)):
        link.path = path
    _steer(sa)
    current = _row(sa)[-1]
    sa.services.publish(events.PathChanged(current.name, current.handle, old, path))


def _steer(sa: IkeSa) -> None:
    """Bring the Child SAs to the path, and into or out of UDP."""
    sa = _row(sa)[-1]
    path = sa.child_path()
    if any(child.pair.path != path for child in sa.children):
        sa.children.follow(path)


def _put_first(sa: IkeSa, job: Job, now: float) -> None:
    for link in (*_remaining(sa), _row(sa)[-1]):
        if job not in link.jobs and link.state in (IkeState.ESTABLISHED, IkeState.REKEYED):
            link.jobs.appendleft(job)
        link.pump(now)


def _are_same_ends(one: Path, other: Path | None) -> bool:
    return other is not None and (one.local, one.remote) == (other.local, other.remote)


def _has_lost_address(sa: IkeSa) -> bool:
    return sa.path.local.address in sa.services.host.gone


def _leave_vanished(sa: IkeSa, now: float) -> None:
    """Change only the path of an IKE SA that is not yet, or no longer, in use."""
    if sa.peer is None or not _has_lost_address(sa):
        return
    best = best_path(sa, sa.peer)
    if best is not None:
        sa.path = best
        sa.mobility.moved_early = sa.state is IkeState.HALF_OPEN
        sa.dialogue.restart(now)
