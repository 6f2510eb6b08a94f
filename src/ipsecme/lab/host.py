"""A host of the lab: a network namespace, its network configuration, and the programs on it.

Owns one host. Which hosts there are, how they are linked and when they end belongs to `network`.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from ipsecme.lab import netlink
from ipsecme.lab.errors import LabUnavailable, StepFailed
from ipsecme.lab.namespace import Namespace
from ipsecme.lab.process import Process
from ipsecme.lab.wait import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Host", "Interface"]

_Result = TypeVar("_Result")


class Host:
    """A namespace with its loopback up; `folder` takes configuration and logs of its programs."""

    def __init__(self, name: str, folder: Path) -> None:
        """Create the namespace; raises `LabUnavailable` where the system does not allow it."""
        self.name = name
        self.folder = folder
        self.programs: list[Process] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.namespace = Namespace(name)
        # Link-local addresses need not wait for duplicates either; where /proc/sys is read-only
        # they do, and the lab does not use them.
        with contextlib.suppress(OSError):
            self.set_parameter("net/ipv6/conf/default/accept_dad", 0)
        netlink.set_link(self.namespace, "lo", up=True)

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Run `function` in the namespace (see `Namespace.call`)."""
        return self.namespace.call(function)

    def add_address(self, interface: str, address: str) -> None:
        """Give `interface` an address with its prefix length, such as `192.0.2.1/24`."""
        netlink.add_address(self.namespace, interface, address)

    def add_route(self, destination: str, via: str) -> None:
        """Route a prefix, or `default`, to the gateway `via`."""
        netlink.add_route(self.namespace, destination, via)

    def forward(self) -> None:
        """Make the host a router for IPv4 and IPv6."""
        self.set_parameter("net/ipv4/ip_forward", 1)
        self.set_parameter("net/ipv6/conf/all/forwarding", 1)

    def set_parameter(self, name: str, value: int) -> None:
        """Write a parameter of the namespace under /proc/sys, such as `net/ipv4/ip_forward`."""
        path = Path("/proc/sys") / name
        self.call(lambda: path.write_text(f"{value}\n"))

    def interfaces(self) -> list[str]:
        """Return the names of all interfaces."""
        return netlink.interface_names(self.namespace)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        private_run: bool = False,
    ) -> Process:
        """Start a program; its output is appended to `NAME.log` in the folder of the host."""
        process = Process(
            self.namespace,
            f"{name} on {self.name}",
            argv,
            log=self.folder / f"{name}.log",
            environment=environment,
            private_run=private_run,
        )
        self.programs.append(process)
        return process

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program to its end and return what it printed, its error output left out.

        Raises `StepFailed` with all that it printed when it fails or takes longer than `seconds`,
        and `LabUnavailable` when it is not installed.
        """
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            try:
                child = self.namespace.spawn(
                    argv, output=output, errors=errors, environment=environment
                )
            except FileNotFoundError as error:
                raise LabUnavailable(f"{argv[0]} is not installed") from error
            outcome = _wait(child, patience(seconds))
            printed, complaint = _text(output), _text(errors)
        if outcome:
            raise StepFailed(
                f"on {self.name}: {' '.join(argv)}: {outcome}\n{complaint}{printed}".rstrip()
            )
        return printed

    def delete(self) -> None:
        """Remove the namespace, and with it every interface."""
        self.namespace.delete()


class Interface(NamedTuple):
    """One interface of a host."""

    host: Host
    name: str


def _wait(child: subprocess.Popen[bytes], seconds: float) -> str:
    """Wait for the child and return why it failed, or nothing."""
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"not finished after {seconds:g} s"
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return f"exit status {status}" if status else ""


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
