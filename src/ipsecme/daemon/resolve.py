"""What the host knows of names, routes and its own addresses, asked once when a file is loaded."""

from __future__ import annotations

import ipaddress
import socket
from typing import Protocol

from ipsecme.base import ConfigError

__all__ = ["Resolver", "SystemResolver"]

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Resolver(Protocol):
    """Answers about the network; addresses are texts in canonical form."""

    def address(self, name: str, version: int | None) -> str:
        """Return the address of a host; of IP version 4 or 6 if given, or raise `ConfigError`."""
        ...

    def source(self, remote: str, port: int) -> str:
        """Return the local address that packets to `remote` leave from, or raise `ConfigError`."""
        ...

    def is_local(self, address: str) -> bool:
        """Tell whether the host has an address now."""
        ...


class SystemResolver:
    """Asks the operating system. A name lookup may take as long as its resolver waits."""

    def address(self, name: str, version: int | None) -> str:
        """Return the first address that the system's resolver gives."""
        family = socket.AF_UNSPEC if version is None else _FAMILIES[version]
        try:
            found = socket.getaddrinfo(name, None, family, socket.SOCK_DGRAM)
        except (OSError, ValueError) as error:  # ValueError: not even a name
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            raise ConfigError(
                f"the name {name!r} cannot be resolved ({reason}); "
                "write the address, or see to the name service"
            ) from None
        return str(ipaddress.ip_address(found[0][4][0]))

    def source(self, remote: str, port: int) -> str:
        """Connect a UDP socket, which sends nothing, and see what it is bound to."""
        family = _FAMILIES[ipaddress.ip_address(remote).version]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote, port))
            except OSError as error:
                raise ConfigError(
                    f"no way to {remote} ({error.strerror}); set local to the address to use, "
                    "or add a route"
                ) from None
            return str(ipaddress.ip_address(probe.getsockname()[0]))

    def is_local(self, address: str) -> bool:
        """Bind a UDP socket to the address, on no particular port."""
        family = _FAMILIES[ipaddress.ip_address(address).version]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
        return True
