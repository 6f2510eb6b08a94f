"""What is wrong with a configuration, in words: where it stands and what to write instead.

Turns the findings of pydantic into complaints. No complaint ever shows a value that may be secret:
values are quoted by the checks of `schema` alone, none of which sees a secret.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import ConfigError
from ipsecme.daemon.schema import (
    ChildTable,
    ConnectionTable,
    DaemonTable,
    File,
    RetransmissionTable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from ipsecme.daemon.lines import LineFinder

__all__ = ["Complaint", "ConfigurationRejected", "complaints_of"]


class Complaint(NamedTuple):
    """One thing that is wrong: file, line (None when unknown), dotted path of the key, text."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigurationRejected(ConfigError):
    """The file cannot be used; `complaints` are all the reasons, and the message lists them."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(map(str, self.complaints)))


def complaints_of(error: ValidationError, file: str, lines: LineFinder) -> list[Complaint]:
    """Return one complaint for each finding, in the order of the file."""
    found = []
    for detail in error.errors(include_url=False, include_input=False):
        parts = [part for part in detail["loc"] if part != "[key]"]
        names = tuple(part for part in parts if isinstance(part, str))
        found.append(Complaint(file, lines.line(names), _dotted(parts), _words(detail)))
    return sorted(found, key=lambda complaint: complaint.line or 0)


def _dotted(parts: list[str | int]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_WORDS = {
    "missing": "is missing",
    "string_type": "expected a text in quotes",
    "path_type": "expected a file name in quotes",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "list_type": 'expected a list in brackets, such as ["10.1.0.0/24"]',
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "too_short": "the list is empty; leave the key out or fill the list",
    "too_long": "the list has more than {max_length} entries",
    "literal_error": "expected one of {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_pattern_mismatch": "up to 15 letters, digits, '_', '.' and '-' make an interface name",
}


def _words(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(detail["loc"])
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    words = _WORDS.get(kind)
    return words.format(**context) if words else detail["msg"]


def _unknown_key(location: tuple[int | str, ...]) -> str:
    key, known = str(location[-1]), list(_table(location[:-1]).model_fields)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"unknown key; did you mean {close[0]!r}?"
    if len(location) == 1:
        return f"unknown key; a connection is written [connections.{key}]"
    return f"unknown key; known are {', '.join(known)}"


def _table(location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model of the table at a location."""
    match location:
        case ("daemon",):
            return DaemonTable
        case ("connections", _):
            return ConnectionTable
        case ("connections", _, "retransmission"):
            return RetransmissionTable
        case ("connections", _, "children", _):
            return ChildTable
        case _:
            return File
