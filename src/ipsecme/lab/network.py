"""The lab itself: hosts and links that are there as long as its `with` block runs.

    with Lab("two hosts") as lab:
        west, east = lab.host("west"), lab.host("east")
        lab.link(west, east, ("192.0.2.1/24", "192.0.2.2/24"))

Owns the order of the end: whatever was started last ends first, then the namespaces go, then it
is checked that nothing survives. Logs are kept when something failed. Addresses and programs of
one host belong to `host`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ipsecme.lab import netlink
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.host import Host, Interface
from ipsecme.lab.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["LOGS_VARIABLE", "Lab"]

LOGS_VARIABLE: Final = "IPSECME_LAB_LOGS"

_numbers: Final = itertools.count(1)


class Lab:
    """Hosts, their links and everything that runs on them.

    `title` names the folder of the logs. After a failure the logs are copied into the folder that
    the environment variable IPSECME_LAB_LOGS names, or else left in the temporary `folder`;
    standard error tells where. Set `failed` when a failure is known that the `with` block does
    not see.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.folder = Path(tempfile.mkdtemp(prefix="ipsecme-lab-"))
        self.hosts: list[Host] = []
        self.failed = False
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.failed = self.failed or error is not None
        try:
            self.close()
        except StepFailed as left:
            self.failed = True
            if error is None:
                raise
            error.add_note(str(left))  # what went wrong first is what matters
        except BaseException:
            self.failed = True
            raise
        finally:
            self._keep_or_remove_logs()

    def host(self, name: str) -> Host:
        """Add a host."""
        host = Host(name, self.folder / name)
        self.hosts.append(host)
        return host

    def link(
        self,
        one: Host,
        other: Host,
        *addresses: tuple[str, str],
        mtu: int = 1500,
    ) -> tuple[Interface, Interface]:
        """Lay a cable between two hosts and return its two ends.

        Each pair of `addresses` is given to the two ends; both interfaces are up afterwards.
        Interfaces are called eth0, eth1, ... on each host.
        """
        names = [f"eth{len(host.interfaces()) - 1}" for host in (one, other)]
        netlink.make_veth(one.namespace, names[0], other.namespace, names[1], mtu=mtu)
        ends = Interface(one, names[0]), Interface(other, names[1])
        for end, own in zip(ends, zip(*addresses, strict=True), strict=False):
            for address in own:
                end.host.add_address(end.name, address)
        for end in ends:
            netlink.set_link(end.host.namespace, end.name, up=True)
        return ends

    def at_end(self, action: Callable[[], object]) -> None:
        """Have `action` called when the lab ends, before everything registered earlier."""
        self._ending.callback(action)

    def close(self) -> None:
        """End everything; raises `StepFailed` naming what did not end when it should."""
        survivors: list[str] = []
        try:
            self._ending.close()
        finally:
            for host in self.hosts:
                survivors += _end_survivors(host)
                host.delete()
            self.hosts.clear()
        if survivors:
            raise StepFailed(f"left running at the end of the lab: {', '.join(survivors)}")

    def _keep_or_remove_logs(self) -> None:
        if not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        place = self.folder
        if chosen := os.environ.get(LOGS_VARIABLE):
            label = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.title)
            wanted = Path(chosen) / f"{label}-{os.getpid()}-{next(_numbers)}"
            with contextlib.suppress(OSError):  # they stay where they are
                shutil.copytree(self.folder, wanted, ignore=_not_plain)
                shutil.rmtree(self.folder, ignore_errors=True)
                place = wanted
        sys.stderr.write(f"{self.title}: logs are kept in {place}\n")


def _end_survivors(host: Host) -> list[str]:
    """Kill what still runs on the host after its programs were stopped, and return what it was.

    Children of a daemon that has just ended are given a moment to notice.
    """
    with contextlib.suppress(StepFailed):
        wait_until(lambda: not host.namespace.processes(), "an idle host", seconds=3.0)
    survivors = []
    for pid in host.namespace.processes():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
            os.kill(pid, signal.SIGKILL)
            survivors.append(f"pid {pid} on {host.name} ({command.decode(errors='replace')})")
    for program in host.programs:
        program.wait_ended(5.0)
    return survivors


def _not_plain(folder: str, names: list[str]) -> list[str]:
    """Leave sockets and the like out of a copy."""
    paths = ((name, Path(folder) / name) for name in names)
    return [name for name, path in paths if not path.is_file() and not path.is_dir()]
