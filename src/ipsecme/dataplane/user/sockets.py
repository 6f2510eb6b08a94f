"""The outer sockets: UDP on the NAT traversal port and raw ESP, for IPv4 and IPv6.

Owns their options and what comes and goes beside the octets: the address where a datagram arrived,
segment sizes of UDP offloads, congestion marks. Who reads them when is in `loop`.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import SystemRefused, Transport, packed_address

if TYPE_CHECKING:
    from ipsecme.dataplane.user.settings import UserSettings

__all__ = [
    "ANCILLARY_OCTETS",
    "Ancillary",
    "Arrival",
    "OuterSockets",
    "Side",
    "arrival",
    "marked",
    "segments",
    "source",
]

Ancillary = list[tuple[int, int, bytes]]

# Absent from the socket module (linux/in.h, linux/in6.h, linux/udp.h, asm-generic/socket.h).
_IP_PKTINFO, _IP_RECVTOS, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 8, 13, 10, 23
_PMTUDISC_DONT = 0
_SO_MARK = 36
_BUFFER_OPTIONS = ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF))  # SO_RCVBUFFORCE and its like
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IPPROTO_ESP = 50

_segment_size = struct.Struct("=H")
_gro_size = struct.Struct("=i")
_int = struct.Struct("=i")
_pktinfo_ipv4 = struct.Struct("=I4s4s")  # interface, our address, destination in the header
_pktinfo_ipv6 = struct.Struct("=16sI")  # destination, interface
ANCILLARY_OCTETS = 3 * socket.CMSG_SPACE(_pktinfo_ipv6.size)


class Arrival(NamedTuple):
    """What ancillary data says: destination address (empty: unknown), segment and class.

    `segment` is the size of the datagrams that were put together, `traffic_class` that of them all.
    """

    local: str
    segment: int
    traffic_class: int


class Side(NamedTuple):
    """The sockets of one local address. `address` may be a wildcard."""

    address: str
    udp: socket.socket
    raw: socket.socket


class OuterSockets:
    """The sockets of all addresses in the settings.

    Outer packets are fragmented where the path demands it, and are marked so that our own routes
    leave them alone.
    """

    def __init__(self, settings: UserSettings) -> None:
        self.sides: list[Side] = []
        try:
            for address in settings.listen:
                self._open(address, settings)
        except BaseException:
            self.close()
            raise
        if not self.sides:
            raise SystemRefused("this host has neither IPv4 nor IPv6; nothing to listen on")

    def close(self) -> None:
        """Close all sockets."""
        for side in self.sides:
            side.udp.close()
            side.raw.close()
        self.sides.clear()

    def side(self, local: str) -> Side | None:
        """Return the sockets that send from a local address."""
        wildcard = "::" if ":" in local else "0.0.0.0"  # noqa: S104 - compared with, not bound to
        exact = [side for side in self.sides if side.address == local]
        others = [side for side in self.sides if side.address == wildcard]
        return next(iter(exact + others), None)

    def _open(self, address: str, settings: UserSettings) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return
            raise SystemRefused(f"no UDP socket for {address}: {error.strerror}") from None
        try:
            raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _IPPROTO_ESP)
        except OSError as error:
            udp.close()
            raise SystemRefused(
                f"no raw socket for ESP ({error.strerror}): run as root or with CAP_NET_RAW"
            ) from None
        self.sides.append(Side(address, udp, raw))
        try:
            for sock in (udp, raw):
                _prepare(sock, family, settings)
            _ask_for_more(udp, raw, family)
            udp.bind((address, settings.nat_port))
            raw.bind((address, 0))
        except OSError as error:
            raise _refusal(error, Transport(address, settings.nat_port)) from None


def arrival(ancillary: Ancillary) -> Arrival:
    """Read the ancillary data of one received datagram."""
    local, segment, traffic_class = "", 0, 0
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            segment = _gro_size.unpack(data)[0]
        elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            local = socket.inet_ntop(socket.AF_INET, _pktinfo_ipv4.unpack(data)[2])
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            local = socket.inet_ntop(socket.AF_INET6, _pktinfo_ipv6.unpack(data)[0])
        elif kind in {socket.IP_TOS, socket.IPV6_TCLASS}:
            traffic_class = data[0]
    return Arrival(local, segment, traffic_class)


def source(local: str) -> tuple[int, int, bytes]:
    """Return the ancillary data that makes a datagram leave from an address."""
    packed = packed_address(local)
    if len(packed) == 4:
        return socket.IPPROTO_IP, _IP_PKTINFO, _pktinfo_ipv4.pack(0, packed, bytes(4))
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _pktinfo_ipv6.pack(packed, 0)


def marked(local: str, traffic_class: int) -> tuple[int, int, bytes]:
    """Return the ancillary data that gives a datagram from an address a traffic class."""
    octets = _int.pack(traffic_class)
    if ":" in local:
        return socket.IPPROTO_IPV6, socket.IPV6_TCLASS, octets
    return socket.IPPROTO_IP, socket.IP_TOS, octets


def segments(size: int) -> tuple[int, int, bytes]:
    """Return the ancillary data that has the kernel cut a buffer into datagrams of a size."""
    return _SOL_UDP, _UDP_SEGMENT, _segment_size.pack(size)


def _prepare(sock: socket.socket, family: int, settings: UserSettings) -> None:
    for forced, allowed in _BUFFER_OPTIONS:
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, settings.socket_buffer_octets)
        except PermissionError:
            # Root of a user namespace gets what net.core.rmem_max and wmem_max allow.
            sock.setsockopt(socket.SOL_SOCKET, allowed, settings.socket_buffer_octets)
    sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, settings.mark)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)


def _ask_for_more(udp: socket.socket, raw: socket.socket, family: int) -> None:
    """Ask for ancillary data. The raw IPv4 socket gets the whole outer header anyway."""
    udp.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    if family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for sock in (udp, raw):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        udp.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)


def _refusal(error: OSError, place: Transport) -> SystemRefused:
    match error.errno:
        case errno.EADDRINUSE:
            return SystemRefused(
                f"UDP {place} is taken by another program (another IKE daemon?); stop it, or use "
                "another NAT traversal port"
            )
        case errno.EACCES | errno.EPERM:
            return SystemRefused(
                f"no permission for the sockets of {place}; run as root, or with the capabilities "
                "CAP_NET_ADMIN and CAP_NET_RAW"
            )
        case errno.EADDRNOTAVAIL:
            return SystemRefused(
                f"this host does not have the address {place.address} to listen on"
            )
    return SystemRefused(f"UDP {place} cannot be used: {error.strerror}")
