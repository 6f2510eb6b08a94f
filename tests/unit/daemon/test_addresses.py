"""What the daemon hears of this host's addresses, from the kernel of this machine."""

from __future__ import annotations

import asyncio
import socket

from ipsecme.daemon.addresses import AddressWatch, source_towards
from ipsecme.dataplane.user.settings import UserSettings

LOOPBACK = "127.0.0.1"


def watched(settings: UserSettings) -> list[list[str]]:
    """Return what a watch tells between its start and its end."""
    told: list[list[str]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        watch = AddressWatch(settings, lambda addresses: told.append(list(addresses)))
        watch.start(loop)
        watch.stop(loop)
        watch.stop(loop)

    asyncio.run(scenario())
    return told


def test_all_addresses_are_told_at_the_start() -> None:
    (addresses,) = watched(UserSettings())
    assert LOOPBACK in addresses
    assert len(set(addresses)) == len(addresses)


def test_only_addresses_that_the_daemon_listens_on_are_told() -> None:
    assert watched(UserSettings(listen=(LOOPBACK, "192.0.2.77"))) == [[LOOPBACK]]


def test_those_of_the_tunnel_itself_are_left_out() -> None:
    (addresses,) = watched(UserSettings(tun_name="lo"))
    assert LOOPBACK not in addresses


def test_a_route_lookup_names_the_source_or_nothing() -> None:
    assert source_towards("127.0.0.77", 0) == LOOPBACK
    assert source_towards("not an address", 0) is None
    assert socket.has_ipv6 is False or source_towards("::1", 0) in ("::1", None)
