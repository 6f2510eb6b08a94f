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
FINISHED: frozenset[str] = frozenset()  # documents of which no row may be missing


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
    for name, document in tool().documents().items():
        if name in FINISHED:
            assert document.count("missing") == 0
