"""We call strongSwan: pre-shared key, the whole life of a tunnel, and either end ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import INNER_IPV4, INNER_IPV6, OUTER_IPV4, OUTER_IPV6, two_sites
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.slow]

PSK = "a secret of both gateways"
GCM = Tunnel(psk=PSK, ike="aes256gcm16-prfsha256-x25519", esp="aes256gcm16")
CBC = Tunnel(psk=PSK, ike="aes128-sha256-ecp256", esp="aes128-sha256")


@pytest.mark.parametrize(
    ("outer", "tunnel"),
    [
        pytest.param(OUTER_IPV4, GCM, id="ipv4-gcm-x25519"),
        pytest.param(OUTER_IPV6, CBC, id="ipv6-cbc-hmac-ecp256"),
    ],
)
def test_life_of_a_tunnel(lab: Lab, outer: tuple[str, str], tunnel: Tunnel) -> None:
    west, east = two_sites(lab, outer=outer, inner=[INNER_IPV4, INNER_IPV6])
    ours = Ipsecme(west, tunnel, remote=east)
    strongswan = StrongSwan(east, tunnel, remote=west)

    story = Story(lab, ours, strongswan)
    story.nothing_passes()
    story.bring_up(by=ours)
    story.ping()
    story.transfer(megabytes=20)
    with story.traffic():
        for peer in (ours, strongswan):
            story.rekey_child(by=peer)
            story.rekey_ike(by=peer)
    story.ping()

    story.delete_child(by=ours)
    story.nothing_passes()
    story.bring_up(by=ours)
    story.ping()

    story.delete_ike(by=ours)
    story.nothing_passes()
