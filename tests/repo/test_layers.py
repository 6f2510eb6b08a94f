"""The shape of the source: arrows point down, pure folders do no I/O, and a few things never
appear.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2] / "src" / "ipsecme"

LAYERS = {  # folder: folders that it may import
    "base": set(),
    "wire": {"base"},
    "control": {"base"},
    "crypto": {"base", "wire"},
    "api": {"base", "control"},
    "policy": {"base", "wire", "crypto"},
    "esp": {"base", "wire", "crypto", "policy"},
    "ike": {"base", "wire", "crypto", "policy"},
    "dataplane": {"base", "wire", "crypto", "policy", "esp"},
    "daemon": {"base", "wire", "crypto", "policy", "esp", "ike", "dataplane", "control"},
    "lab": {"base", "wire", "control", "api"},
    "cli": {"base", "control", "api", "daemon", "lab"},
}
IO = {"socket", "asyncio", "select", "selectors", "threading", "time", "subprocess", "ssl", "os"}
PURE = {"base", "wire", "crypto", "policy", "esp", "ike", "control"}
FORBIDDEN_CALLS = {"eval", "exec", "system", "popen"}
MODULES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in MODULES]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_arrows_point_down(path: Path) -> None:
    here = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text())
    for name in imported(tree):
        parts = name.split(".")
        if parts[0] == "ipsecme" and len(parts) > 1 and here in LAYERS:
            folder = parts[1]
            is_folder = folder in LAYERS
            assert not is_folder or folder == here or folder in LAYERS[here], name
        if here in PURE:
            assert parts[0] not in IO, f"{here} is pure and imports {name}"


def test_every_folder_has_its_row() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_some_things_never_appear(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it owns"
    assert len(text.splitlines()) <= 600
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    assert "pickle" not in set(imported(tree))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), "asserts vanish with -O"
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert name not in FORBIDDEN_CALLS, name
            shell = [k for k in node.keywords if k.arg == "shell"]
            assert not shell, "no shell: argument lists only"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f"{node.name} has {lines} lines"


def test_secrets_are_revealed_only_where_keys_are_used() -> None:
    allowed = {"base", "crypto", "esp", "ike", "dataplane", "daemon"}
    for path in MODULES:
        if ".reveal()" in path.read_text():
            assert path.relative_to(ROOT).parts[0] in allowed, path
