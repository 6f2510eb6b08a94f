"""Whether the tests of a requirement notice when it is broken: ``python tools/mutations.py``.

``requirements/mutations.toml`` lists small faults, each with the rows of ``requirements/*.md``
that it violates. Each is put into a copy of ``src``, and the tests that are bound to its rows run
against that copy: for every row at least one has to fail, and because of what it checks, not
because the copy is broken. The tests that are used have to pass on a copy without a fault.

``python tools/mutations.py [--jobs N] [WORD ...]`` tries those whose name, file or row contains one
of the words, or all. Exit status: 0 when all are noticed, 1 when one is not, 2 when the list does
not fit the source any more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.requirements import TOP, markers

PACKAGE = Path("src") / "ipsecme"
LIST = TOP / "requirements" / "mutations.toml"
# Each copy is run in a process forked from one that has already loaded what all tests need.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("pytest", "hypothesis.stateful", "cryptography.x509", "rich.console"),
        *("aiohttp", "pydantic", "pyroute2", "structlog"),
    ]
)
_SECONDS = 120  # a copy whose tests take longer does not answer the question
# What a copy raises that is broken as a program rather than as an implementation of IKE.
_BROKEN = ("ImportError", "ModuleNotFoundError", "SyntaxError", "NameError", "UnboundLocalError")


@dataclass(frozen=True)
class Mutation:
    """A fault: `old`, which occurs once in `file`, becomes `new`."""

    name: str
    rows: tuple[str, ...]
    file: str
    old: str
    new: str

    def rotten(self) -> str:
        """Say why the fault cannot be put into the source any more, or nothing."""
        path = TOP / PACKAGE / self.file
        if not path.is_file():
            return f"{PACKAGE / self.file} does not exist"
        count = path.read_text().count(self.old)
        if count != 1:
            return f"its old text is {count} times in {PACKAGE / self.file}, not once"
        return ""

    def put_into(self, package: Path) -> None:
        """Put the fault into a copy of the package."""
        path = package / self.file
        text = path.read_text().replace(self.old, self.new)
        compile(text, str(path), "exec")
        path.write_text(text)
        for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            stale.unlink()


@dataclass
class Verdict:
    """What came of it: the tests that noticed by row, and the rows that nobody noticed."""

    mutation: Mutation
    noticed: dict[str, list[str]] = field(default_factory=dict)
    complaint: str = ""
    seconds: float = 0.0

    @property
    def missed(self) -> list[str]:
        """The rows whose tests all pass in spite of the fault."""
        return [row for row in self.mutation.rows if not self.noticed.get(row)]

    @property
    def is_noticed(self) -> bool:
        """True when a test of each row failed."""
        return not self.complaint and not self.missed


def mutations() -> list[Mutation]:
    """Read the list."""
    entries = tomllib.loads(LIST.read_text())["mutation"]
    return [Mutation(**{**entry, "rows": tuple(entry["rows"])}) for entry in entries]


def tests_of(rows: tuple[str, ...], bound: dict[str, list[str]]) -> list[str]:
    """Return the tests of some rows, as pytest takes them from the top of the project."""
    return sorted({f"tests/{test}" for row in rows for test in bound.get(row, [])})


def failures(tests: list[str], mutation: Mutation | None) -> tuple[dict[str, str], str]:
    """Run tests against a copy; return the reasons by test that failed, and what went wrong."""
    with TemporaryDirectory(prefix="ipsecme-mutation-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(TOP / "src", source)  # with the compiled files, which stay valid
        if mutation is not None:
            mutation.put_into(source / "ipsecme")
        results, output = Path(folder) / "results.xml", Path(folder) / "output"
        chosen = ["-q", "-p", "no:cacheprovider", "--tb=line", f"--junit-xml={results}"]
        chosen += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is preloaded
        chosen += ["-m", "not root and not interop and not vm", *tests]
        process = _FORKS.Process(target=run_pytest, args=(str(source), str(output), chosen))
        process.start()
        process.join(_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return {}, f"the tests take more than {_SECONDS} s"
        # The exit status of a process may be lost when several threads wait for theirs.
        status = Path(folder) / "status"
        if not status.exists() or status.read_text() not in ("0", "1"):
            said = output.read_text()[-2000:] if output.exists() else ""
            return {}, f"pytest ended early: {said}"
        return read_failures(results)


def run_pytest(source: str, output: str, arguments: list[str]) -> None:
    """Run tests in this process, which has imported nothing of ipsecme, and end it."""
    os.chdir(TOP)
    for name in [name for name in os.environ if name.startswith("PYTEST")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = source
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(Path(source).parent / "hypothesis")
    with Path(output).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if any(name.split(".")[0] == "ipsecme" for name in sys.modules):
        sys.exit("ipsecme is loaded already, so that the copy would not be tested")
    sys.path.insert(0, source)
    status = int(pytest.main(arguments))
    loaded = sys.modules.get("ipsecme.base")
    if loaded is not None and not str(loaded.__file__).startswith(source):
        sys.exit(f"the tests used {loaded.__file__} instead of the copy")
    (Path(source).parent / "status").write_text(str(status))


def read_failures(results: Path) -> tuple[dict[str, str], str]:
    """Read a JUnit report; what broke instead of failing is told apart."""
    failed: dict[str, str] = {}
    for case in ET.parse(results).iter("testcase"):
        test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        if case.find("error") is not None:
            return {}, f"{test} cannot run"
        failure = case.find("failure")
        if failure is None:
            continue
        reason = failure.get("message", "")
        if reason.startswith(_BROKEN):
            return {}, f"{test} breaks: {reason}"
        failed[test] = reason
    return failed, ""


def judge(mutation: Mutation, bound: dict[str, list[str]]) -> Verdict:
    """Try one fault."""
    verdict = Verdict(mutation)
    start = time.monotonic()
    unbound = [row for row in mutation.rows if not bound.get(row)]
    if problem := mutation.rotten():
        verdict.complaint = problem
    elif unbound:
        verdict.complaint = f"no test is bound to {', '.join(unbound)}"
    else:
        failed, verdict.complaint = failures(tests_of(mutation.rows, bound), mutation)
        names = {test.split("[")[0] for test in failed}
        for row in mutation.rows:
            verdict.noticed[row] = [t for t in bound[row] if f"tests/{t}" in names]
    verdict.seconds = time.monotonic() - start
    return verdict


def explain(verdict: Verdict) -> str:
    """Say what to do about a fault that was not noticed."""
    name = verdict.mutation.name
    if verdict.complaint:
        return f"{name!r} in {LIST.relative_to(TOP)}: {verdict.complaint}"
    tests = tests_of(tuple(verdict.missed), markers())
    return (
        f"{name!r} is not noticed by the tests of {', '.join(verdict.missed)}: strengthen one of "
        + ", ".join(tests)
    )


def line(verdict: Verdict) -> str:
    """Return the line of the table."""
    mutation = verdict.mutation
    state = "noticed" if verdict.is_noticed else "BROKEN " if verdict.complaint else "MISSED "
    tests = {test.split("::")[1] for tests in verdict.noticed.values() for test in tests}
    rows = " ".join(mutation.rows)
    return (
        f"{state}  {verdict.seconds:4.1f} s  {rows:31}  {mutation.name}  "
        f"({mutation.file}; {len(tests)} tests)"
    )


def chosen(words: list[str]) -> list[Mutation]:
    """Return the faults of which something contains one of the words."""
    texts = {m: f"{m.name} {m.file} {' '.join(m.rows)}".lower() for m in mutations()}
    return [m for m, text in texts.items() if not words or any(w.lower() in text for w in words)]


def main() -> int:
    """Try the faults, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    found, bound = chosen(arguments.words), markers()
    rows = tuple(row for mutation in found for row in mutation.rows)
    start = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        sound = pool.submit(failures, tests_of(rows, bound), None)
        verdicts = []
        for verdict in pool.map(lambda mutation: judge(mutation, bound), found):
            print(line(verdict), flush=True)
            verdicts.append(verdict)
        failed, complaint = sound.result()
    for test in failed:
        print(f"{test} fails without any fault")
    bad = [verdict for verdict in verdicts if not verdict.is_noticed]
    for verdict in bad:
        print(explain(verdict))
    print(f"{complaint}\n" if complaint else "", end="")
    noticed, seconds = len(verdicts) - len(bad), time.monotonic() - start
    files = len({mutation.file for mutation in found})
    print(
        f"{noticed} of {len(verdicts)} faults in {files} files and {len(set(rows))} rows noticed "
        f"in {seconds:.0f} s"
    )
    if complaint or any(verdict.complaint for verdict in bad):
        return 2
    return 1 if bad or failed else 0


if __name__ == "__main__":
    sys.exit(main())
