"""A virtual machine with a kernel that has ESP, whatever the host's kernel has.

Owns booting it with virtme-ng, running one script in it as root, and bringing the result back.
The guest sees the files of the host; what it writes is lost when it ends, so results are printed.
Without hardware virtualisation everything in there is ten to twenty times slower: measure no
times.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipsecme.lab.errors import LabUnavailable, StepFailed
from ipsecme.lab.wait import PATIENCE_VARIABLE

__all__ = ["KVM_VARIABLE", "VmResult", "missing", "run"]

KVM_VARIABLE: Final = "IPSECME_LAB_KVM"

_QEMU: Final = "qemu-system-x86_64"
_MODULES: Final = "esp4 esp6 xfrm_user xfrm_interface tun veth nf_tables af_packet"
_PATIENCE: Final = 10  # for emulation is about as much slower
_STATUS: Final = "ipsecme-vm-status:"


@dataclass(frozen=True, slots=True)
class VmResult:
    """What a script printed in the machine, both streams together, and its exit status."""

    output: str
    status: int


def missing() -> str | None:
    """Say what keeps the machine from booting, or return None."""
    if not _kernels():
        return "no kernel image in /boot: run 'tools/install_peers --vm' as root"
    if not shutil.which(_QEMU):
        return f"{_QEMU} is not installed: run 'tools/install_peers --vm' as root"
    if not _vng():
        return "virtme-ng is not installed: 'pip install --group vm' in the project's environment"
    return None


def run(script: str, *, seconds: float = 300.0, memory: str = "2G") -> VmResult:
    """Boot, run `script` with bash as root in the current folder, and power off.

    Modules for ESP, XFRM, TUN and veth are loaded before. Raises `LabUnavailable` when the machine
    cannot boot, `StepFailed` when it is not done within `seconds` or died before the script ended.
    KVM is used only if the environment variable IPSECME_LAB_KVM is 1: where it is offered it does
    not always work.
    """
    if reason := missing():
        raise LabUnavailable(reason)
    with tempfile.TemporaryDirectory(prefix="ipsecme-vm-") as folder:
        file = Path(folder) / "script.sh"
        file.write_text(_wrap(script))
        output = _boot(["bash", str(file)], seconds, memory)
    return _result(output)


def _wrap(script: str) -> str:
    # The status is printed, because not every version of virtme-ng hands it on.
    lines = (
        "exec 2>&1",
        f"export {PATIENCE_VARIABLE}={_PATIENCE}",
        f"modprobe -a {_MODULES} || exit",
        f"(\n{script}\n)",
        f"printf '\\n{_STATUS} %d\\n' $?",
    )
    return "\n".join(lines) + "\n"


def _boot(argv: list[str], seconds: float, memory: str) -> str:
    vng = Path(_vng() or "")
    options = ["-r", _kernels()[-1], "--cpus", "2", "--memory", memory, "--user", "root"]
    if os.environ.get(KVM_VARIABLE) != "1":
        options.append("--disable-kvm")
    child = subprocess.Popen(  # noqa: S603 - the arguments are a list, no shell of ours reads them
        [sys.executable, str(vng), *options, "--", shlex.join(argv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # vng calls the programs beside it by name
        env={**os.environ, "PATH": f"{vng.parent}:{os.environ.get('PATH', os.defpath)}"},
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        os.killpg(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
        raise StepFailed(
            f"the virtual machine was not done after {seconds:g} s\n{_text(output)}"
        ) from error
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise
    return _text(output)


def _result(output: str) -> VmResult:
    found = re.search(rf"\n?^{_STATUS} (\d+)$", output, re.MULTILINE)
    if not found:
        raise StepFailed(f"the virtual machine ended before its script\n{output}")
    return VmResult(output[: found.start()], int(found.group(1)))


def _text(output: bytes) -> str:
    return output.decode(errors="replace").replace("\r\n", "\n")


def _kernels() -> list[str]:
    """Return the kernel images of the distribution, the newest last."""
    return sorted(map(str, Path("/boot").glob("vmlinuz-*")), key=_version)


def _version(path: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", path)]


def _vng() -> str | None:
    beside = Path(sys.executable).with_name("vng")
    return str(beside) if beside.exists() else shutil.which("vng")
