"""Which requirement is shown by which test: ``python tools/requirements.py [--json] [--write]``.

The rows are in ``requirements/*.md``. A test names the rows that it shows with
``@pytest.mark.requirement("R7296-001")``; rows that do not apply are in ``not_applicable.toml``
with the reason. Prints per document how many rows there are, are shown, do not apply and are
missing. ``--write`` renews ``docs/coverage.md``; ``tests/repo/test_requirements.py`` fails when
that is not up to date, when a marker names a row that does not exist, and when a row of a finished
document is missing.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| (\S+) \| ([^|]+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)


@dataclass
class Row:
    """One requirement and the tests that show it."""

    name: str
    section: str
    level: str
    text: str
    tests: list[str] = field(default_factory=list)
    not_applicable: str = ""

    @property
    def state(self) -> str:
        """``shown``, ``not applicable`` or ``missing``."""
        if self.tests:
            return "shown"
        return "not applicable" if self.not_applicable else "missing"


@dataclass
class Document:
    """The rows of one file; its title is the file's first line."""

    title: str
    rows: dict[str, Row]

    def count(self, state: str) -> int:
        """Return how many rows are in a state."""
        return sum(row.state == state for row in self.rows.values())


def documents() -> dict[str, Document]:
    """Read all rows, the tests that show them, and what does not apply."""
    found = {}
    for path in sorted((TOP / "requirements").glob("*.md")):
        text = path.read_text()
        rows = {
            name: Row(name, section.strip(), level.strip(), words)
            for name, section, level, words in ROW.findall(text)
            if name not in ("row", "---")
        }
        found[path.stem] = Document(text.splitlines()[0].lstrip("# "), rows)
    reasons = tomllib.loads((TOP / "requirements" / "not_applicable.toml").read_text())
    shown = markers()
    for document in found.values():
        for name, row in document.rows.items():
            row.tests = sorted(shown.get(name, []))
            row.not_applicable = reasons.get(name, "")
    return found


def markers() -> dict[str, list[str]]:
    """Return the tests by the row that they show."""
    found: dict[str, list[str]] = {}
    for path in sorted((TOP / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for name in marked_rows(node):
                    test = f"{path.relative_to(TOP / 'tests')}::{node.name}"
                    found.setdefault(name, []).append(test)
    return found


def marked_rows(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the arguments of the `requirement` markers of a test."""
    names = []
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
            "mark.requirement"
        ):
            names += [ast.literal_eval(argument) for argument in decorator.args]
    return names


def table(found: dict[str, Document]) -> str:
    """Return docs/coverage.md."""
    lines = [
        "# Coverage of requirements",
        "",
        "Made by `python tools/requirements.py --write`. The rows are in `requirements/`.",
        "",
        "| document | rows | shown | not applicable | missing |",
        "|---|---:|---:|---:|---:|",
    ]
    states = ("shown", "not applicable", "missing")
    for document in found.values():
        counts = " | ".join(str(document.count(state)) for state in states)
        lines.append(f"| {document.title} | {len(document.rows)} | {counts} |")
    for document in found.values():
        lines += ["", f"## {document.title}", "", "| row | section | level | shown by |"]
        lines.append("|---|---|---|---|")
        lines += [line(row) for row in document.rows.values()]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    """Return the line of one row."""
    if row.tests:
        shown = "<br>".join(f"`{test}`" for test in row.tests)
    else:
        shown = f"not applicable: {row.not_applicable}" if row.not_applicable else "**missing**"
    return f"| {row.name} | {row.section} | {row.level} | {shown} |"


def main() -> int:
    """Print the sums; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="renew docs/coverage.md")
    arguments = parser.parse_args()
    found = documents()
    if arguments.write:
        (TOP / "docs" / "coverage.md").write_text(table(found))
    sums = {
        name: {
            "rows": len(document.rows),
            "shown": document.count("shown"),
            "not_applicable": document.count("not applicable"),
            "missing": [row.name for row in document.rows.values() if row.state == "missing"],
        }
        for name, document in found.items()
    }
    if arguments.json:
        print(json.dumps(sums, indent=2))
        return 0
    for name, document in found.items():
        missing = [row.name for row in document.rows.values() if row.state == "missing"]
        print(
            f"{name}: {len(document.rows)} rows, {document.count('shown')} shown, "
            f"{document.count('not applicable')} not applicable, {len(missing)} missing"
        )
        if missing:
            print("  missing:", " ".join(missing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
