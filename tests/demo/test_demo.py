"""``ipsecme demo`` from the outside: what it says is true, also when something is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ipsecme

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

DEMO = (sys.executable, "-m", "ipsecme.cli", "demo")
KEYS = {"ok", "suite", "ping", "tcp", "rekeys", "lost_packets", "seconds"}
NOBODY = 65534


def demo(*options: str) -> tuple[int, dict[str, Any]]:
    """Run the demonstration; return its exit status and what it printed as JSON."""
    done = subprocess.run(
        [*DEMO, "--json", "--seconds", "1", *options],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def namespaces() -> set[str]:
    """Return the named network namespaces that a demonstration may have left."""
    try:
        return set(os.listdir("/run/netns"))  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return set()


def test_it_reports_what_happened_and_removes_everything() -> None:
    before = namespaces()
    status, report = demo()
    assert status == 0, report
    assert set(report) == KEYS
    assert report["ok"] is True
    assert report["ping"]["sent"] == report["ping"]["received"] > 0
    assert report["tcp"]["bytes"] == 20_000_000
    assert report["tcp"]["sha256_match"] is True
    assert report["rekeys"] == {"ike": 1, "child": 1}
    assert report["lost_packets"] == 0
    assert "aes256gcm16" in report["suite"]
    # Other tests make namespaces at the same time; this one's carry the number of its process.
    assert not [name for name in namespaces() - before if _is_abandoned(name)]


def _is_abandoned(name: str) -> bool:
    """Tell whether a namespace was made by a process that is no more."""
    owner = name.removeprefix("ipsecme-").split("-")[0]
    return name.startswith("ipsecme-") and not Path("/proc", owner).exists()


@pytest.mark.parametrize("kind", ["psk", "link", "outage", "leak", "daemon"])
def test_it_notices_what_is_broken(kind: str) -> None:
    status, report = demo("--break", kind)
    assert status != 0
    assert set(report) == KEYS
    assert report["ok"] is False
    if kind == "psk":
        assert report["suite"] is None
        assert report["ping"]["received"] == 0
    if kind == "outage":
        assert report["lost_packets"] > 0


def test_it_needs_no_root(open_copy: tuple[str, dict[str, str]]) -> None:
    python, environment = open_copy
    done = subprocess.run(
        [python, "-m", "ipsecme.cli", "demo", "--json", "--seconds", "1"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env=environment,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_where_nothing_is_allowed_it_says_what_to_allow() -> None:
    """No privileges, and a user namespace in which no more user namespaces may be made."""
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces"
    drop = "exec setpriv --bounding-set=-all --inh-caps=-all"
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", f'{forbid}; {drop} "$@"', "sh", *DEMO, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["ok"] is False
    assert "run as root, or allow it with 'sysctl user.max_user_namespaces=10000'" in done.stderr


@pytest.fixture
def open_copy() -> Iterator[tuple[str, dict[str, str]]]:
    """A Python and a copy of program and libraries that every user may read."""
    with tempfile.TemporaryDirectory(prefix="ipsecme-open-") as folder:
        top = Path(folder)
        top.chmod(0o755)
        shutil.copytree(Path(ipsecme.__file__).parent, top / "ipsecme")
        shutil.copytree(sysconfig.get_paths()["purelib"], top / "libraries", symlinks=True)
        python = os.path.realpath(sys.executable)
        if python.startswith("/root/"):
            python = "/usr/bin/python3"  # of the same version, or the libraries do not fit
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/nonexistent",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{top}:{top / 'libraries'}",
        }
        yield python, environment


def test_tshark_reads_the_exchanges_and_the_inner_packets(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    assert tshark is not None, "tools/install_peers installs tshark"
    capture, keys = tmp_path / "link.pcap", tmp_path / "keys"
    status, report = demo("--capture", str(capture), "--keys", str(keys))
    assert status == 0, report

    def read(display_filter: str, field: str) -> list[str]:
        done = subprocess.run(
            [
                tshark,
                "-r",
                str(capture),
                "-o",
                "esp.enable_encryption_decode:TRUE",
                "-Y",
                display_filter,
                "-T",
                "fields",
                "-e",
                field,
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={**os.environ, "WIRESHARK_CONFIG_DIR": str(keys)},
        )
        return done.stdout.replace(",", " ").split()

    # Identities and selectors are inside SK: only who has the keys sees them.
    assert "west.example" in read("isakmp.exchangetype == 35", "isakmp.id.data.fqdn")
    assert len(read("isakmp.exchangetype == 36 && isakmp.nonce", "frame.number")) >= 4
    echoes = read("esp && icmp.type == 8", "icmp.seq")
    assert len(echoes) >= report["ping"]["sent"]
    assert len(read("esp && tcp.len > 0", "frame.number")) > 1000
    assert not read("_ws.malformed && isakmp", "frame.number")
