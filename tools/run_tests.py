"""Run the checks and tests in groups, the quick ones first, and say what each took.

``python tools/run_tests.py [--only GROUP]``. All groups run even when one fails; the exit status is
that of the first that failed. The last line counts the tests of all groups. What cannot run on this
machine is skipped and listed with its reason; when the environment says CI=true it fails instead.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

NO_TESTS = 5  # pytest's exit status when it found none: an error here

LINT = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "--quiet", "."),
    ("mypy",),
)
PYTEST = {
    "quick": ("-m", "not root and not interop and not vm and not mutation", "-n", "2"),
    "mutations": ("-m", "mutation", "-n", "2"),
    "root": ("-m", "root and not interop and not vm", "-n", "2"),
    "interop": ("-m", "interop and not vm", "-n", "2"),
    "vm": ("-m", "vm"),
}


@dataclass
class Outcome:
    """What came of all groups so far."""

    status: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, status: int) -> None:
        """Keep the first exit status that is not zero."""
        self.status = self.status or status


def main() -> int:
    """Run the groups that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["lint", *PYTEST])
    only = parser.parse_args().only
    outcome = Outcome()
    for name in ("lint", *PYTEST):
        if only not in (None, name):
            continue
        print(f"\n=== {name} ===", flush=True)
        start = time.monotonic()
        if name == "lint":
            outcome.note(lint())
        else:
            run_group(name, outcome)
        outcome.seconds[name] = time.monotonic() - start
    report(outcome)
    return outcome.status


def lint() -> int:
    """Run the linters; return the first exit status that is not zero."""
    status = 0
    for module, *arguments in LINT:
        result = call("-m", module, *arguments)
        status = status or result
    return status


def run_group(name: str, outcome: Outcome) -> None:
    """Run one call of pytest and read its report."""
    with TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        status = call("-bb", "-m", "pytest", "-q", *PYTEST[name], f"--junit-xml={results}")
        if status == NO_TESTS:
            print(f"no tests in group {name}", flush=True)
        outcome.note(status)
        if results.exists():
            read_results(results, outcome)


def call(*arguments: str) -> int:
    """Run Python with these arguments from the top of the project."""
    top = Path(__file__).resolve().parent.parent
    return subprocess.run([sys.executable, *arguments], cwd=top, check=False).returncode


def read_results(results: Path, outcome: Outcome) -> None:
    """Add the tests of a JUnit report to the counts."""
    for case in ET.parse(results).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None:
            outcome.counts["skipped"] += 1
            reason = re.sub(r"^Skipped: ", "", skipped.get("message", ""))
            outcome.skipped.append(f"{case.get('classname')}::{case.get('name')}: {reason}")
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.counts["failed"] += 1
        else:
            outcome.counts["passed"] += 1


def report(outcome: Outcome) -> None:
    """Say what was skipped, what each group took, and the sums."""
    if outcome.skipped:
        print("\nCould not run here:")
        for line in outcome.skipped:
            print(f"  {line}")
        if os.environ.get("CI") == "true":
            print("In continuous integration nothing may be skipped.")
            outcome.note(1)
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    print(f"\n{spent}; {sum(outcome.seconds.values()):.0f} s in all")
    if outcome.status:
        print(f"failed with exit status {outcome.status}")
    counts = outcome.counts
    line = f"{counts['passed']} passed, {counts['failed']} failed"
    print(f"{line}, {counts['skipped']} skipped" if counts["skipped"] else line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
