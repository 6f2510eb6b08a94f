"""A laptop with two uplinks keeps its tunnel while it changes from one to the other (RFC 4555).

    laptop ── eth0 192.0.2.1 ───────────────────── internet ── 203.0.113.2 gateway
         └─── eth1 172.16.0.2 ── cafe (NAT) ── 198.51.100.1 ──┘

The way over `eth0` is the more specific route; without it the laptop goes through the cafe, whose
router translates addresses. So a change there and back also turns ESP in UDP on and off.
strongSwan's ESP in userspace cannot change the addresses of an SA: it rekeys the Child SA instead,
so there only the IKE SA is the same as before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab import netlink
from ipsecme.lab.firewall import masquerade
from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Site, Tunnel
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.lab.wait import wait_until

if TYPE_CHECKING:
    from ipsecme.lab.host import Host, Interface
    from ipsecme.lab.network import Lab
    from ipsecme.lab.peer import Peer

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.usefixtures("_tun", "_nftables"),
]

TUNNEL = Tunnel(psk="a secret of both gateways")
OFFICE, CAFE = "192.0.2.1", "172.16.0.2"
CAFE_OUTSIDE, GATEWAY = "198.51.100.1", "203.0.113.2"
# Of the datagrams that are sent every ten milliseconds. A move costs about ten. Now and then it
# costs a hundred: a second in which no IKE message was repeated, most likely that after which a
# kernel asks once more for a neighbour. Liveness, for which a move must not wait, takes thirty.
MOST_LOST = 250


@dataclass
class Roaming:
    """The laptop's site, the gateway's, the cable that can be pulled, and the cafe's radio."""

    laptop: Site
    gateway: Site
    cable: Interface
    radio: Interface

    def pull_cable(self) -> None:
        netlink.set_link(self.cable.host.namespace, self.cable.name, up=False)

    def plug_cable(self) -> None:
        netlink.set_link(self.cable.host.namespace, self.cable.name, up=True)
        self.cable.host.add_route("203.0.113.0/24", "192.0.2.254")

    def return_to_office(self) -> None:
        """Plug in and leave the cafe: strongSwan stays on a path as long as it is there."""
        self.plug_cable()
        netlink.set_link(self.radio.host.namespace, self.radio.name, up=False)


def make(lab: Lab) -> Roaming:
    laptop, cafe, internet, gateway = map(lab.host, ("laptop", "cafe", "internet", "gateway"))
    cable, _ = lab.link(laptop, internet, (f"{OFFICE}/24", "192.0.2.254/24"))
    radio, _ = lab.link(laptop, cafe, (f"{CAFE}/24", "172.16.0.1/24"))
    outside, _ = lab.link(cafe, internet, (f"{CAFE_OUTSIDE}/24", "198.51.100.254/24"))
    far, _ = lab.link(gateway, internet, (f"{GATEWAY}/24", "203.0.113.254/24"))
    for router in (cafe, internet):
        router.forward()
    masquerade(outside)
    laptop.add_route("default", "172.16.0.1")
    laptop.add_route("203.0.113.0/24", "192.0.2.254")
    cafe.add_route("default", "198.51.100.254")
    gateway.add_route("default", "203.0.113.254")
    return Roaming(
        site(laptop, cable, OFFICE, "10.1.0", is_called=False),
        site(gateway, far, GATEWAY, "10.2.0", is_called=True),
        cable,
        radio,
    )


def site(host: Host, outside: Interface, address: str, inner: str, *, is_called: bool) -> Site:
    host.add_address("lo", f"{inner}.1/24")
    return Site(
        host=host,
        outside=outside,
        address=address,
        reachable_as=address if is_called else None,
        identity=f"{host.name}.example",
        networks=(f"{inner}.0/24",),
        inner=(f"{inner}.1",),
    )


def our_laptop(roaming: Roaming) -> Ipsecme:
    """Our daemon on the laptop; without `local` it calls from wherever it is."""
    laptop = Ipsecme(roaming.laptop, TUNNEL, remote=roaming.gateway)
    laptop._connection = re.sub(r"(?m)^local = .*\n", "", laptop._connection)
    return laptop


