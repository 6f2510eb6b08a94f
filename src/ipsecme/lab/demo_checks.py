"""What both daemons must agree on, judged from their own reports.

Owns the comparison alone: no step is made here, and nothing is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipsecme.lab.errors import StepFailed

if TYPE_CHECKING:
    from ipsecme.control import ChildStatus, IkeStatus, StatusReply

__all__ = ["Agreement", "agreement", "counter_problems", "packets"]


class Agreement(NamedTuple):
    """The one IKE SA and Child SA that both ends have, as the first end describes them."""

    ike: IkeStatus
    child: ChildStatus

    @property
    def suite(self) -> str:
        """The algorithms of both."""
        return f"IKE {self.ike.suite}, ESP {self.child.suite}"

    @property
    def ike_spis(self) -> tuple[str, str]:
        """The SPIs of the IKE SA."""
        return self.ike.spi_i, self.ike.spi_r

    @property
    def child_spis(self) -> tuple[str, str]:
        """The SPIs of the Child SA."""
        return self.child.inbound_spi, self.child.outbound_spi


def agreement(west: StatusReply, east: StatusReply) -> Agreement:
    """Return the SAs that both ends have; raises `StepFailed` saying where the ends differ."""
    (here, near), (there, far) = _only_sas(west, "west"), _only_sas(east, "east")
    if (here.spi_i, here.spi_r) != (there.spi_i, there.spi_r):
        raise StepFailed("the ends have different IKE SAs")
    if here.initiator == there.initiator:
        raise StepFailed("both ends claim the same role")
    if (near.inbound_spi, near.outbound_spi) != (far.outbound_spi, far.inbound_spi):
        raise StepFailed("the ends have different Child SAs")
    if (here.suite, near.suite) != (there.suite, far.suite):
        raise StepFailed(f"the ends use different suites: {here.suite}, {there.suite}")
    if (near.local_ts, near.remote_ts) != (far.remote_ts, far.local_ts):
        raise StepFailed("the ends protect different traffic")
    return Agreement(here, near)


def packets(reply: StatusReply) -> tuple[int, int]:
    """Return how many inner packets a daemon has sent through ESP and received from it, ever."""
    counters = reply.packet_counters
    return counters.get("packets_out", 0), counters.get("packets_in", 0)


def counter_problems(west: StatusReply, east: StatusReply, *, at_least: int) -> list[str]:
    """Return what is wrong with the traffic counters of both daemons.

    What one sent the other must have received, packet by packet and octet by octet, and at least
    as much as is known to have gone each way.
    """
    found = []
    for sender, receiver, sent_by, received_by in (
        ("west", "east", west, east),
        ("east", "west", east, west),
    ):
        for unit in ("packets", "bytes"):
            sent = sent_by.packet_counters.get(f"{unit}_out", 0)
            received = received_by.packet_counters.get(f"{unit}_in", 0)
            if sent != received:
                found.append(f"{sender} sent {sent:,} {unit} by ESP, {receiver} got {received:,}")
        if packets(sent_by)[0] < at_least:
            found.append(f"{sender} sent fewer packets by ESP than were sent through the tunnel")
    return found


def _only_sas(reply: StatusReply, name: str) -> tuple[IkeStatus, ChildStatus]:
    sas = [sa for connection in reply.connections for sa in connection.ike_sas]
    sas = [sa for sa in sas if sa.state == "established"]
    if len(sas) != 1:
        raise StepFailed(f"{name} has {len(sas)} IKE SAs instead of one")
    children = [child for child in sas[0].children if child.state == "installed"]
    if len(children) != 1:
        raise StepFailed(f"{name} has {len(children)} Child SAs instead of one")
    return sas[0], children[0]
