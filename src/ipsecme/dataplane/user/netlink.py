"""The little of rtnetlink that the packet process needs: links, addresses, routes and rules.

Requests are acknowledged one by one and several travel together, so that installing a route costs
tens of microseconds. Owns the encoding; what to route where is decided in `routes`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "ADDRESS_GROUPS",
    "REPLACE",
    "ROUTE_THROW",
    "ROUTE_UNICAST",
    "ROUTE_UNREACHABLE",
    "RULE_GOTO",
    "RULE_NOP",
    "RULE_TO_TABLE",
    "Netlink",
    "Request",
    "address_request",
    "link_request",
    "route_removal",
    "route_request",
    "rule_removal",
    "rule_request",
]

ADDRESS_GROUPS = 0x10 | 0x100
"""Multicast groups that tell of changed IPv4 and IPv6 addresses."""

_NETLINK_ROUTE = 0
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x4, 0x300
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x100, 0x200, 0x400
_RTM_GETLINK = 18
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 16, 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWRULE, _RTM_DELRULE = 32, 33

_IFLA_IFNAME, _IFLA_MTU, _IFLA_TXQLEN = 3, 4, 13
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 6, 7, 15
_FRA_SRC, _FRA_GOTO, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 2, 4, 6, 10, 15, 16
_IFF_UP, _IFF_MULTICAST = 0x1, 0x1000

_header = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_rtmsg = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags
_ifinfomsg = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ifaddrmsg = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_attribute = struct.Struct("=HH")
_uint32 = struct.Struct("=I")
_error = struct.Struct("=i")

_RTPROT_STATIC = 4
_RT_TABLE_UNSPEC = 0
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_RECEIVE_OCTETS = 1 << 16

ROUTE_UNICAST, ROUTE_UNREACHABLE, ROUTE_THROW = 1, 7, 9
RULE_TO_TABLE, RULE_GOTO, RULE_NOP = 1, 2, 3


REPLACE = _NLM_F_REPLACE | _NLM_F_CREATE
"""Flags of a request that takes the place of what is there."""


class Request(NamedTuple):
    """One request: message type, flags besides REQUEST and ACK, and body."""

    type: int
    flags: int
    body: bytes


class Netlink:
    """A socket to the kernel's routing tables, in the network namespace of its making."""

    def __init__(self, groups: int = 0) -> None:
        family = socket.AF_NETLINK
        self.socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE)
        self.socket.bind((0, groups))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def execute(self, requests: Sequence[Request]) -> list[OSError | None]:
        """Have the kernel carry out requests in their order; return what it had against each."""
        if not requests:
            return []
        results: dict[int, OSError | None] = {}
        first = self._sequence + 1
        self._send(requests, _NLM_F_ACK)
        while len(results) < len(requests):
            for kind, sequence, body in self._receive():
                if kind == _NLMSG_ERROR and first <= sequence <= self._sequence:
                    code = -_error.unpack_from(body)[0]
                    results[sequence] = OSError(code, os.strerror(code)) if code else None
        return [results[first + index] for index in range(len(requests))]

    def addresses(self, *, except_of: int) -> set[bytes]:
        """Return the IPv4 and IPv6 addresses of this host, those of one interface left out."""
        return {address for index, address in self.interface_addresses() if index != except_of}

    def interface_addresses(self) -> list[tuple[int, bytes]]:
        """Return every IPv4 and IPv6 address of this host with the index of its interface."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ifaddrmsg.pack(family, 0, 0, 0, 0)
            for answer in self._dump(Request(_RTM_GETADDR, _NLM_F_DUMP, body)):
                values = dict(_attributes(answer[_ifaddrmsg.size :]))
                address = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
                if address:
                    found.append((_ifaddrmsg.unpack_from(answer)[4], address))
        return found

    def links_up(self) -> dict[int, str]:
        """Return index and name of the interfaces that are switched on."""
        found = {}
        body = _ifinfomsg.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        for answer in self._dump(Request(_RTM_GETLINK, _NLM_F_DUMP, body)):
            _, _, index, flags, _ = _ifinfomsg.unpack_from(answer)
            if flags & _IFF_UP:
                name = dict(_attributes(answer[_ifinfomsg.size :])).get(_IFLA_IFNAME, b"")
                found[index] = name.rstrip(b"\0").decode(errors="replace")
        return found

    def routes(self, family: int, table: int) -> list[tuple[bytes, int, int]]:
        """Return prefix, bits and kind of the routes in a table."""
        found = []
        body = _rtmsg.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for answer in self._dump(Request(_RTM_GETROUTE, _NLM_F_DUMP, body)):
            fixed = _rtmsg.unpack_from(answer)
            values = dict(_attributes(answer[_rtmsg.size :]))
            if _uint32.unpack(values.get(_RTA_TABLE, bytes(4)))[0] == table:
                found.append((values.get(_RTA_DST, b""), fixed[1], fixed[7]))
        return found

    def _dump(self, request: Request) -> Iterator[bytes]:
        self._send([request], 0)
        while True:
            for kind, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                    return
                yield body

    def drain(self) -> None:
        """Throw away what was announced to the groups."""
        try:
            while self.socket.recv(_RECEIVE_OCTETS):
                pass
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ENOBUFS}:
                raise

    def _send(self, requests: Sequence[Request], flags: int) -> None:
        octets = bytearray()
        for request in requests:
            self._sequence += 1
            size = _header.size + len(request.body)
            all_flags = request.flags | flags | _NLM_F_REQUEST
            octets += _header.pack(size, request.type, all_flags, self._sequence, 0)
            octets += request.body + bytes(-size % 4)
        self.socket.sendto(octets, (0, 0))

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, sequence number and body of the messages in one datagram."""
        # The kernel has answered before `sendto` returned; a dump goes on as it is read.
        octets, sender = self.socket.recvfrom(_RECEIVE_OCTETS)
        if sender[0] != 0:
            return  # not from the kernel
        offset = 0
        while offset + _header.size <= len(octets):
            size, kind, _, sequence, _ = _header.unpack_from(octets, offset)
            if not _header.size <= size <= len(octets) - offset:
                raise SystemRefused("the kernel's netlink answer does not parse")
            yield kind, sequence, octets[offset + _header.size : offset + size]
            offset += (size + 3) & ~3


