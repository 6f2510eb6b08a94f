"""Cleaning up after labs whose program was killed before it could.

    python -m ipsecme.lab.abandoned            list what they left
    python -m ipsecme.lab.abandoned --remove   and end it

Owns the command alone. Only namespaces whose maker has ended are touched, with the processes in
them.
"""

from __future__ import annotations

import argparse
import sys

from ipsecme.lab.namespace import abandoned_namespaces, remove_abandoned

__all__ = ["main"]


def main() -> None:
    """List what is abandoned, or remove it."""
    parser = argparse.ArgumentParser(
        prog="python -m ipsecme.lab.abandoned",
        description="List network namespaces left by labs whose program was killed.",
    )
    parser.add_argument("--remove", action="store_true", help="end them and what runs in them")
    is_removing = parser.parse_args().remove
    for name in abandoned_namespaces():
        killed = remove_abandoned(name) if is_removing else []
        note = f" (killed: {', '.join(map(str, killed))})" if killed else ""
        sys.stdout.write(f"{name}{note}\n")


if __name__ == "__main__":
    main()
