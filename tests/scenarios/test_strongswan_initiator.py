"""strongSwan calls us: pre-shared key, the whole life of a tunnel, and either end ends it."""

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
GCM = Tunnel(psk=PSK, ike="aes128gcm16-prfsha256-ecp256", esp="aes128gcm16-ecp256")
CBC = Tunnel(psk=PSK, ike="aes256-sha256-x25519", esp="aes256-sha256-x25519")


@pytest.mark.parametrize(
    ("outer", "tunnel"),
    [
        pytest.param(OUTER_IPV4, CBC, id="ipv4-cbc-hmac-x25519"),
        pytest.param(OUTER_IPV6, GCM, id="ipv6-gcm-ecp256"),
    ],
)
def test_life_of_a_tunnel(lab: Lab, outer: tuple[str, str], tunnel: Tunnel) -> None:
    west, east = two_sites(lab, outer=outer, inner=[INNER_IPV4, INNER_IPV6])
    strongswan = StrongSwan(west, tunnel, remote=east)
    ours = Ipsecme(east, tunnel, remote=west)

    story = Story(lab, strongswan, ours)
    story.nothing_passes()
    story.bring_up(by=strongswan)
    story.ping()
    story.transfer(megabytes=20)
    with story.traffic():
        for peer in (strongswan, ours):
            story.rekey_child(by=peer)
            story.rekey_ike(by=peer)
    story.ping()

    story.delete_child(by=strongswan)
    story.nothing_passes()
    story.bring_up(by=strongswan)
    story.ping()

    story.delete_ike(by=strongswan)
    story.nothing_passes()
