"""What tests need from the machine, and the lab that they run in.

The markers `root`, `interop` and `vm` say what a test needs. Where that is missing the test is
skipped with the reason. In continuous integration (environment variable CI is `true`) nothing may
be missing: there every skip, whatever its cause, fails. Examples that Hypothesis draws are the same
in every run there, and new ones in each run elsewhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from ipsecme.lab import requirements
from ipsecme.lab.network import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

_NEEDS: dict[str, tuple[Callable[[], str | None], ...]] = {
    "root": (requirements.missing_privileges,),
    "interop": (requirements.missing_privileges, requirements.missing_strongswan),
    "vm": (requirements.missing_vm,),
}
_failed = pytest.StashKey[bool]()
_IS_CI = os.environ.get("CI") == "true"

# Machines that others use too are slow at times: no property depends on the time it takes.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("local"), derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if _IS_CI else "local")


def require(*questions: Callable[[], str | None]) -> None:
    """Skip for the first requirement that is missing."""
    for question in questions:
        if reason := question():
            pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, questions in _NEEDS.items():
        if item.get_closest_marker(marker):
            require(*questions)


@pytest.fixture
def _tun() -> None:
    require(requirements.missing_tun)


@pytest.fixture
def _nftables() -> None:
    require(requirements.missing_nftables)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _IS_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in continuous integration, where nothing may be: {reason}"
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """An empty lab that keeps its logs when the test fails."""
    node: pytest.Item = request.node
    with Lab(node.name) as made:
        yield made
        made.failed = node.stash.get(_failed, False)
