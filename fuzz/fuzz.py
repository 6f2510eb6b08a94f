"""Coverage-guided fuzzing with atheris: ``python fuzz/fuzz.py TARGET CORPUS [libFuzzer options]``.

The targets and what must hold are in ``tests/support/fuzzing.py``. ``make fuzz SECONDS=60`` runs
all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ipsecme"]):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from support.fuzzing import TARGETS


def main() -> None:
    """Fuzz the target that the first argument names."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
