"""The stage of the demonstration: two hosts, two daemons, and what both must agree on.

Owns what the steps of `demo` share: starting and stopping, waiting until both daemons report the
same, and a rekey that is followed until traffic uses the new SA.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
from typing import TYPE_CHECKING, Final

from ipsecme.lab.demo_checks import Agreement, agreement, packets
from ipsecme.lab.demo_gateway import Gateway
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.lab.network import Lab

__all__ = ["Stage"]

_FOLLOWING_PACKETS: Final = 20  # seen on a new SA before the next step


class Stage:
    """The hosts `west` and `east` with a daemon each, not started yet.

    `keys` is where west logs its keys. `complaints` are told what goes wrong at the end. With
    `is_apart` the daemons do not share their secret.
    """

    def __init__(
        self, lab: Lab, complaints: list[str], *, keys: Path | None, is_apart: bool
    ) -> None:
        west, east = two_sites(lab)
        shared = Tunnel(psk=secrets.token_urlsafe(32))
        other = Tunnel(psk=secrets.token_urlsafe(32))
        self.west = Gateway(west, shared, remote=east, keys=keys)
        self.east = Gateway(east, other if is_apart else shared, remote=west)
        self.near = west.host, west.inner[0]
        self.far = east.host, east.inner[0]
        self._complaints = complaints
        for gateway in (self.east, self.west):
            lab.at_end(functools.partial(self._stop, gateway))

    def start(self) -> None:
        """Start both daemons and wait until they answer."""
        for gateway in (self.east, self.west):
            gateway.start()
        for gateway in (self.east, self.west):
            gateway.wait_ready()

    def agreed(self, what: str) -> Agreement:
        """Return the SAs that both daemons report, waiting until they report the same."""

        def look() -> Agreement | None:
            with contextlib.suppress(StepFailed):
                return agreement(self.west.status(), self.east.status())
            return None

        wait_until(look, what, explain=self._disagreement)
        return agreement(self.west.status(), self.east.status())

    def rekey(self, by: Gateway, *, ike: bool) -> None:
        """Replace an SA, see that both ends use the new one, and let traffic pass through it."""
        old = self.agreed("the same SAs at both ends")
        by.rekey(ike=ike)
        new = self.agreed("the same new SAs at both ends")
        is_new = new.ike_spis != old.ike_spis, new.child_spis != old.child_spis
        if is_new != (ike, not ike):
            raise StepFailed("a rekey replaced other SAs than it should")
        self.follow()

    def follow(self) -> None:
        """Wait until traffic has gone both ways since now."""
        before = packets(self.west.status())

        def passed() -> bool:
            now = packets(self.west.status())
            return min(b - a for a, b in zip(before, now, strict=True)) >= _FOLLOWING_PACKETS

        wait_until(passed, "traffic in both directions")

    def _disagreement(self) -> str:
        try:
            agreement(self.west.status(), self.east.status())
        except StepFailed as error:
            return str(error)
        return ""

    def _stop(self, gateway: Gateway) -> None:
        if status := gateway.stop():
            self._complaints.append(f"the daemon of {gateway.name} ended with status {status}")
