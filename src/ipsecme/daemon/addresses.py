"""AddressWatch: tells when this host's addresses or routes change (rtnetlink), and what they are.

What follows for the SAs the engine decides (RFC 4555). Changes come in bursts, so it waits a moment
and then looks at everything anew; announcements themselves are not read.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from ipsecme.daemon.log import log
from ipsecme.dataplane.user.netlink import Netlink

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ipsecme.dataplane.user.settings import UserSettings

__all__ = ["AddressWatch", "source_towards"]

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""Links; IPv4 addresses and routes; IPv6 addresses and routes (linux/rtnetlink.h)."""

_SETTLE_SECONDS = 0.1
_SO_MARK = 36
_ANY_PORT = 4500
_WILDCARDS = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - compared with, not bound to


class AddressWatch:
    """Calls `on_change` with all addresses that may be used, at the start and after each change.

    Left out are those of interfaces that are switched off, those of the tunnel's own device, and
    those that the daemon does not listen on.
    """

    def __init__(self, settings: UserSettings, on_change: Callable[[Sequence[str]], None]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._netlink: Netlink | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell for the first time, and begin to watch."""
        try:
            self._netlink = Netlink(_GROUPS)
        except OSError as error:
            log.warning(
                "addresses_not_watched",
                msg=f"no netlink socket ({error.strerror}); tunnels will not follow when this "
                "host's addresses change",
            )
            return
        loop.add_reader(self._netlink.socket, self._on_readable, loop)
        self._look()

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._netlink is not None:
            loop.remove_reader(self._netlink.socket)
            self._netlink.close()
            self._netlink = None

    def _on_readable(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._netlink is None:
            return
        self._netlink.drain()
        if self._timer is None:
            self._timer = loop.call_later(_SETTLE_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            found = self._addresses()
        except OSError as error:
            log.warning(
                "addresses_not_read",
                msg=f"the kernel does not tell the host's addresses ({error.strerror})",
            )
            return
        self._on_change(found)

    def _addresses(self) -> list[str]:
        """Ask by a socket of its own: announcements may come between the answers."""
        asking = Netlink()
        try:
            links, packed = asking.links_up(), asking.interface_addresses()
        finally:
            asking.close()
        usable = {index for index, name in links.items() if name != self._settings.tun_name}
        found = [ipaddress.ip_address(octets) for index, octets in packed if index in usable]
        listen = self._settings.listen
        return [
            str(address)
            for address in found
            if str(address) in listen or _WILDCARDS[address.version] in listen
        ]


def source_towards(remote: str, mark: int) -> str | None:
    """Return the address that marked packets to `remote` leave from, or None without a route.

    Connecting a UDP socket looks that up and sends nothing.
    """
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if mark:
                probe.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            probe.connect((remote, _ANY_PORT))
            return str(ipaddress.ip_address(probe.getsockname()[0]))
    except OSError:
        return None
