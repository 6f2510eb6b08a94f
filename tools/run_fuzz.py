"""Fuzz every target for a while: ``python tools/run_fuzz.py [--seconds 60] [TARGET ...]``.

New inputs that reach new code go to a folder below ``fuzz/found``; worthwhile ones are moved to
``fuzz/corpus`` by hand, which the tests replay. Ends with status 1 when a target broke a promise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TARGETS = ("message", "endpoint", "esp")


def main() -> int:
    """Run the targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("targets", nargs="*", default=TARGETS)
    arguments = parser.parse_args()
    status = 0
    for name in arguments.targets:
        found = TOP / "fuzz" / "found" / name
        found.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "fuzz/fuzz.py",
            name,
            str(found),
            str(TOP / "fuzz" / "corpus" / name),
            f"-max_total_time={arguments.seconds}",
            "-max_len=1500",
            "-print_final_stats=1",
            f"-artifact_prefix={found}/",
        ]
        status |= subprocess.run(command, cwd=TOP, check=False).returncode
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