def test_our_laptop_and_our_gateway(lab: Lab) -> None:
    roaming = make(lab)
    laptop = our_laptop(roaming)
    gateway = Ipsecme(roaming.gateway, TUNNEL, remote=roaming.laptop)
    story = Story(lab, laptop, gateway)
    story.bring_up(by=laptop)
    assert where(laptop) == f"{OFFICE}:4500 to {GATEWAY}:4500, none"
    before = spis(gateway)

    with story.traffic(may_lose=MOST_LOST):
        roaming.pull_cable()
        await_path(laptop, f"{CAFE}:4500 to {GATEWAY}:4500, local")
        story._follow_traffic()
    assert re.fullmatch(rf"{GATEWAY}:4500 to {CAFE_OUTSIDE}:2\d+, remote", where(gateway))
    assert spis(gateway) == before

    with story.traffic(may_lose=MOST_LOST):
        roaming.plug_cable()
        await_path(laptop, f"{OFFICE}:4500 to {GATEWAY}:4500, none")
        story._follow_traffic()
    assert where(gateway) == f"{GATEWAY}:4500 to {OFFICE}:4500, none"
    assert spis(gateway) == before

    with story.traffic():
        story.rekey_ike(by=gateway)
        story.rekey_child(by=laptop)
    with story.traffic(may_lose=MOST_LOST):
        roaming.pull_cable()
        await_path(laptop, f"{CAFE}:4500 to {GATEWAY}:4500, local")
        story._follow_traffic()
    story.delete_ike(by=laptop)


@pytest.mark.interop
def test_our_laptop_and_a_strongswan_gateway(lab: Lab) -> None:
    roaming = make(lab)
    laptop = our_laptop(roaming)
    gateway = StrongSwan(roaming.gateway, TUNNEL, remote=roaming.laptop)
    story = Story(lab, laptop, gateway)
    story.bring_up(by=laptop)
    before = spis(gateway)
    for change, place in ((roaming.pull_cable, CAFE), (roaming.plug_cable, OFFICE)):
        with story.traffic(may_lose=MOST_LOST):
            change()
            await_path(laptop, f"{place}:4500 to {GATEWAY}:4500")
            story._follow_traffic()
        story.ping()
        assert spis(gateway)[:2] == before[:2]
        assert there(gateway) == (CAFE_OUTSIDE if place == CAFE else OFFICE)
    with story.traffic():
        story.rekey_child(by=gateway)
        story.rekey_ike(by=laptop)
    story.delete_ike(by=laptop)


@pytest.mark.interop
def test_a_strongswan_laptop_and_our_gateway(lab: Lab) -> None:
    roaming = make(lab)
    laptop = StrongSwan(roaming.laptop, TUNNEL, remote=roaming.gateway)
    laptop._configuration = re.sub(r"(?m)^ *local_addrs = .*\n", "", laptop._configuration)
    gateway = Ipsecme(roaming.gateway, TUNNEL, remote=roaming.laptop)
    story = Story(lab, laptop, gateway)
    story.bring_up(by=laptop)
    before = spis(gateway)
    for change, place in ((roaming.pull_cable, CAFE_OUTSIDE), (roaming.return_to_office, OFFICE)):
        with story.traffic(may_lose=MOST_LOST):
            change()
            await_path(gateway, f"{GATEWAY}:4500 to {place}:")
            story._follow_traffic()
        story.ping()
        assert spis(gateway)[:2] == before[:2]
    with story.traffic():
        story.rekey_child(by=laptop)
        story.rekey_ike(by=gateway)
    story.delete_ike(by=gateway)


def there(peer: StrongSwan) -> str:
    """Return where strongSwan has its peer."""
    found = re.search(r"remote-host = (\S+)", peer._swanctl("--list-sas", "--pretty"))
    return found[1] if found else ""


def spis(peer: Peer) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """Return the SPIs of the IKE SA and of its Child SAs."""
    (sa,) = peer.sas()
    children = tuple((child.spi_in, child.spi_out) for child in sa.children)
    return sa.spi_initiator, sa.spi_responder, children


def where(peer: Ipsecme) -> str:
    """Return which path the daemon reports, and who is behind a NAT."""
    (connection,) = peer.status().connections
    (sa,) = connection.ike_sas
    return f"{sa.local} to {sa.remote}, {sa.nat}"


def await_path(peer: Ipsecme, start: str) -> None:
    """Wait until the daemon reports a path that begins like this."""
    wait_until(lambda: where(peer).startswith(start), start, explain=lambda: where(peer))
