"""A router translates addresses and ports between the gateways; ESP travels inside UDP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import two_sites_across_nat
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab
    from ipsecme.lab.peer import Peer

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.usefixtures("_nftables")]

TUNNEL = Tunnel(psk="a secret of both gateways")


def test_we_are_behind_the_router(lab: Lab) -> None:
    west, east = two_sites_across_nat(lab)
    ours = Ipsecme(west, TUNNEL, remote=east)
    strongswan = StrongSwan(east, TUNNEL, remote=west)

    tell(Story(lab, ours, strongswan), hidden=ours, outside=strongswan)


def test_strongswan_is_behind_the_router(lab: Lab) -> None:
    west, east = two_sites_across_nat(lab)
    strongswan = StrongSwan(west, TUNNEL, remote=east)
    ours = Ipsecme(east, TUNNEL, remote=west)

    tell(Story(lab, strongswan, ours), hidden=strongswan, outside=ours)


def test_one_of_us_is_behind_the_router(lab: Lab) -> None:
    west, east = two_sites_across_nat(lab)
    hidden = Ipsecme(west, TUNNEL, remote=east)
    outside = Ipsecme(east, TUNNEL, remote=west)

    tell(Story(lab, hidden, outside), hidden=hidden, outside=outside)


def tell(story: Story, *, hidden: Peer, outside: Peer) -> None:
    story.bring_up(by=hidden)
    story.ping()
    story.transfer(megabytes=2)
    with story.traffic():
        story.rekey_child(by=outside)
        story.rekey_ike(by=outside)
        story.rekey_child(by=hidden)
    story.delete_ike(by=outside)
    story.nothing_passes()
