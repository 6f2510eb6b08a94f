"""Waiting for something to become true, with an end to the patience.

On a machine that is many times slower than others, such as an emulated one, the environment
variable IPSECME_LAB_PATIENCE multiplies every limit.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, TypeVar

from ipsecme.lab.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PATIENCE_VARIABLE", "patience", "wait_until"]

PATIENCE_VARIABLE: Final = "IPSECME_LAB_PATIENCE"

_INTERVAL_SECONDS: Final = 0.05
_Result = TypeVar("_Result")


def patience(seconds: float) -> float:
    """Return how long to wait on this machine for what takes at most `seconds` elsewhere."""
    return seconds * float(os.environ.get(PATIENCE_VARIABLE) or 1)


def wait_until(
    condition: Callable[[], _Result],
    what: str,
    *,
    seconds: float = 20.0,
    explain: Callable[[], str] = str,
) -> _Result:
    """Call `condition` until it returns something true, and return that.

    `what` completes the sentence "waited for ..."; `explain` is called once, after `seconds` in
    vain, and its text ends the message of the `StepFailed` raised then.
    """
    seconds = patience(seconds)
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise StepFailed(f"waited {seconds:g} s in vain for {what}\n{explain()}".rstrip())
        time.sleep(_INTERVAL_SECONDS)
