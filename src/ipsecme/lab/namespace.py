"""Named network namespaces, and doing things inside them.

Owns creation, entry and removal of namespaces under /run/netns, where `ip netns` sees them too. A
thread that lives for one call enters the namespace: sockets and children made by that call stay
in it, while the rest of the program never leaves its own. Interfaces and addresses belong to
`network`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeVar

from ipsecme.lab import syscalls
from ipsecme.lab.errors import LabUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Namespace", "abandoned_namespaces", "in_new_thread", "remove_abandoned"]

DIRECTORY: Final = Path("/run/netns")
_PREFIX: Final = "ipsecme-"

_numbers: Final = itertools.count(1)
_Result = TypeVar("_Result")


class Namespace:
    """One network namespace, named `ipsecme-PID-NUMBER-LABEL` and kept until `delete`."""

    def __init__(self, label: str) -> None:
        """Create the namespace; raises `LabUnavailable` where the system does not allow it."""
        self.name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}-{label}"
        self.path = DIRECTORY / self.name
        try:
            self._descriptor = in_new_thread(self._create)
        except PermissionError as error:
            raise LabUnavailable(
                f"network namespaces cannot be made ({error}): run as root, "
                "or through 'python -m ipsecme.lab.sandbox COMMAND'"
            ) from error

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Run `function` inside the namespace and return what it returns, or raise what it raises.

        It runs in a thread of its own; sockets that it opens remain in the namespace wherever
        they are used afterwards.
        """

        def enter_and_call() -> _Result:
            syscalls.setns(self._descriptor, syscalls.CLONE_NEWNET)
            return function()

        return in_new_thread(enter_and_call)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        output: IO[bytes],
        errors: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        private_run: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a program in the namespace, in a session of its own.

        What it prints goes to `output`, its errors to `errors` or else to `output` too.

        `private_run` gives it an empty /run that no other program sees, so that two daemons that
        insist on the same files there live side by side.
        """

        def start() -> subprocess.Popen[bytes]:
            if private_run:
                _make_run_private()
            return subprocess.Popen(  # noqa: S603 - the arguments are a list, no shell reads them
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if errors is None else errors,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )

        return self.call(start)

    def processes(self) -> list[int]:
        """Return the pids of all processes that live in the namespace."""
        return _processes_in(self.path)

    def delete(self) -> None:
        """Remove the name; the kernel ends the namespace with its last process or socket."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        _remove(self.path)

    def _create(self) -> int:
        _share_directory()
        syscalls.unshare(syscalls.CLONE_NEWNET)
        source = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        self.path.touch(exist_ok=False)
        try:
            syscalls.mount(source, str(self.path), flags=syscalls.MS_BIND)
        except OSError:
            self.path.unlink()
            raise
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)


def in_new_thread(function: Callable[[], _Result]) -> _Result:
    """Run `function` in a thread that ends with it, so that what it changes of itself ends too."""
    results: list[_Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            failures.append(error)

    thread = threading.Thread(target=run, name="ipsecme-lab")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def abandoned_namespaces() -> list[str]:
    """Return the names of namespaces whose maker has ended without deleting them."""
    return [name for name, pid in _names() if not Path(f"/proc/{pid}").exists()]


def remove_abandoned(name: str) -> list[int]:
    """Remove such a namespace and kill the processes in it; return their pids."""
    path = DIRECTORY / name
    killed = _processes_in(path)
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _remove(path)
    return killed


def _names() -> Iterator[tuple[str, int]]:
    if not DIRECTORY.is_dir():
        return
    for path in sorted(DIRECTORY.glob(f"{_PREFIX}*-*-*")):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal():
            yield path.name, int(pid)


def _processes_in(path: Path) -> list[int]:
    wanted = path.stat()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or not ours to look at
            own = (entry / "ns/net").stat()
            if (own.st_dev, own.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry.name))
    return found


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # not mounted (any more): the file alone is to go
        syscalls.unmount(str(path), syscalls.MNT_DETACH)
    path.unlink(missing_ok=True)


def _share_directory() -> None:
    """Make /run/netns a shared mount, as `ip netns` does.

    Otherwise the first `ip netns add` of another program would cover the names that are there,
    and they could never be unmounted.
    """
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    where = str(DIRECTORY)
    flags = syscalls.MS_SHARED | syscalls.MS_REC
    lock = os.open(DIRECTORY, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            syscalls.mount("none", where, flags=flags)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            syscalls.mount(where, where, flags=syscalls.MS_BIND | syscalls.MS_REC)
            syscalls.mount("none", where, flags=flags)
    finally:
        os.close(lock)


def _make_run_private() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    # Slave, not private: a namespace deleted outside must not live on as a mount in here.
    syscalls.mount("none", "/", flags=syscalls.MS_SLAVE | syscalls.MS_REC)
    syscalls.mount("tmpfs", "/run", "tmpfs", data="mode=755")
