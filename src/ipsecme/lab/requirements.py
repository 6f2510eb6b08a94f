"""What a machine must offer for each part of the lab, and how to say that it does not.

Owns the questions only: each function returns None, or a sentence that tells what is missing and
what to do about it.
"""

from __future__ import annotations

import os
import shutil

from ipsecme.lab import strongswan, vm
from ipsecme.lab.errors import LabUnavailable
from ipsecme.lab.sandbox import has_privileges

__all__ = [
    "missing_nftables",
    "missing_privileges",
    "missing_strongswan",
    "missing_tun",
    "missing_vm",
]

_TUN: str = "/dev/net/tun"


def missing_privileges() -> str | None:
    """Say why no namespaces can be made."""
    if has_privileges():
        return None
    return "no network namespaces: run as root, or with 'python -m ipsecme.lab.sandbox COMMAND'"


def missing_tun() -> str | None:
    """Say why no TUN device can be made."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return (
            f"no TUN devices ({_TUN}: {error.strerror}): 'modprobe tun' as root, "
            f"and in a container '--device {_TUN}'"
        )
    return None


def missing_strongswan() -> str | None:
    """Say why strongSwan cannot run."""
    try:
        strongswan.program("charon-systemd")
        strongswan.program("swanctl")
    except LabUnavailable as error:
        return str(error)
    return missing_tun()


def missing_nftables() -> str | None:
    """Say why no router can translate addresses or lose packets."""
    if shutil.which("nft", path=strongswan.SEARCH_PATH):
        return None
    return "nft is not installed: run tools/install_peers as root"


def missing_vm() -> str | None:
    """Say why no virtual machine can boot."""
    return vm.missing()