def link_request(index: int, mtu: int, queue_packets: int) -> Request:
    """Set an interface up, without multicast: nobody is there to hear of groups."""
    body = _ifinfomsg.pack(socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP | _IFF_MULTICAST)
    body += _packed(_IFLA_MTU, _uint32.pack(mtu)) + _packed(
        _IFLA_TXQLEN, _uint32.pack(queue_packets)
    )
    return Request(_RTM_NEWLINK, 0, body)


def address_request(index: int, address: bytes, *, is_removal: bool = False) -> Request:
    """Give an interface one address, or take it away, without a route to others beside it."""
    family, bits = _family(address), 8 * len(address)
    body = _ifaddrmsg.pack(family, bits, 0, _SCOPE_UNIVERSE, index)
    body += _packed(_IFA_LOCAL, address) + _packed(_IFA_ADDRESS, address)
    body += _packed(_IFA_FLAGS, _uint32.pack(_IFA_F_NODAD | _IFA_F_NOPREFIXROUTE))
    if is_removal:
        return Request(_RTM_DELADDR, 0, body)
    return Request(_RTM_NEWADDR, _NLM_F_CREATE, body)


def route_request(
    prefix: bytes,
    bits: int,
    *,
    table: int,
    kind: int,
    metric: int,
    index: int = 0,
    preferred_source: bytes = b"",
    is_removal: bool = False,
) -> Request:
    """Add or remove a route to `prefix` of so many bits."""
    scope = _SCOPE_LINK if kind == ROUTE_UNICAST and len(prefix) == 4 else _SCOPE_UNIVERSE
    fixed = (_family(prefix), bits, 0, 0, _RT_TABLE_UNSPEC, _RTPROT_STATIC, scope, kind, 0)
    body = _rtmsg.pack(*fixed) + _packed(_RTA_DST, prefix)
    body += _packed(_RTA_TABLE, _uint32.pack(table)) + _packed(_RTA_PRIORITY, _uint32.pack(metric))
    if index:
        body += _packed(_RTA_OIF, _uint32.pack(index))
    if preferred_source:
        body += _packed(_RTA_PREFSRC, preferred_source)
    if is_removal:
        return Request(_RTM_DELROUTE, 0, body)
    return Request(_RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, body)


def rule_request(
    family: int,
    priority: int,
    *,
    action: int,
    source: bytes = b"",
    bits: int = 0,
    table: int = 0,
    mark: int = 0,
    target: int = 0,
    flags: int = 0,
    is_removal: bool = False,
) -> Request:
    """Add or remove a rule; `target` is the priority that RULE_GOTO goes on at."""
    body = _rtmsg.pack(family, 0, bits, 0, _RT_TABLE_UNSPEC, 0, 0, action, flags)
    body += _packed(_FRA_PRIORITY, _uint32.pack(priority))
    if bits:
        body += _packed(_FRA_SRC, source)
    if table:
        body += _packed(_FRA_TABLE, _uint32.pack(table))
    if mark:
        body += _packed(_FRA_FWMARK, _uint32.pack(mark))
        body += _packed(_FRA_FWMASK, _uint32.pack(0xFFFFFFFF))
    if target:
        body += _packed(_FRA_GOTO, _uint32.pack(target))
    if is_removal:
        return Request(_RTM_DELRULE, 0, body)
    return Request(_RTM_NEWRULE, _NLM_F_CREATE | _NLM_F_EXCL, body)


def rule_removal(family: int, priority: int) -> Request:
    """Remove one rule of a priority, whatever it says."""
    body = _rtmsg.pack(family, 0, 0, 0, _RT_TABLE_UNSPEC, 0, 0, 0, 0)
    return Request(_RTM_DELRULE, 0, body + _packed(_FRA_PRIORITY, _uint32.pack(priority)))


def route_removal(family: int, prefix: bytes, bits: int, table: int, kind: int) -> Request:
    """Remove a route that a dump has shown."""
    body = _rtmsg.pack(family, bits, 0, 0, _RT_TABLE_UNSPEC, 0, _SCOPE_NOWHERE, kind, 0)
    body += _packed(_RTA_DST, prefix) if bits else b""
    return Request(_RTM_DELROUTE, 0, body + _packed(_RTA_TABLE, _uint32.pack(table)))


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _packed(kind: int, value: bytes) -> bytes:
    return _attribute.pack(_attribute.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _attribute.size <= len(octets):
        size, kind = _attribute.unpack_from(octets, offset)
        if size < _attribute.size:
            return
        yield kind, octets[offset + _attribute.size : offset + size]
        offset += (size + 3) & ~3
