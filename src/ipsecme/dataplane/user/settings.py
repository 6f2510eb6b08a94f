"""What the packet process must know before it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ipsecme.base import ConfigError

__all__ = ["UserSettings"]

_MOST_INTERFACE_OCTETS = 15
_LEAST_MTU = 1280  # of a link that carries IPv6 (RFC 8200, section 5)
_MOST_MTU = 65000


@dataclass(slots=True, frozen=True)
class UserSettings:
    """Names and numbers of what the packet process makes in its network namespace.

    `listen` are the local addresses of its sockets. Outer packets carry `mark`; IKE datagrams sent
    by others must carry it too, or a tunnel that covers the peer's own address swallows them.
    `table` is the routing table for the tunnel, `rule_priority` and the two numbers after it are
    the places of the rules that lead there. Two daemons in one namespace need different values for
    all of these.
    """

    tun_name: str = "ipsec0"
    mtu: int = 1400
    listen: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - a gateway answers on all
    nat_port: int = 4500
    mark: int = 4500
    table: int = 4500
    rule_priority: int = 4500
    socket_buffer_octets: int = 4 << 20

    def __post_init__(self) -> None:
        name = self.tun_name.encode()
        if not 0 < len(name) <= _MOST_INTERFACE_OCTETS or b"/" in name or b"%" in name:
            raise ConfigError(f"{self.tun_name!r} is no interface name; use up to 15 letters")
        if not _LEAST_MTU <= self.mtu <= _MOST_MTU:
            raise ConfigError(f"a tunnel MTU of {self.mtu}; use {_LEAST_MTU} to {_MOST_MTU}")

    def to_json(self) -> str:
        """Return the settings as one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> UserSettings:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "listen": tuple(values["listen"])})
