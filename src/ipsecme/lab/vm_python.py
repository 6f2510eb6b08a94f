"""Python programs in the virtual machine.

Owns taking the interpreter's library, this package and what it depends on along in one archive: the
guest reads the files of the host slowly, several milliseconds for each one it looks at, and Python
looks at thousands before it starts.
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import ipsecme
from ipsecme.lab import vm

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run_program"]

_NOT_NEEDED: Final = frozenset(
    {"site-packages", "dist-packages", "test", "idlelib", "tkinter", "ensurepip", "lib2to3"}
    | {"turtledemo", "pydoc_data"}
)
_PLACE: Final = "/run/ipsecme-python"


def run_program(program: Path, *, seconds: float = 600.0) -> vm.VmResult:
    """Run a Python program that uses this package in the machine (see `vm.run`)."""
    with tempfile.TemporaryDirectory(prefix="ipsecme-vm-") as folder:
        archive = Path(folder) / "python.tar"
        covered = _pack(archive)
        script = [f"mkdir {_PLACE}", f"tar -C {_PLACE} -xf {shlex.quote(str(archive))}"]
        for path in covered:
            quoted = shlex.quote(str(path))
            script.append(f"mount --bind {_PLACE}{quoted} {quoted}")
        script.append(shlex.join([sys.executable, str(program)]))
        return vm.run(" &&\n".join(script), seconds=seconds)


def _pack(archive: Path) -> list[Path]:
    """Write the archive and return the folders that it is to cover in the guest."""
    library = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    own = Path(ipsecme.__file__).parent
    with tarfile.open(archive, "w") as tar:
        for entry in library.iterdir():
            if entry.name not in _NOT_NEEDED and not entry.name.startswith("config-"):
                tar.add(entry)
        for entry in _needed_packages(packages):
            tar.add(entry)
        tar.add(own)
    # The library may hold the packages: what lies inside is covered after what is around it.
    return sorted({library, packages, own})


def _needed_packages(packages: Path) -> Iterator[Path]:
    """Yield the files that make this package's dependencies, and what makes it importable."""
    yield from packages.glob("*.pth")
    yield from packages.glob("ipsecme-*.dist-info")
    wanted, seen = ["ipsecme"], {"ipsecme"}
    while wanted:
        for name in _requirements(wanted.pop()) - seen:
            seen.add(name)
            wanted.append(name)
            tops = {file.parts[0] for file in importlib.metadata.files(name) or ()}
            tops -= {"..", "__pycache__"}  # programs, and what belongs to other packages too
            yield from (packages / top for top in tops if (packages / top).exists())


def _requirements(name: str) -> set[str]:
    """Return the installed distributions that one needs, optional extras left out."""
    found = set()
    for requirement in importlib.metadata.requires(name) or ():
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match is None or "extra ==" in requirement:
            continue
        try:
            importlib.metadata.distribution(match[0])
        except importlib.metadata.PackageNotFoundError:  # for other platforms or versions
            continue
        found.add(match[0])
    return found
