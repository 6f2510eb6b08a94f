"""What the lab can ask of any IKE daemon, and how a tunnel between two of them is described.

Owns the description and the verbs; `strongswan` and `ipsecme` carry them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ipsecme.lab.host import Host, Interface

__all__ = ["ChildSaView", "Credential", "IkeSaView", "Peer", "Site", "Tunnel"]


@dataclass(frozen=True, slots=True)
class Site:
    """A host at the edge of a site, with what it protects.

    `address` is its own outer address, `reachable_as` what the other site must call it: None when
    it hides behind a translator and can only call out. `inner` are addresses on the host itself,
    one in each of the protected `networks`. A client `asks_for` addresses of the families `ipv4`
    and `ipv6` and protects those alone; a gateway lends addresses out of the ranges that it `lends`
    and tells its clients of name servers.
    """

    host: Host
    outside: Interface
    address: str
    reachable_as: str | None
    identity: str
    networks: tuple[str, ...]
    inner: tuple[str, ...]
    asks_for: tuple[str, ...] = ()
    lends: tuple[str, ...] = ()
    name_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What both ends must agree on, with the proposal keywords that both daemons read.

    Without `psk` each end has a `Credential`. Lifetimes are in seconds; None leaves the daemon's
    own, which is longer than any scenario. `mode` is "tunnel", or "transport" or "prefer-transport"
    between the two hosts, whatever networks they have; only a kernel with ESP can have strongSwan
    in another mode than "tunnel".
    """

    psk: str | None = None
    ike: str = "aes256gcm16-prfsha256-x25519"
    esp: str = "aes256gcm16"
    ike_rekey_seconds: int | None = None
    child_rekey_seconds: int | None = None
    mode: str = "tunnel"


@dataclass(frozen=True, slots=True)
class Credential:
    """What one end proves itself with, and whom it trusts: texts of PEM files.

    `certificates` are its own and those between it and the authority that the other end trusts.
    """

    certificates: tuple[str, ...]
    key: str
    authority: str
    crl: str | None = None


@dataclass(frozen=True, slots=True)
class ChildSaView:
    """A Child SA as its daemon reports it; SPIs are those of ESP, inbound and outbound."""

    installed: bool
    spi_in: int
    spi_out: int
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int


@dataclass(frozen=True, slots=True)
class IkeSaView:
    """An IKE SA as its daemon reports it."""

    established: bool
    spi_initiator: int
    spi_responder: int
    children: tuple[ChildSaView, ...]


class Peer(Protocol):
    """A running daemon with one configured tunnel."""

    site: Site

    def start(self) -> None:
        """Start the daemon, wait until it listens, and have it know the tunnel."""

    def stop(self) -> None:
        """Stop the daemon."""

    def initiate(self) -> None:
        """Bring the tunnel up, or its Child SA alone when the IKE SA is there."""

    def rekey_child(self) -> None:
        """Rekey the Child SA."""

    def rekey_ike(self) -> None:
        """Rekey the IKE SA."""

    def delete_child(self) -> None:
        """Delete the Child SA and keep the IKE SA."""

    def delete_ike(self) -> None:
        """Delete the IKE SA with all that it carries."""

    def sas(self) -> list[IkeSaView]:
        """Return the IKE SAs that the daemon has at this moment."""
