"""Pre-shared keys: where they are kept, how they are written, and when they are too weak.

A connection names its key itself, a file, or an environment variable. The text stands for its
octets in UTF-8 with nothing added (RFC 7296, section 2.15); ``0x`` introduces hexadecimal digits.
An attacker who poses as the responder can test guesses at leisure, so weak keys are refused
(section 5).
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from ipsecme.base import ConfigError, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ipsecme.daemon.schema import ConnectionTable

__all__ = ["MINIMUM_OCTETS", "load_psk", "weakness"]

MINIMUM_OCTETS = 8
_ADVISED_OCTETS = 20
_FILE_OCTETS = 4096
_ADVICE = "make one with: head -c 32 /dev/urandom | base64"


def load_psk(table: ConnectionTable, folder: Path, environment: Mapping[str, str]) -> Secret:
    """Return the key of a connection. Names of files are relative to `folder`.

    Raises `ConfigError` for a key that is not there, that everybody may read, or that is too weak.
    """
    if table.psk is not None:
        text = table.psk.get_secret_value()
    elif table.psk_file is not None:
        text = _read(folder / table.psk_file)
    else:
        text = environment.get(table.psk_env or "", "")
        if not text:
            raise ConfigError(f"the environment variable {table.psk_env} is not set or empty")
    octets = _octets(text)
    if len(octets) < MINIMUM_OCTETS:
        raise ConfigError(
            f"the pre-shared key has fewer than {MINIMUM_OCTETS} octets and could be guessed; "
            f"{_ADVICE}"
        )
    if len(set(octets)) < 4:
        raise ConfigError(
            f"the pre-shared key repeats a few characters and could be guessed; {_ADVICE}"
        )
    return Secret(octets)


def weakness(secret: Secret) -> str | None:
    """Return a warning about an accepted key that had better be stronger, or None."""
    octets = secret.reveal()
    if len(octets) < _ADVISED_OCTETS or len(set(octets)) < 8:
        return (
            f"the pre-shared key is short for its purpose ({_ADVISED_OCTETS} random octets or "
            f"more are advised); {_ADVICE}"
        )
    return None


def _octets(text: str) -> bytes:
    if not text.startswith(("0x", "0X")):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise ConfigError(
            "the pre-shared key begins with 0x, which introduces hexadecimal digits, two for "
            "each octet, and something else follows"
        ) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            if stat.S_IMODE(mode) & 0o007:
                raise ConfigError(f"everybody may read {path}; protect it with: chmod 600 {path}")
            content = file.read(_FILE_OCTETS + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _FILE_OCTETS:
        raise ConfigError(f"{path} holds more than {_FILE_OCTETS} octets; expected one key")
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text; write the key as 0x and hexadecimal") from None
