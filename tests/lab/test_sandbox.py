"""The lab for ordinary users: no privileges, then all that is needed, or a clear refusal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ipsecme.lab.sandbox import has_privileges

# Root without capabilities stands for an ordinary user; the one left is what the kernel wants of
# those who map user 0, and no ordinary user does.
UNPRIVILEGED = (
    ("setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all") if os.geteuid() == 0 else ()
)

PROGRAM = """
import sys
from ipsecme.lab.sandbox import ensure_privileges, has_privileges
before = has_privileges()
ensure_privileges()
from ipsecme.lab.network import Lab
from ipsecme.lab.ping import ping
with Lab("sandbox") as lab:
    west, east = lab.host("west"), lab.host("east")
    lab.link(west, east, ("192.0.2.1/24", "192.0.2.2/24"))
    print(sys.argv[1:], before, ping(west, "192.0.2.1", "192.0.2.2", count=2).received)
    with open("/dev/net/tun", "rb+", buffering=0):
        pass
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    environment.pop("IPSECME_LAB_SANDBOX", None)
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@pytest.fixture(autouse=True)
def _user_namespaces() -> None:
    if not has_privileges() and run("unshare", "--user", "--map-root-user", "true").returncode:
        pytest.skip("this system forbids user namespaces")


def test_program_starts_again_with_its_arguments_and_can_do_everything() -> None:
    result = run(*UNPRIVILEGED, sys.executable, "-c", PROGRAM, "one", "two words")
    # The first line of the output is the one of the second start: the first printed nothing.
    assert (result.stdout, result.stderr) == ("['one', 'two words'] True 2\n", "")


def test_program_with_threads_can_do_everything_too() -> None:
    threaded = f"""
import threading
stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
{PROGRAM}
"""
    result = run(*UNPRIVILEGED, sys.executable, "-c", threaded)
    assert (result.stdout, result.stderr) == ("[] True 2\n", "")


def test_any_command_runs_inside() -> None:
    command = ("-m", "ipsecme.lab.sandbox", "sh", "-c", "id -u; ls -A /run | wc -l; exit 5")
    result = run(*UNPRIVILEGED, sys.executable, *command)
    assert (result.stdout, result.stderr, result.returncode) == ("0\n0\n", "", 5)


def test_without_a_command_the_usage_is_told() -> None:
    result = run(sys.executable, "-m", "ipsecme.lab.sandbox")
    assert result.returncode == 1
    assert result.stderr.startswith("usage: python -m ipsecme.lab.sandbox COMMAND")


def test_unknown_command_is_told() -> None:
    result = run(*UNPRIVILEGED, sys.executable, "-m", "ipsecme.lab.sandbox", "no-such-program")
    assert result.returncode == 1
    assert "no-such-program: No such file or directory" in result.stderr


def test_refusal_names_what_to_allow() -> None:
    """A user namespace in which no more of them may be made stands for a system without any."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    outer = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    command = ("-m", "ipsecme.lab.sandbox", "true")
    result = run(*outer, *UNPRIVILEGED, sys.executable, *command)
    assert result.returncode == 1
    assert "run as root, or allow it with 'sysctl user.max_user_namespaces=10000'" in result.stderr
