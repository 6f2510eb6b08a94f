"""The table of requirements tells the truth."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

TOP = Path(__file__).resolve().parents[2]
# Documents of which no row may be missing.
FINISHED = frozenset({"ipsecme-2009", "past-mistakes", "rfc4806"})

# Rows of the other documents that nothing shows yet; one a line, and each goes when a test comes.
KNOWN_AS_MISSING = """
R7296-116
R7296-117
R7296-118
R7296-119
R7296-120
R7296-121
R7296-227
"""


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements", TOP / "tools/requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["requirements"] = module
    spec.loader.exec_module(module)
    return module


def test_markers_and_reasons_name_rows_that_exist() -> None:
    module = tool()
    rows = {name for document in module.documents().values() for name in document.rows}
    assert set(module.markers()) <= rows
    reasons = tomllib.loads((TOP / "requirements/not_applicable.toml").read_text())
    assert set(reasons) <= rows
    assert all(len(reason) > 20 for reason in reasons.values())


def test_the_table_in_docs_is_up_to_date() -> None:
    module = tool()
    written = (TOP / "docs/coverage.md").read_text()
    assert written == module.table(module.documents()), "run tools/requirements.py --write"


def test_finished_documents_miss_no_row() -> None:
    missing = missing_rows()
    assert set(missing) >= FINISHED
    for name in FINISHED:
        assert not missing[name], f"write a test for each, or say why none can show it ({name})"


def test_no_other_row_is_missing_than_is_known() -> None:
    missing = {row for rows in missing_rows().values() for row in rows}
    known = set(KNOWN_AS_MISSING.split())
    assert not missing - known, "no test is bound to these rows any more"
    assert not known - missing, "these rows are shown now: take them out of KNOWN_AS_MISSING"


def missing_rows() -> dict[str, list[str]]:
    """Return the rows of each document that are neither shown nor without application."""
    return {
        name: [row.name for row in document.rows.values() if row.state == "missing"]
        for name, document in tool().documents().items()
    }
