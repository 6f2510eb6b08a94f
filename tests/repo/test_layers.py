"""The shape of the source: arrows point down, pure folders do no I/O, and a few things never
appear.
"""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2] / "src" / "ipsecme"

LAYERS: dict[str, set[str]] = {  # folder: folders that it may import
    "base": set(),
    "wire": {"base"},
    "control": {"base"},
    "crypto": {"base", "wire"},
    "api": {"base", "control"},
    "pki": {"base", "wire", "crypto"},
    "policy": {"base", "wire", "crypto"},
    "esp": {"base", "wire", "crypto", "policy"},
    "ike": {"base", "wire", "crypto", "policy"},
    "dataplane": {"base", "wire", "crypto", "policy", "esp"},
    "daemon": {"base", "wire", "crypto", "policy", "esp", "ike", "dataplane", "control"},
    "lab": {"base", "wire", "control", "api"},
    "cli": {"base", "control", "api", "daemon", "lab", "pki"},
}
PURE = {"base", "wire", "crypto", "policy", "esp", "ike", "control"}
# What pure folders may import besides ipsecme: nothing that opens, waits, or asks what time it is.
PURE_IMPORTS = {
    "__future__",
    "bisect",
    "collections",
    "contextlib",
    "cryptography",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "math",
    "operator",
    "pydantic",
    "re",
    "struct",
    "types",
    "typing",
    "urllib.parse",
    "warnings",
}
RANDOMNESS = {"base/rng.py": "secrets"}  # the one way to the system's generator
DECRYPTING = {
    "crypto/cipher.py",
    "crypto/protection.py",
    "esp/transform_mac.py",
}
CLOCKS = {"now", "today", "utcnow", "monotonic", "perf_counter", "time_ns"}
FORBIDDEN_CALLS = {"eval", "exec", "system", "popen"}
MODULES = sorted(ROOT.rglob("*.py"))
PURE_MODULES = [path for path in MODULES if path.relative_to(ROOT).parts[0] in PURE]
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


@pytest.mark.parametrize("path", PURE_MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_folders_neither_do_io_nor_read_clocks(path: Path) -> None:
    tree = ast.parse(path.read_text())
    allowed = PURE_IMPORTS | {"ipsecme", RANDOMNESS.get(str(path.relative_to(ROOT)), "ipsecme")}
    for name in imported(tree):
        within = {name.split(".")[0], ".".join(name.split(".")[:2])}
        assert within & allowed, f"{name} is not known to be pure"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCKS, f"line {node.lineno}: time is an argument here"


def test_the_layers_have_an_order() -> None:
    order = list(graphlib.TopologicalSorter(LAYERS).static_order())
    assert order[0] == "base"


def test_every_folder_has_its_row() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(LAYERS)


@pytest.mark.requirement("PAR-02")
@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_some_things_never_appear(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it owns"
    lines = len(text.splitlines())
    assert lines <= 600, f"{lines} lines are more than one reads at a time; split it"
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


@pytest.mark.requirement("AUT-11")
def test_nothing_is_decrypted_but_messages_and_packets() -> None:
    """No private key ever decrypts; one that does for IKEv1 can be made to sign for IKEv2."""
    found = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("decrypt", "decryptor")
    }
    assert found <= DECRYPTING
