"""The name servers that gateways have told of, in a file that a resolver may read.

It is in the form of resolv.conf, beside the control socket, and exists while there is something in
it. Nothing that belongs to others, such as /etc/resolv.conf, is touched; whoever wants these name
servers asked lets the host's resolver read the file.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ipsecme.daemon.log import log
from ipsecme.ike import events

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NameServers", "name_server_file"]


def name_server_file(control: Path) -> Path:
    """Return where the name servers stand of the daemon with this control socket."""
    return control.with_name(f"{control.stem}.resolv.conf")


class NameServers:
    """Reads the engine's events and keeps the file `path` up to date."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[str, tuple[str, ...]] = {}  # by the handle of the IKE SA

    def __call__(self, event: events.Event, now: float) -> None:
        """Read an event."""
        match event:
            case events.AddressesAssigned(ike_spi=spi, dns=dns) if dns:
                self._told[spi] = dns
            case events.IkeSaRekeyed(old_ike_spi=old, ike_spi=spi) if old in self._told:
                self._told[spi] = self._told.pop(old)
                return
            case events.IkeSaClosed(ike_spi=spi) if spi in self._told:
                del self._told[spi]
            case _:
                return
        self._write()

    def close(self) -> None:
        """Take the file away."""
        self._told.clear()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        servers = dict.fromkeys(address for told in self._told.values() for address in told)
        if not servers:
            self.close()
            return
        text = "".join(f"nameserver {address}\n" for address in servers)
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_text(text)
            new.chmod(0o644)
            new.replace(self._path)
        except OSError as error:
            log.warning(
                "name_servers_not_written", msg=f"{self._path}: {error.strerror}", servers=text
            )
