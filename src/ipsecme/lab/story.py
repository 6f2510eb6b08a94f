"""What happens between two peers, told in steps that must come true.

    story = Story(lab, west, east)
    story.bring_up(by=west)
    story.ping()
    with story.traffic():
        story.rekey_child(by=east)

Owns the checks: after each step both daemons must report the same SAs, and what was sent must
have passed through them. A step that does not come true raises `StepFailed` with what both
daemons report.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ipsecme.lab.errors import StepFailed
from ipsecme.lab.ping import ping
from ipsecme.lab.traffic import Stream, transfer
from ipsecme.lab.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipsecme.lab.network import Lab
    from ipsecme.lab.peer import ChildSaView, IkeSaView, Peer

__all__ = ["Story"]

_STEP_SECONDS: Final = 30.0
_SETTLE_PACKETS: Final = 20


class Story:
    """Starts both peers and stops them with the lab. Steps name the peer that acts with `by`."""

    def __init__(self, lab: Lab, west: Peer, east: Peer) -> None:
        self.west = west
        self.east = east
        self._has_traffic = False
        for peer in (west, east):
            lab.at_end(peer.stop)
            peer.start()

    def bring_up(self, *, by: Peer) -> None:
        """Initiate the tunnel, or the Child SA that it lacks."""
        by.initiate()
        self._await(lambda ike: len(ike.children) == 1, "one Child SA, the same at both ends")

    def ping(self) -> None:
        """Have every echo request answered in both directions, and counted by the Child SA."""
        before = self._child()
        sent = 0
        for here, there, source, target in self._directions():
            report = ping(here.site.host, source, target)
            sent += report.sent
            if report.received != report.sent:
                raise StepFailed(
                    f"ping from {source} to {target}: {report.received} of {report.sent} answered\n"
                    f"{_state(here, there)}"
                )
        if min(_passed(before, self._child())) < sent:
            raise StepFailed(f"packets went past the tunnel\n{_state(self.west, self.east)}")

    def nothing_passes(self) -> None:
        """Have no echo request answered in either direction."""
        for here, there, source, target in self._directions():
            report = ping(here.site.host, source, target, count=2, patience_seconds=0.2)
            if report.received:
                raise StepFailed(
                    f"{target} answered {source} without a tunnel\n{_state(here, there)}"
                )

    def transfer(self, *, megabytes: int) -> None:
        """Move that much over TCP each way; SHA-256 agrees at both ends."""
        octets = megabytes * 1_000_000
        for here, there, source, target in self._directions():
            report = transfer((here.site.host, source), (there.site.host, target), octets)
            if not report.intact or report.octets != octets:
                raise StepFailed(f"TCP from {source} to {target}: {report}")

    @contextlib.contextmanager
    def traffic(self, *, may_lose: int = 0) -> Iterator[None]:
        """Keep datagrams going there and back meanwhile; at most `may_lose` do not return.

        Each rekey in the block is followed until the new SAs have carried some of them.
        """
        west, east = self.west.site, self.east.site
        with Stream((west.host, west.inner[0]), (east.host, east.inner[0])) as stream:
            self._has_traffic = True
            try:
                yield
            finally:
                self._has_traffic = False
        report = stream.report
        if report is None or not report.returned or report.lost > may_lose:
            raise StepFailed(
                f"more than {may_lose} datagrams lost: {report}\n{_state(self.west, self.east)}"
            )

    def rekey_child(self, *, by: Peer) -> None:
        """Replace the Child SA, at both ends and in both directions."""
        old = self._child()

        def replaced(ike: IkeSaView) -> bool:
            new = ike.children[0] if len(ike.children) == 1 else old
            return new.spi_in != old.spi_in and new.spi_out != old.spi_out

        by.rekey_child()
        self._await(replaced, "a new Child SA in the place of the old one")
        self._follow_traffic()

    def rekey_ike(self, *, by: Peer) -> None:
        """Replace the IKE SA; the Child SA moves over as it is."""
        old = self._ike()
        known = {old.spi_initiator, old.spi_responder}
        by.rekey_ike()
        self._await(
            lambda new: known.isdisjoint({new.spi_initiator, new.spi_responder}),
            "a new IKE SA in the place of the old one",
        )
        if _spis(self._child()) != _spis(old.children[0]):
            raise StepFailed(f"the Child SA changed\n{_state(self.west, self.east)}")
        self._follow_traffic()

    def delete_child(self, *, by: Peer) -> None:
        """Delete the Child SA; the IKE SA stays at both ends."""
        by.delete_child()
        self._await(lambda ike: not ike.children, "an IKE SA without Child SA")

    def delete_ike(self, *, by: Peer) -> None:
        """Delete the IKE SA; neither end keeps anything."""
        by.delete_ike()
        wait_until(
            lambda: not self.west.sas() and not self.east.sas(),
            "both ends to forget the IKE SA",
            seconds=_STEP_SECONDS,
            explain=lambda: _state(self.west, self.east),
        )

    def _directions(self) -> Iterator[tuple[Peer, Peer, str, str]]:
        for one, other in zip(self.west.site.inner, self.east.site.inner, strict=True):
            yield self.west, self.east, one, other
            yield self.east, self.west, other, one

    def _follow_traffic(self) -> None:
        if not self._has_traffic:
            return
        before = self._child()
        wait_until(
            lambda: min(_passed(before, self._child())) >= _SETTLE_PACKETS,
            "traffic in both directions on the new SAs",
            seconds=_STEP_SECONDS,
            explain=lambda: _state(self.west, self.east),
        )

    def _await(self, condition: Callable[[IkeSaView], bool], what: str) -> None:
        """Wait until both ends report the same single IKE SA and `condition` holds for it."""

        def agreed() -> bool:
            ike = _common_ike_sa(self.west, self.east)
            return ike is not None and condition(ike)

        wait_until(
            agreed, what, seconds=_STEP_SECONDS, explain=lambda: _state(self.west, self.east)
        )

    def _ike(self) -> IkeSaView:
        ike = _common_ike_sa(self.west, self.east)
        if ike is None:
            raise StepFailed(f"the ends disagree\n{_state(self.west, self.east)}")
        return ike

    def _child(self) -> ChildSaView:
        children = self._ike().children
        if len(children) != 1:
            raise StepFailed(f"one Child SA expected\n{_state(self.west, self.east)}")
        return children[0]


def _common_ike_sa(west: Peer, east: Peer) -> IkeSaView | None:
    """Return the only IKE SA as west sees it, if east sees the same with the same Child SAs.

    SAs that are being built up or taken down do not count.
    """
    views = [_settled(peer.sas()) for peer in (west, east)]
    if any(len(view) != 1 for view in views):
        return None
    here, there = views[0][0], views[1][0]
    if (here.spi_initiator, here.spi_responder) != (there.spi_initiator, there.spi_responder):
        return None
    mirrored = {(child.spi_out, child.spi_in) for child in there.children}
    return here if set(map(_spis, here.children)) == mirrored else None


def _settled(sas: list[IkeSaView]) -> list[IkeSaView]:
    return [
        replace(sa, children=tuple(child for child in sa.children if child.installed))
        for sa in sas
        if sa.established
    ]


def _spis(child: ChildSaView) -> tuple[int, int]:
    return child.spi_in, child.spi_out


def _passed(before: ChildSaView, after: ChildSaView) -> tuple[int, int]:
    return after.packets_in - before.packets_in, after.packets_out - before.packets_out


def _state(*peers: Peer) -> str:
    return "\n".join(f"{peer.site.host.name} reports {peer.sas()}" for peer in peers)
