"""The lab itself, shown with strongSwan at both ends: what fails here is no fault of our daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import (
    INNER_IPV4,
    INNER_IPV6,
    OUTER_IPV4,
    OUTER_IPV6,
    two_sites,
    two_sites_across_nat,
)
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

pytestmark = [pytest.mark.root, pytest.mark.interop]

TUNNEL = Tunnel(psk="correct horse battery staple")


@pytest.mark.parametrize("outer", [OUTER_IPV4, OUTER_IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.slow
def test_whole_life_of_a_tunnel(lab: Lab, outer: tuple[str, str]) -> None:
    west, east = two_sites(lab, outer=outer, inner=[INNER_IPV4, INNER_IPV6])
    initiator = StrongSwan(west, TUNNEL, remote=east)
    responder = StrongSwan(east, TUNNEL, remote=west)

    story = Story(lab, initiator, responder)
    story.nothing_passes()
    story.bring_up(by=initiator)
    story.ping()
    story.transfer(megabytes=20)
    with story.traffic():
        for peer in (initiator, responder):
            story.rekey_child(by=peer)
            story.rekey_ike(by=peer)
    story.delete_child(by=responder)
    story.nothing_passes()
    story.bring_up(by=initiator)
    story.ping()
    story.delete_ike(by=responder)
    story.nothing_passes()


@pytest.mark.usefixtures("_nftables")
def test_tunnel_across_a_translator(lab: Lab) -> None:
    west, east = two_sites_across_nat(lab)
    hidden = StrongSwan(west, TUNNEL, remote=east)
    outside = StrongSwan(east, TUNNEL, remote=west)

    story = Story(lab, hidden, outside)
    story.bring_up(by=hidden)
    story.ping()
    with story.traffic():
        story.rekey_child(by=outside)
        story.rekey_ike(by=outside)
    story.delete_ike(by=outside)
