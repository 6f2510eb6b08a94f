"""What a killed lab leaves behind can be found and ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ipsecme.lab.namespace import DIRECTORY, abandoned_namespaces, remove_abandoned

pytestmark = pytest.mark.root

VICTIM = """
import os, signal
from ipsecme.lab.network import Lab
lab = Lab("victim")
host = lab.host("west")
host.start("sleep", ["sleep", "60"])
print(host.namespace.name, lab.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_left_namespace_is_listed_and_removed_with_what_runs_in_it() -> None:
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM], capture_output=True, text=True, check=False
    )
    assert victim.returncode == -9
    name, folder = victim.stdout.split()
    subprocess.run(["rm", "-r", folder], check=True)

    assert name in abandoned_namespaces()
    listing = subprocess.run(
        [sys.executable, "-m", "ipsecme.lab.abandoned"], capture_output=True, text=True, check=True
    )
    assert name in listing.stdout.splitlines()

    assert len(remove_abandoned(name)) == 1
    assert name not in abandoned_namespaces()
    assert not (DIRECTORY / name).exists()
