"""Options that several commands have, and where the control socket is looked for."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ipsecme.control import default_control_path

__all__ = [
    "DEFAULT_CONFIG",
    "Child",
    "Config",
    "Control",
    "Json",
    "Name",
    "Settings",
    "Timeout",
    "config_path",
    "control_path",
]

DEFAULT_CONFIG = Path("/etc/ipsecme/ipsecme.toml")

Control = Annotated[
    Path | None,
    typer.Option("--control", metavar="PATH", help="The daemon's control socket."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The configuration file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The connection.")]
Child = Annotated[
    str | None, typer.Option("--child", metavar="CHILD", help="Only this Child SA of it.")
]
Timeout = Annotated[
    float, typer.Option("--timeout", "-t", metavar="SECONDS", min=0, help="How long to wait.")
]


@dataclass(slots=True)
class Settings:
    """What was given before the command, for all of them."""

    control: Path | None = None
    config: Path | None = None
    debug: bool = False


def config_path(context: typer.Context, own: Path | None) -> Path:
    """Return the configuration file: the command's own option, the common one, or the default."""
    return own or _settings(context).config or DEFAULT_CONFIG


def control_path(context: typer.Context, own: Path | None) -> Path:
    """Return the control socket to use.

    An option decides, then IPSECME_CONTROL, then ``control`` in the configuration file if that can
    be read, then the rule that the daemon follows too.
    """
    settings = _settings(context)
    if chosen := own or settings.control:
        return chosen
    default = Path(default_control_path(os.environ, os.geteuid()))
    if os.environ.get("IPSECME_CONTROL"):
        return default
    return _configured(settings.config or DEFAULT_CONFIG) or default


def _configured(config: Path) -> Path | None:
    """Return what the file says, unless it is not there or not good; `check` tells about that."""
    try:
        table = tomllib.loads(config.read_text()).get("daemon", {})
        text = table.get("control")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(text) if isinstance(text, str) and text else None


def _settings(context: typer.Context) -> Settings:
    found = context.find_object(Settings)
    return found if found is not None else Settings()
