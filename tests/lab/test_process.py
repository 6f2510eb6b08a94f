"""Programs on a host: ready, stopped, killed, and what they said."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.errors import LabUnavailable, StepFailed

if TYPE_CHECKING:
    from ipsecme.lab.network import Lab

pytestmark = pytest.mark.root

STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"])
print("ready", flush=True)
child.wait()
"""


def test_polite_program_ends_when_asked(lab: Lab) -> None:
    process = lab.host("west").start("sleep", ["sleep", "60"])
    assert process.exit_status is None
    process.stop()
    assert process.exit_status == -15


def test_stubborn_program_is_killed_with_what_it_started(lab: Lab) -> None:
    host = lab.host("west")
    process = host.start("stubborn", [sys.executable, "-c", STUBBORN])
    process.wait_ready(lambda: "ready" in process.log_text(), "it is ready")
    assert len(host.namespace.processes()) == 2
    process.stop(grace_seconds=0.3)
    assert process.exit_status == -9


def test_program_that_ends_early_is_told_with_its_log(lab: Lab) -> None:
    process = lab.host("west").start("sh", ["sh", "-c", "echo bad luck; exit 4"])
    with pytest.raises(
        StepFailed, match=r"sh on west ended with status 4 before it is up(?s:.)*bad"
    ):
        process.wait_ready(lambda: False, "it is up")


def test_program_that_never_gets_ready_is_told_with_its_log(lab: Lab) -> None:
    process = lab.host("west").start("sh", ["sh", "-c", "echo thinking; exec sleep 60"])
    lab.at_end(process.stop)
    process.wait_ready(lambda: "thinking" in process.log_text(), "it thinks")
    with pytest.raises(
        StepFailed, match=r"waited .* in vain for sh on west: it acts(?s:.)*thinking"
    ):
        process.wait_ready(lambda: False, "it acts", seconds=0.2)


def test_missing_program_is_named(lab: Lab) -> None:
    with pytest.raises(LabUnavailable, match="no-such-daemon is not installed"):
        lab.host("west").start("daemon", ["no-such-daemon"])


def test_private_run_is_empty_and_unseen_outside(lab: Lab) -> None:
    script = "ls -A /run | wc -l; touch /run/ipsecme-was-here"
    process = lab.host("west").start("sh", ["sh", "-c", script], private_run=True)
    assert process.wait_ended(5) == 0
    assert process.log_text().strip() == "0"
    assert "ipsecme-was-here" not in lab.host("east").run(["ls", "/run"])
