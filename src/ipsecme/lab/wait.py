"""Waiting for something to become true, with an end to the patience."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from ipsecme.lab.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["wait_until"]

_INTERVAL_SECONDS: Final = 0.05
_Result = TypeVar("_Result")


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
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise StepFailed(f"waited {seconds:g} s in vain for {what}\n{explain()}".rstrip())
        time.sleep(_INTERVAL_SECONDS)
