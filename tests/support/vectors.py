"""Known answers in text files: blocks of `name = value`, with the source in a comment."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_vectors"]

_FOLDER = Path(__file__).parents[1] / "vectors"


def read_vectors(name: str) -> list[dict[str, str]]:
    """Return the blocks of a file."""
    blocks = (_FOLDER / name).read_text().split("\n\n")
    read = [
        dict(line.split(" = ", 1) for line in block.splitlines() if line[:1] not in {"#", ""})
        for block in blocks
    ]
    return [fields for fields in read if fields]
