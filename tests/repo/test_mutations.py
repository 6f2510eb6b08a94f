"""The list of faults fits the source; what the tests make of each is in ``tests/mutations``."""

from __future__ import annotations

from collections import Counter

from tools import mutations
from tools.requirements import documents, markers

FAULTS = mutations.mutations()
BOUND = markers()
ROWS = tuple(sorted({row for fault in FAULTS for row in fault.rows}))


def test_the_list_fits_the_source_and_the_rows() -> None:
    rotten = [f"{fault.name}: {why}" for fault in FAULTS if (why := fault.rotten())]
    assert not rotten, "write the text as it is now into requirements/mutations.toml"
    known = {name for document in documents().values() for name in document.rows}
    assert set(ROWS) <= known
    assert set(ROWS) <= set(BOUND)
    assert all(fault.old != fault.new for fault in FAULTS)
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1


def test_the_list_is_not_shortened() -> None:
    assert len(FAULTS) >= 100
    assert len({fault.file for fault in FAULTS}) >= 35
    assert len(ROWS) >= 90
