"""Two of our own gateways, with the packets of the userspace data plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import INNER_IPV4, INNER_IPV6, two_sites
from ipsecme.lab.story import Story
from ipsecme.lab.vm_python import run_program

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

BRIEF_STORY = Path(__file__).with_name("brief_story.py")


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("_tun")
def test_on_this_machine(lab: Lab) -> None:
    tunnel = Tunnel(psk="a secret of both gateways")
    west, east = two_sites(lab, inner=[INNER_IPV4, INNER_IPV6])
    caller = Ipsecme(west, tunnel, remote=east)
    called = Ipsecme(east, tunnel, remote=west)

    story = Story(lab, caller, called)
    story.nothing_passes()
    story.bring_up(by=caller)
    story.ping()
    story.transfer(megabytes=20)
    with story.traffic():
        for peer in (caller, called):
            story.rekey_child(by=peer)
            story.rekey_ike(by=peer)

    story.delete_child(by=called)
    story.bring_up(by=called)
    story.ping()
    story.delete_ike(by=called)
    story.nothing_passes()


@pytest.mark.vm
@pytest.mark.slow
def test_in_a_virtual_machine() -> None:
    """The kernel there is the distribution's own, and has all that this machine's may lack."""
    result = run_program(BRIEF_STORY, seconds=900)
    assert result.status == 0, result.output
