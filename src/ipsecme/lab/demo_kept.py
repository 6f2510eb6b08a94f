"""A demonstration that was left running: how to look at it, and how to end it.

Owns the file ``demo.json`` in its folder, by which a later program finds it. Processes are known by
pid and start time, so that none but ours is ever signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ipsecme.lab import syscalls
from ipsecme.lab.demo_gateway import CONNECTION

if TYPE_CHECKING:
    from ipsecme.lab.demo_stage import Stage
    from ipsecme.lab.network import Lab

__all__ = ["ESP_OPTION", "Hint", "decoding_hints", "hints", "remember", "stop_all"]

_FILE: Final = "demo.json"
_GRACE_SECONDS: Final = 15.0

ESP_OPTION: Final = "-o esp.enable_encryption_decode:TRUE"
"""What makes tshark decrypt ESP."""


class Hint(NamedTuple):
    """A command that shows something."""

    purpose: str
    command: str


def remember(lab: Lab, stage: Stage) -> None:
    """Write down what is to be ended later."""
    pids = [one.process.pid for one in (stage.west, stage.east) if one.process is not None]
    state = {
        "processes": [{"pid": pid, "started": _start_time(pid)} for pid in pids],
        "namespaces": [str(host.namespace.path) for host in lab.hosts],
    }
    (lab.folder / _FILE).write_text(json.dumps(state))


def hints(stage: Stage, *, is_sandboxed: bool) -> list[Hint]:
    """Return what to try. In a sandbox the namespaces have no names outside of it."""
    west, east = stage.west, stage.east
    if is_sandboxed and west.process is not None:
        pid = west.process.pid
        on_west = f"nsenter --preserve-credentials -U -m -n -t {pid}"
    else:
        on_west = f"ip netns exec {west.site.host.namespace.name}"
    ping = f"ping -c 3 -I {west.site.inner[0]} {east.site.inner[0]}"
    return [
        Hint("status of west", f"ipsecme status --control {west.control}"),
        Hint("status of east", f"ipsecme status --control {east.control}"),
        Hint("new IKE keys", f"ipsecme rekey {CONNECTION} --ike --control {west.control}"),
        Hint("ping through it", f"{on_west} {ping}"),
        Hint("see the link", f"{on_west} tcpdump -Z root -nli {west.site.outside.name}"),
        Hint("a shell on west", f"{on_west} {os.environ.get('SHELL') or 'sh'}"),
        Hint("log of west", f"tail -f {west.log}"),
        Hint("configuration", f"cat {west.configuration}"),
        Hint("end it", "ipsecme demo --stop"),
    ]


def decoding_hints(keys: Path, capture: Path) -> list[Hint]:
    """Return how to read a capture of the link with the keys that were logged."""
    start = f"WIRESHARK_CONFIG_DIR={keys} tshark -r {capture}"
    return [
        Hint("the handshake, decrypted", f"{start} -Y 'isakmp.exchangetype == 35' -O isakmp"),
        Hint("what went through the tunnel", f"{start} {ESP_OPTION} -Y 'icmp || tcp'"),
    ]


def stop_all() -> list[Path]:
    """End every demonstration that this user left running; return their folders."""
    stopped = []
    for file in sorted(Path(tempfile.gettempdir()).glob(f"ipsecme-lab-*/{_FILE}")):
        with contextlib.suppress(FileNotFoundError):
            if file.parent.lstat().st_uid == file.lstat().st_uid == os.geteuid():
                _stop(file)
                stopped.append(file.parent)
    return stopped


def _stop(file: Path) -> None:
    state = json.loads(file.read_text())
    for process in state["processes"]:
        _end_process(int(process["pid"]), int(process["started"]))
    for name in state["namespaces"]:
        path = Path(name)
        if path.exists():  # in a sandbox they ended with the last process
            with contextlib.suppress(OSError):
                syscalls.unmount(name, syscalls.MNT_DETACH)
            path.unlink(missing_ok=True)
    shutil.rmtree(file.parent)


def _end_process(pid: int, started: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _start_time(pid) != started:  # somebody else's by now
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], _GRACE_SECONDS)[0]:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _start_time(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot (proc(5)), 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])
