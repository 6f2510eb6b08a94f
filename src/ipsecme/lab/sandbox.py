"""Namespaces for people who are not root: the current program again, as root of a user namespace.

Owns the step from an ordinary user to a place where hosts of the lab can be made: new user, mount
and network namespaces with an empty /run. As a program it runs any command there:

    python -m ipsecme.lab.sandbox COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from ipsecme.lab import syscalls
from ipsecme.lab.errors import LabUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ensure_privileges", "has_privileges"]

_CAP_NET_ADMIN: Final = 12
_CAP_NET_RAW: Final = 13
_CAP_SYS_ADMIN: Final = 21
_NEEDED: Final = (1 << _CAP_NET_ADMIN) | (1 << _CAP_NET_RAW) | (1 << _CAP_SYS_ADMIN)

_INSIDE_VARIABLE: Final = "IPSECME_LAB_SANDBOX"

# Parameters that forbid user namespaces, the value that does, and the remedy.
_OBSTACLES: Final = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
)


def ensure_privileges() -> None:
    """Return if this program may make namespaces; otherwise start it again so that it may.

    The second start has the same arguments. Raises `LabUnavailable` where the system allows
    neither; the message says what to allow.
    """
    if has_privileges():
        return
    if os.environ.get(_INSIDE_VARIABLE):
        raise LabUnavailable(_refusal("the new namespaces give no privileges"))
    _enter_user_namespace()
    _replace_program([sys.executable, *sys.orig_argv[1:]])


def has_privileges() -> bool:
    """Tell whether this process may make network namespaces, interfaces and raw sockets."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16) & _NEEDED == _NEEDED
    return False


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        syscalls.mount("none", "/", flags=syscalls.MS_PRIVATE | syscalls.MS_REC)
        syscalls.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    except OSError as error:
        if error.errno == errno.EINVAL:  # the kernel moves no process that has several threads
            _replace_program(
                [sys.executable, "-m", __spec__.name, sys.executable, *sys.orig_argv[1:]]
            )
        raise LabUnavailable(_refusal(str(error))) from error


def _replace_program(argv: Sequence[str]) -> NoReturn:
    os.execvpe(argv[0], list(argv), {**os.environ, _INSIDE_VARIABLE: "1"})  # noqa: S606


def _refusal(reason: str) -> str:
    remedies = [f"'{remedy}'" for name, value, remedy in _OBSTACLES if _parameter(name) == value]
    advice = (
        f"allow it with {' and '.join(remedies)} (as root)"
        if remedies
        else "in a container start it with --privileged, elsewhere see whether a security module "
        "or seccomp forbids unshare(2)"
    )
    return (
        f"hosts in network namespaces need root or user namespaces, and neither is to be had here "
        f"({reason}): run as root, or {advice}"
    )


def _parameter(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None


def _main() -> NoReturn:
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: python -m ipsecme.lab.sandbox COMMAND [ARGUMENT...]")
    try:
        if not has_privileges():
            _enter_user_namespace()
        _replace_program(command)
    except LabUnavailable as error:
        sys.exit(f"ipsecme.lab.sandbox: {error}")
    except OSError as error:
        sys.exit(f"ipsecme.lab.sandbox: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()
