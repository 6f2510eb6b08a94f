"""A program: transport mode with strongSwan, whose ESP is the kernel's, for the virtual machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.network import Lab
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import OUTER_IPV4, OUTER_IPV6, two_hosts, two_hosts_across_nat
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.lab.traffic import transfer

if TYPE_CHECKING:
    from ipsecme.lab.peer import Peer

TRANSPORT = Tunnel(psk="a secret of both hosts", mode="transport")
OCTETS = 300_000


def on_one_link(title: str, outer: tuple[str, str]) -> None:
    """Have the two hosts call each other, and both rekey."""
    with Lab(title) as lab:
        west, east = two_hosts(lab, outer=outer)
        ours = Ipsecme(west, TRANSPORT, remote=east)
        theirs = StrongSwan(east, TRANSPORT, remote=west)
        story = Story(lab, ours, theirs)
        for caller, other in ((ours, theirs), (theirs, ours)):
            story.bring_up(by=caller)
            is_transport(ours, theirs)
            story.ping()
            tell(title, transfer((west.host, west.address), (east.host, east.address), OCTETS))
            story.rekey_child(by=other)
            is_transport(ours, theirs)
            story.ping()
            story.delete_ike(by=other)


def across_a_nat(title: str, *, hides_us: bool) -> None:
    """Have TCP pass a NAT: its checksums cover the addresses that the NAT changes."""
    with Lab(title) as lab:
        west, east = two_hosts_across_nat(lab)
        hidden: Peer
        outside: Peer
        if hides_us:
            hidden = ours = Ipsecme(west, TRANSPORT, remote=east)
            outside = theirs = StrongSwan(east, TRANSPORT, remote=west)
        else:
            hidden = theirs = StrongSwan(west, TRANSPORT, remote=east)
            outside = ours = Ipsecme(east, TRANSPORT, remote=west)
        story = Story(lab, hidden, outside)
        story.bring_up(by=hidden)
        is_transport(ours, theirs)
        report = ping(west.host, west.address, east.address)
        tell(title, report)
        if report.received != report.sent:
            raise SystemExit(f"{title}: {report}")
        tell(title, transfer((west.host, west.address), (east.host, east.address), OCTETS))
        story.rekey_child(by=outside)
        is_transport(ours, theirs)
        tell(title, transfer((west.host, west.address), (east.host, east.address), OCTETS))


def tell(title: str, report: object) -> None:
    """Print what the test outside of the machine is to see."""
    sys.stdout.write(f"{title}: {report}\n")


def is_transport(ours: Ipsecme, theirs: StrongSwan) -> None:
    """Fail when one end has a tunnel."""
    (ike,) = ours.status().connections[0].ike_sas
    modes = {child.mode for child in ike.children}
    kernel = theirs.site.host.run(["ip", "-o", "xfrm", "state"])
    if modes != {"transport"} or "mode transport" not in kernel or "mode tunnel" in kernel:
        raise SystemExit(f"no transport mode: {modes} here, there\n{kernel}")


if __name__ == "__main__":
    on_one_link("IPv4", OUTER_IPV4)
    on_one_link("IPv6", OUTER_IPV6)
    across_a_nat("we are behind the NAT", hides_us=True)
    across_a_nat("strongSwan is behind the NAT", hides_us=False)
