"""Where in a TOML text a key stands, which `tomllib` does not tell.

A light scan, not a parser: it runs after `tomllib` accepted the text, and a place that it cannot
find costs a line number and nothing else. Inline tables count as their line.
"""

from __future__ import annotations

import re

__all__ = ["LineFinder"]

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]\s*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")

Key = tuple[str, ...]


class LineFinder:
    """The line numbers, from 1, of the tables and keys of one text."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        table: Key = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.fullmatch(line):
                table = _split(header[1])
                self._remember(table, number)
            elif assignment := _ASSIGNMENT.match(line):
                self._remember(table + _split(assignment[1]), number)

    def _remember(self, key: Key, number: int) -> None:
        for depth in range(1, len(key) + 1):
            self._lines.setdefault(key[:depth], number)

    def line(self, key: Key) -> int | None:
        """Return the line of a key, or of the closest table around it that has one."""
        for depth in range(len(key), 0, -1):
            if number := self._lines.get(key[:depth]):
                return number
        return None


def _split(dotted: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
