"""Tests that are bound to a requirement notice when it is violated.

The faults are in ``requirements/mutations.toml``; ``tools/mutations.py`` tries them.
"""

from __future__ import annotations

import pytest
from tools import mutations
from tools.requirements import markers

pytestmark = pytest.mark.mutation

FAULTS = mutations.mutations()
BOUND = markers()


def test_without_a_fault_the_tests_pass() -> None:
    rows = tuple({row for fault in FAULTS for row in fault.rows})
    assert mutations.failures(mutations.tests_of(rows, BOUND), None) == ({}, "")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_the_fault_is_noticed(fault: mutations.Mutation) -> None:
    verdict = mutations.judge(fault, BOUND)
    assert verdict.is_noticed, mutations.explain(verdict)
