"""Echo requests from a host (RFC 792, RFC 4443), without the program `ping`.

Owns the raw socket and the counting; the answers come from the kernel of the far host.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ipsecme.lab.wait import patience

if TYPE_CHECKING:
    from ipsecme.lab.host import Host

__all__ = ["PingReport", "ping"]

_HEADER: Final = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_ECHO_TYPES: Final = {4: (8, 0), 6: (128, 129)}  # request and reply
_identifiers: Final = itertools.count(os.getpid())


@dataclass(frozen=True, slots=True)
class PingReport:
    """How many echo requests were sent and answered, and the round-trip times in order."""

    sent: int
    received: int
    round_trips_seconds: tuple[float, ...]


def ping(
    host: Host,
    source: str,
    target: str,
    *,
    count: int = 5,
    interval_seconds: float = 0.05,
    patience_seconds: float | None = None,
    octets: int = 56,
) -> PingReport:
    """Send `count` echo requests with `octets` of data from `source` to `target`.

    Returns as soon as all are answered, or `patience_seconds` (by default 3, or more on a slow
    machine) after the last was sent.
    """
    if patience_seconds is None:
        patience_seconds = patience(3.0)
    version = ipaddress.ip_address(target).version
    pinger = _Pinger(version, next(_identifiers) & 0xFFFF, os.urandom(octets))
    with host.call(lambda: _open(version, source)) as opened:
        for number in range(count):
            with contextlib.suppress(OSError):  # no way to the target now: one more unanswered
                opened.sendto(pinger.request(number), (target, 0))
            last = number == count - 1
            pinger.listen(opened, count, patience_seconds if last else interval_seconds)
    return PingReport(count, len(pinger.times), tuple(pinger.times.values()))


class _Pinger:
    def __init__(self, version: int, identifier: int, data: bytes) -> None:
        self.version = version
        self.identifier = identifier
        self.data = data
        self.sent: dict[int, float] = {}
        self.times: dict[int, float] = {}

    def request(self, number: int) -> bytes:
        kind = _ECHO_TYPES[self.version][0]
        message = _HEADER.pack(kind, 0, 0, self.identifier, number) + self.data
        if self.version == 4:  # for ICMPv6 the kernel fills it in (RFC 3542, section 3.1)
            checksum = _checksum(message)
            message = _HEADER.pack(kind, 0, checksum, self.identifier, number) + self.data
        self.sent[number] = time.monotonic()
        return message

    def listen(self, opened: socket.socket, count: int, seconds: float) -> None:
        """Take replies for a while; return early only when nothing is missing any more."""
        deadline = time.monotonic() + seconds
        while len(self.times) < count and (left := deadline - time.monotonic()) > 0:
            opened.settimeout(left)
            try:
                data = opened.recv(65_535)
            except TimeoutError:
                return
            except OSError:  # an unreachable target is reported here too
                continue
            self._take(data, time.monotonic())

    def _take(self, data: bytes, now: float) -> None:
        message = data[(data[0] & 0x0F) * 4 :] if self.version == 4 else data
        if len(message) < _HEADER.size:
            return
        kind, _, _, identifier, number = _HEADER.unpack_from(message)
        expected = (_ECHO_TYPES[self.version][1], self.identifier, self.data)
        if (kind, identifier, message[_HEADER.size :]) == expected and number in self.sent:
            self.times.setdefault(number, now - self.sent[number])


def _open(version: int, source: str) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP)
        if version == 4
        else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    opened = socket.socket(family, socket.SOCK_RAW, protocol)
    opened.bind((source, 0))
    return opened


def _checksum(message: bytes) -> int:
    padded = message + b"\0" * (len(message) % 2)
    total = sum(word for (word,) in struct.iter_unpack("!H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
