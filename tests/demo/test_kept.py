"""A demonstration that is left running, looked at with the commands it names, and ended."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab import demo_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = (sys.executable, "-m", "ipsecme.cli", "demo")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for temporary files of this test alone, with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="kept-") as made:
        monkeypatch.setenv("TMPDIR", made)
        monkeypatch.setattr("tempfile.tempdir", None)
        yield Path(made)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def leave(folder: Path, pid: int, started: int) -> Path:
    kept = folder / "ipsecme-lab-x"
    kept.mkdir()
    state = {"processes": [{"pid": pid, "started": started}], "namespaces": []}
    (kept / "demo.json").write_text(json.dumps(state))
    return kept


def test_what_was_left_is_ended(folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
    kept = leave(folder, sleeper.pid, demo_kept._start_time(sleeper.pid))
    assert demo_kept.stop_all() == [kept]
    assert sleeper.wait(10) == -signal.SIGTERM
    assert not kept.exists()
    assert demo_kept.stop_all() == []


def test_a_stranger_with_the_same_pid_is_left_alone(
    folder: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    kept = leave(folder, sleeper.pid, demo_kept._start_time(sleeper.pid) - 1)
    assert demo_kept.stop_all() == [kept]
    assert sleeper.poll() is None


def test_a_process_that_ended_by_itself_is_no_obstacle(
    folder: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    started = demo_kept._start_time(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    kept = leave(folder, sleeper.pid, started)
    assert demo_kept.stop_all() == [kept]


@pytest.mark.root
@pytest.mark.slow
def test_the_commands_that_it_names_work(folder: Path) -> None:
    shown = subprocess.run(
        [*DEMO, "--keep", "--seconds", "1"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    try:
        assert shown.returncode == 0, shown.stdout + shown.stderr
        lines = [line.strip() for line in shown.stdout.splitlines()]
        commands = {
            purpose.removeprefix("# "): shlex.split(command)
            for purpose, command in itertools.pairwise(lines)
            if purpose.startswith("# ")
        }
        for purpose in ("status of west", "status of east", "new IKE keys"):
            program, *arguments = commands[purpose]
            assert program == "ipsecme"
            run([sys.executable, "-m", "ipsecme.cli", *arguments])
        run([*commands["a shell on west"][:-1], "cat", "/proc/net/dev"])
        run(commands["configuration"])
        assert any(folder.glob("ipsecme-lab-*/demo.json"))
    finally:
        stopped = run([*DEMO, "--stop", "--json"])
    assert len(json.loads(stopped)["stopped"]) == 1
    assert not list(folder.glob("ipsecme-lab-*"))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen([*DEMO, "--seconds", "60"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "over TCP" in line:  # what comes next takes a minute
                break
        child.send_signal(number)
        rest = child.stdout.read()
        assert child.wait(60) == 130
    assert rest.splitlines()[-1].startswith("ok      remove everything")
    assert not list(folder.glob("ipsecme-lab-*"))
    prefix = f"ipsecme-{child.pid}-"
    assert not [name for name in os.listdir("/run/netns") if name.startswith(prefix)]  # noqa: PTH208


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
