"""The kept corpus of the fuzz targets holds its promises still."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.fuzzing import TARGETS

CORPUS = Path(__file__).resolve().parents[3] / "fuzz" / "corpus"


@pytest.mark.requirement("PAR-12")
@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        TARGETS[name](path.read_bytes())
