"""What README shows works as it stands there: both configurations, and how they meet."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import two_sites
from ipsecme.lab.strongswan import StrongSwan

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def block(start: str) -> str:
    """Return the code block that begins with these words."""
    blocks: list[str] = re.findall(r"```\w*\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if block.startswith(start))


def test_the_smallest_configuration_has_six_lines() -> None:
    text = block("[connections.branch]")
    assert len(text.splitlines()) <= 6
    assert tomllib.loads(text)["connections"]["branch"]["remote"] == "192.0.2.2"


@pytest.mark.root
@pytest.mark.interop
@pytest.mark.parametrize("caller", ["ipsecme", "strongswan"])
def test_the_configurations_of_both_gateways_fit(lab: Lab, caller: str) -> None:
    west, east = two_sites(lab)
    nothing = Tunnel(psk="replaced by what README says")
    ours, theirs = Ipsecme(west, nothing, remote=east), StrongSwan(east, nothing, remote=west)
    text = block("[connections.branch]")
    ours._connection = text if caller == "ipsecme" else text.replace('start = "start"\n', "")
    theirs._configuration = block("connections {")
    for daemon in (theirs, ours):
        lab.at_end(daemon.stop)
        daemon.start()
    if caller == "strongswan":
        theirs._swanctl("--initiate", "--child", "branch")
    up = [sys.executable, "-m", "ipsecme.cli", "--control", str(ours.control), "up", "branch"]
    west.host.run(up)
    report = ping(west.host, source="10.1.0.1", target="10.2.0.1", count=3)
    assert report.received == 3
