"""What tests need from the machine, and the lab that they run in.

The markers `root`, `interop` and `vm` say what a test needs. Where that is missing the test is
skipped with the reason, except in continuous integration (environment variable CI is `true`):
there nothing may be missing, and the test fails.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

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


def require(*questions: Callable[[], str | None]) -> None:
    """Skip, or in continuous integration fail, for the first requirement that is missing."""
    for question in questions:
        if reason := question():
            if os.environ.get("CI") == "true":
                pytest.fail(f"missing in continuous integration: {reason}", pytrace=False)
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
