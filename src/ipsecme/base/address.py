"""Where datagrams come from and go to.

Addresses travel as `ipaddress` text in configuration and as these values inside; a `Path` is what
an answer needs to leave by the way the question came (RFC 7296, section 2.11).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Path", "Transport", "packed_address"]


class Transport(NamedTuple):
    """One end of a path: IP address as text in canonical form, and UDP port."""

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Path(NamedTuple):
    """The two ends of a datagram's way, and whether it runs on the NAT traversal port.

    `encapsulated` means that the local port is the one where IKE carries a non-ESP marker and ESP
    travels inside UDP (RFC 3948); the marker itself is added and removed by whoever owns the
    socket.
    """

    local: Transport
    remote: Transport
    encapsulated: bool = False

    def __str__(self) -> str:
        return f"{self.local} to {self.remote}"


@lru_cache(maxsize=4096)
def packed_address(text: str) -> bytes:
    """Return the 4 or 16 octets of an address."""
    return ipaddress.ip_address(text).packed
