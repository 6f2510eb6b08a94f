"""The demonstration for people: a line for each step, then a table of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ipsecme.cli.amounts import duration
from ipsecme.cli.plain import plain_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from rich.status import Status

    from ipsecme.lab.demo import Progress
    from ipsecme.lab.demo_kept import Hint
    from ipsecme.lab.demo_report import DemoReport

__all__ = ["Narrator", "show_hints", "show_report"]

_MARK_WIDTH = 8
_TITLE_WIDTH = 42
_TIME_WIDTH = 8


class Narrator:
    """Tells each step as it ends; on a terminal also what is being done."""

    def __init__(self) -> None:
        self._console = _console()
        self._spinner: Status | None = None
        self._running = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_step("FAILED", "bold red")

    def __call__(self, progress: Progress) -> None:
        """Take the news of a step."""
        if progress.seconds is not None:
            self._end_step("ok", "green", duration(progress.seconds))
            return
        self._end_step("FAILED", "bold red")  # a step that did not end well says no more
        self._running = progress.title
        if self._console.is_terminal:
            self._spinner = self._console.status(f"{progress.title} ...")
            self._spinner.start()

    def _end_step(self, mark: str, style: str, after: str = "") -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
        title, self._running = self._running, ""
        if title:
            line = Text().append(mark.ljust(_MARK_WIDTH), style=style)
            line.append(title.ljust(_TITLE_WIDTH))
            line.append(after.rjust(_TIME_WIDTH), style="dim").rstrip()
            self._console.print(line, soft_wrap=True)


def show_report(report: DemoReport) -> None:
    """Print what happened and what was wrong."""
    console = _console()
    verdict = "The tunnel works" if report.ok else "The tunnel does not work as it must"
    table = Table(
        title=f"{verdict} ({duration(report.seconds)})",
        title_style="bold green" if report.ok else "bold red",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, what in report.facts.items():
        table.add_row(name, Text(plain_lines(what)))
    console.print()
    console.print(table)
    for problem in report.problems:
        line = Text().append("problem  ", style="bold red").append(plain_lines(problem))
        console.print(line, soft_wrap=True)


def show_hints(title: str, hints: Iterable[Hint]) -> None:
    """Print commands to copy, each on a line of its own and never broken."""
    console = _console()
    console.print()
    console.print(Text(f"{title}:", style="bold"))
    for hint in hints:
        console.print(Text(f"  # {hint.purpose}", style="dim"), soft_wrap=True)
        console.print(Text(f"  {hint.command}"), soft_wrap=True)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
