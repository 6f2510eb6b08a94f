"""The UDP sockets of the IKE process: port 500, on IPv4 and IPv6.

Owns binding, receiving in batches, and sending from the address that was asked (RFC 7296, section
2.11). Port 4500 belongs to the data plane. Nothing that the network does to a datagram is fatal:
errors are counted, and the engine sends again.

Needs CAP_NET_BIND_SERVICE for ports below 1024 and CAP_NET_ADMIN for the mark.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from ipsecme.base import Path, SystemRefused, Transport
from ipsecme.daemon.strangers import divide

if TYPE_CHECKING:
    import asyncio
    from collections import Counter
    from collections.abc import Callable, Sequence

__all__ = ["IkeSockets"]

Received = list[tuple[bytes, Path]]

_BATCH = 64  # datagrams in one turn of the event loop, so that timers and control get theirs
_STRANGERS_BATCH = 32
_LARGEST_DATAGRAM = 65535
_BUFFER_OCTETS = 1 << 20

# Absent from the socket module (linux/in.h, linux/in6.h).
_IP_PKTINFO = 8
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_PMTUDISC_DONT = 0
_SO_MARK = 36

_PKTINFO_IPV4 = struct.Struct("=I4s4s")  # interface, our address, destination in the header
_PKTINFO_IPV6 = struct.Struct("=16sI")  # destination, interface
_ANCILLARY_OCTETS = socket.CMSG_SPACE(_PKTINFO_IPV6.size)
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class IkeSockets:
    """One socket for each address to listen on, and one beside it for strangers.

    `mark` is the firewall mark of what is sent, so that routes into the tunnel can leave it out.
    `counters` gets ``udp_`` counts of what the system refused, by error.
    """

    def __init__(
        self, addresses: Sequence[str], port: int, mark: int, counters: Counter[str]
    ) -> None:
        self._port = port
        self._mark = mark
        self._counters = counters
        self._sockets: dict[str, socket.socket] = {}
        self._strangers: dict[str, socket.socket] = {}
        try:
            for address in addresses:
                self._open(address)
        except BaseException:
            self.close()
            raise
        if not self._sockets:
            raise SystemRefused("this host has neither IPv4 nor IPv6; nothing to listen on")

    def _open(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and address in _WILDCARDS:
                return  # a kernel without IPv6 has nothing to listen on there
            raise SystemRefused(f"no UDP socket for {address}: {error.strerror}") from None
        self._sockets[address] = sock
        try:
            _prepare(sock, family, self._mark)
            sock.bind((address, self._port))
        except OSError as error:
            raise _refusal(error, Transport(address, self._port)) from None
        other = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._strangers[address] = other
        _prepare(other, family, self._mark)
        if not divide(sock, other):
            self._strangers.pop(address).close()

    def attach(self, loop: asyncio.AbstractEventLoop, receive: Callable[[Received], None]) -> None:
        """Hand every batch of datagrams that arrives to `receive`, from the event loop."""
        for address, sock in self._sockets.items():
            loop.add_reader(sock, self._on_readable, sock, address, _BATCH, receive)
        for address, sock in self._strangers.items():
            loop.add_reader(sock, self._on_readable, sock, address, _STRANGERS_BATCH, receive)

    def detach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand out no more."""
        for sock in self._all():
            loop.remove_reader(sock)

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._all():
            sock.close()
        self._sockets.clear()
        self._strangers.clear()

    def _all(self) -> list[socket.socket]:
        return [*self._sockets.values(), *self._strangers.values()]

    def _on_readable(
        self, sock: socket.socket, address: str, most: int, receive: Callable[[Received], None]
    ) -> None:
        batch: Received = []
        for _ in range(most):
            try:
                data, ancillary, _, sender = sock.recvmsg(_LARGEST_DATAGRAM, _ANCILLARY_OCTETS)
            except BlockingIOError:
                break
            except OSError as error:
                self._count("receive", error)
                continue
            local = _destination(ancillary) or address
            remote = Transport(_canonical(sender[0]), sender[1])
            batch.append((data, Path(Transport(local, self._port), remote)))
        if batch:
            receive(batch)

    def send(self, data: bytes, path: Path) -> OSError | None:
        """Send from the local address of the path; return what the system had against it."""
        local = path.local.address
        sock = self._sockets.get(local)
        ancillary = []
        if sock is None:
            sock = self._sockets.get("::" if ":" in local else "0.0.0.0")  # noqa: S104 - a key
            ancillary = [_source(local)]
        if sock is None:
            self._counters["udp_send_no_socket"] += 1
            return OSError(errno.EADDRNOTAVAIL, f"the daemon does not listen on {local}")
        try:
            sock.sendmsg([data], ancillary, 0, path.remote)
        except OSError as error:
            self._count("send", error)
            return error
        return None

    def _count(self, what: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, "unknown").lower()
        self._counters[f"udp_{what}_{name}"] += 1


def _prepare(sock: socket.socket, family: int, mark: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
    # IKE messages may be longer than the path takes; without discovery they go out in fragments.
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)


def _refusal(error: OSError, place: Transport) -> SystemRefused:
    match error.errno:
        case errno.EADDRINUSE:
            return SystemRefused(
                f"UDP {place} is taken by another program (another IKE daemon?); "
                "stop it, or set ike_port and listen in [daemon]"
            )
        case errno.EACCES | errno.EPERM:
            return SystemRefused(
                f"no permission for UDP {place}; run as root, or with the capabilities "
                "CAP_NET_ADMIN and CAP_NET_BIND_SERVICE"
            )
        case errno.EADDRNOTAVAIL:
            return SystemRefused(
                f"this host does not have the address {place.address}; correct listen in [daemon]"
            )
    return SystemRefused(f"UDP {place} cannot be used: {error.strerror}")


def _destination(ancillary: list[tuple[int, int, bytes]]) -> str | None:
    """Return the address that a datagram was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, _PKTINFO_IPV4.unpack(data)[2])
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return _canonical(socket.inet_ntop(socket.AF_INET6, _PKTINFO_IPV6.unpack(data)[0]))
    return None


@lru_cache(maxsize=256)
def _source(local: str) -> tuple[int, int, bytes]:
    """Return the ancillary data that makes a datagram leave from an address."""
    packed = ipaddress.ip_address(local).packed
    if len(packed) == 4:
        data = _PKTINFO_IPV4.pack(0, packed, bytes(4))
        return socket.IPPROTO_IP, _IP_PKTINFO, data
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO_IPV6.pack(packed, 0)


def _canonical(address: str) -> str:
    return str(ipaddress.ip_address(address)) if ":" in address else address
