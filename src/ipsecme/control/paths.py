"""Where the control socket is by default; one rule for daemon and client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["default_control_path"]

_NAME = "control.sock"


def default_control_path(environment: Mapping[str, str], uid: int) -> str:
    """Return the path for a user.

    IPSECME_CONTROL decides if it is set; then RUNTIME_DIRECTORY, which systemd sets; root has its
    place below /run, others below XDG_RUNTIME_DIR or, failing that, their own directory in
    /run/user.
    """
    if chosen := environment.get("IPSECME_CONTROL"):
        return chosen
    if runtime := environment.get("RUNTIME_DIRECTORY"):
        return f"{runtime.split(':')[0]}/{_NAME}"
    if uid == 0:
        return f"/run/ipsecme/{_NAME}"
    return f"{environment.get('XDG_RUNTIME_DIR') or f'/run/user/{uid}'}/ipsecme/{_NAME}"
