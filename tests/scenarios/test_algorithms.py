"""strongSwan and we, once with every family of algorithms, whichever end begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.slow]

# For IKE and for ESP, where a key exchange follows when the Child SA is rekeyed.
_FAMILIES = [
    ("chacha20poly1305-prfsha256-x448", "chacha20poly1305-x448"),
    ("aes128ccm16-prfsha384-ecp384", "aes256ccm16-ecp384"),
    ("aes256ccm12-prfsha512-ecp521", "aes128ccm12-ecp521"),
    ("aes192ccm8-prfsha256-x25519", "aes192ccm8-modp2048"),
    ("aes256gcm12-prfsha256-modp2048", "aes256gcm12-modp3072"),
    ("aes128gcm8-prfsha256-modp3072", "aes192gcm8-modp4096"),
    ("aes256ctr-sha256-prfsha512-modp4096", "aes256ctr-sha512-ecp256"),
    ("aes128-aescmac-prfaescmac-modp6144", "aes128-aescmac-x25519"),
    ("aes192-aesxcbc-prfaesxcbc-modp8192", "aes192ctr-aesxcbc-x25519"),
    ("aes128ctr-aesxcbc-prfaescmac-ecp256", "null-sha256-ecp256"),
]


@pytest.mark.parametrize(("ike", "esp"), _FAMILIES)
def test_tunnels_from_either_end(lab: Lab, ike: str, esp: str) -> None:
    tunnel = Tunnel(psk="a secret of both gateways", ike=ike, esp=esp)
    west, east = two_sites(lab)
    ours = Ipsecme(west, tunnel, remote=east)
    strongswan = StrongSwan(east, tunnel, remote=west)

    story = Story(lab, ours, strongswan)
    for caller, called in ((ours, strongswan), (strongswan, ours)):
        story.bring_up(by=caller)
        story.ping()
        story.rekey_child(by=called)
        story.rekey_ike(by=called)
        story.ping()
        story.delete_ike(by=caller)
