"""A program: two of our gateways, told briefly, for machines on which everything takes long."""

from __future__ import annotations

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.network import Lab
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.story import Story

if __name__ == "__main__":
    tunnel = Tunnel(psk="a secret of both gateways")
    with Lab("brief story") as lab:
        west, east = two_sites(lab)
        caller = Ipsecme(west, tunnel, remote=east)
        called = Ipsecme(east, tunnel, remote=west)

        story = Story(lab, caller, called)
        story.nothing_passes()
        story.bring_up(by=caller)
        story.ping()
        story.delete_ike(by=called)
        story.nothing_passes()
