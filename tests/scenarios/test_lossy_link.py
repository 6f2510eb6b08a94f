"""A fifth of all packets is lost each way: requests are sent again until the answer is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.firewall import drop_share
from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.usefixtures("_nftables"),
]


def test_we_call_strongswan_over_a_lossy_link(lab: Lab) -> None:
    tunnel = Tunnel(psk="a secret of both gateways")
    west, east = two_sites(lab)
    for site in (west, east):
        drop_share(site.outside, 20)
    ours = Ipsecme(west, tunnel, remote=east)
    strongswan = StrongSwan(east, tunnel, remote=west)

    story = Story(lab, ours, strongswan)
    story.bring_up(by=ours)
    for _ in range(3):
        story.rekey_child(by=ours)
        story.rekey_ike(by=ours)
    story.delete_ike(by=ours)
