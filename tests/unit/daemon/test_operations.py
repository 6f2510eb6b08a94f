"""Whose failure ends whose wait."""

from __future__ import annotations

import asyncio

import pytest

from ipsecme.daemon import operations
from ipsecme.ike.events import ChildSaClosed, Event, IkeSaClosed

OLD = IkeSaClosed("site", "0ld", "deleted", "the peer did not answer the Delete")
GONE = ChildSaClosed("site", "net", "0ld", 0x1000, "ike_sa_closed")
REKEYED = ChildSaClosed("site", "net", "0ld", 0x1000, "rekeyed")


@pytest.mark.parametrize(
    ("missing", "ike_spi", "event", "ends"),
    [
        ({("replaced", 0x2000)}, None, OLD, False),  # a rekeying of something else goes on
        ({("gone", "new")}, None, OLD, False),  # so does the end of another IKE SA
        ({("replaced", "0ld")}, None, OLD, True),  # what was to be replaced is no more
        ({("replaced", 0x1000)}, None, GONE, True),
        ({("replaced", 0x2000)}, None, GONE, False),
        ({("gone", 0x2000)}, None, REKEYED, False),
        ({("up", "net")}, "0ld", OLD, True),  # the IKE SA that is being brought up failed
        ({("up", "net")}, "", OLD, True),
        ({("up", "net")}, "new", OLD, False),
    ],
)
def test_only_what_somebody_waits_for_ends_the_wait(
    missing: set[operations.Step], ike_spi: str | None, event: Event, ends: bool
) -> None:
    async def told() -> bool:
        wait = operations._Wait("site", missing)
        wait.ike_spi = ike_spi
        operations._tell_failure(wait, event)
        return wait.done.done()

    assert asyncio.run(told()) == ends
