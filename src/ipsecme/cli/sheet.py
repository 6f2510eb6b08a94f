"""Printing labelled values: wrapped under themselves on a terminal, one line each in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ipsecme.cli.plain import plain

__all__ = ["Sheet"]

_LABEL_WIDTH = 11  # the longest label is "last heard"
_NARROWEST = 24


class Sheet:
    """Prints to standard output; colours and wrapping are for terminals alone."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, markup=False, emoji=False)

    def head(self, text: Text, indent: int = 0) -> None:
        """Print a heading."""
        self._print(Text(" " * indent), text, indent + 2)

    def row(self, label: str, value: Text | str, indent: int = 2, style: str = "dim") -> None:
        """Print a value with its label; nothing for an empty value."""
        text = Text(plain(value)) if isinstance(value, str) else value
        if text:
            start = Text(" " * indent).append(label.ljust(_LABEL_WIDTH), style=style)
            self._print(start, text, indent + _LABEL_WIDTH)

    def gap(self) -> None:
        """Print an empty line."""
        self._write(Text())

    def _print(self, start: Text, text: Text, hang: int) -> None:
        if not self.console.is_terminal:
            self._write(start + text)
            return
        width = max(self.console.width - hang, _NARROWEST)
        for number, line in enumerate(text.wrap(self.console, width)):
            line.rstrip()
            self._write((start if number == 0 else Text(" " * hang)) + line)

    def _write(self, line: Text) -> None:
        line.rstrip()
        self.console.print(line, soft_wrap=True)
