"""Files that only their owner may read, replaced as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from ipsecme.base import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_folder", "read_file", "require_absent", "write_new", "write_over"]


def make_folder(path: Path) -> None:
    """Make a folder of mode 0700 unless it is there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}") from None


def read_file(path: Path) -> bytes:
    """Return the contents of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def require_absent(path: Path) -> None:
    """Raise `ConfigError` for a file that is there: keys are never replaced."""
    if path.exists():
        raise ConfigError(f"{path} exists already; choose another name or remove it")


def write_new(path: Path, content: bytes) -> None:
    """Write a file of mode 0600; one that is there already is never replaced."""
    require_absent(path)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(number, "wb") as file:
        file.write(content)


def write_over(path: Path, content: bytes) -> None:
    """Put a file of mode 0600 in the place of another, so that no reader sees half of it."""
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(number, "wb") as file:
            file.write(content)
        os.replace(name, path)  # noqa: PTH105 - the name came from mkstemp
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
