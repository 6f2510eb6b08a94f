"""Breaking the demonstration on purpose, to see that it notices.

Each kind needs a different check to catch it: the handshake, echo requests, the count of probes,
the capture of the link, or the daemons themselves.
"""

from __future__ import annotations

import enum
import socket
import time
from typing import TYPE_CHECKING, Final

from ipsecme.lab import netlink

if TYPE_CHECKING:
    from ipsecme.lab.demo_gateway import Gateway

__all__ = ["Sabotage", "break_before_traffic", "break_during_rekeys"]

_OUTAGE_SECONDS: Final = 0.3
_DISCARD_PORT: Final = 9


class Sabotage(enum.StrEnum):
    """What is broken."""

    PSK = "psk"  # the daemons do not share their secret
    LINK = "link"  # the link goes down once the tunnel is up, and stays down
    OUTAGE = "outage"  # the link goes down for a moment while probes are under way
    LEAK = "leak"  # something crosses the link in clear
    DAEMON = "daemon"  # one daemon dies


def break_before_traffic(kind: Sabotage | None, west: Gateway, east: Gateway) -> None:
    """Do what is to be done once the tunnel is up."""
    if kind is Sabotage.LINK:
        _set_link(west, up=False)
    elif kind is Sabotage.LEAK:
        _leak(west, east)
    elif kind is Sabotage.DAEMON and east.process is not None:
        east.process.kill()


def break_during_rekeys(kind: Sabotage | None, west: Gateway) -> None:
    """Do what is to be done while probes are under way."""
    if kind is Sabotage.OUTAGE:
        _set_link(west, up=False)
        time.sleep(_OUTAGE_SECONDS)
        _set_link(west, up=True)


def _set_link(gateway: Gateway, *, up: bool) -> None:
    outside = gateway.site.outside
    netlink.set_link(outside.host.namespace, outside.name, up=up)


def _leak(west: Gateway, east: Gateway) -> None:
    """Send a datagram from the inner network of west by the link instead of the tunnel."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((west.site.inner[0], 0))
            sender.sendto(b"in clear", (east.site.address, _DISCARD_PORT))

    west.site.host.call(send)
