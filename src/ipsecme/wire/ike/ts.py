"""Traffic Selector payloads TSi and TSr (RFC 7296, section 3.13)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import MalformedMessage, Reader
from ipsecme.wire.numbers import PayloadType, TsType

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["OPAQUE_PORTS", "TrafficSelector", "TsPayload", "UnknownSelector"]

OPAQUE_PORTS = (65535, 0)  # start and end port when the ports of the traffic cannot be seen

_CACHED_OCTETS = 128  # clients of one kind ask for the same few selectors
_RANGE = struct.Struct("!BBHHH")
_ADDRESS_OCTETS = {TsType.TS_IPV4_ADDR_RANGE: 4, TsType.TS_IPV6_ADDR_RANGE: 16}


class TrafficSelector(NamedTuple):
    """A range of addresses, a protocol (0: any) and a range of ports.

    `start` and `end` are the addresses' 4 or 16 octets, both inclusive. For ICMP the ports hold
    type and code in their high and low octets (section 3.13.1). The algebra is in
    `policy.selector`.
    """

    protocol: int
    start_port: int
    end_port: int
    start: bytes
    end: bytes

    def encode(self) -> bytes:
        """Return the selector substructure (section 3.13.1)."""
        is_v4 = len(self.start) == 4
        kind = TsType.TS_IPV4_ADDR_RANGE if is_v4 else TsType.TS_IPV6_ADDR_RANGE
        size = _RANGE.size + 2 * len(self.start)
        head = _RANGE.pack(kind, self.protocol, size, self.start_port, self.end_port)
        return head + self.start + self.end

    @classmethod
    def decode(cls, reader: Reader, protocol: int, octets: int) -> TrafficSelector:
        """Read ports and addresses of `octets` each; ranges must not run backwards."""
        start_port, end_port = reader.uint16(), reader.uint16()
        start, end = reader.take(octets), reader.take(octets)
        reader.finish()
        if start > end:
            raise MalformedMessage("traffic selector whose addresses run backwards")
        if start_port > end_port and (start_port, end_port) != OPAQUE_PORTS:
            raise MalformedMessage("traffic selector whose ports run backwards")
        return cls(protocol, start_port, end_port, start, end)


class UnknownSelector(NamedTuple):
    """A selector of a type that this library does not know; re-encodes byte for byte."""

    type: TsType
    protocol: int
    body: bytes

    def encode(self) -> bytes:
        """Return the selector as it came."""
        return bytes((self.type, self.protocol)) + (4 + len(self.body)).to_bytes(2) + self.body


@dataclass(slots=True)
class TsPayload:
    """One or more selectors of the exchange initiator's (TSi) or responder's (TSr) side."""

    role: PayloadType
    selectors: Sequence[TrafficSelector | UnknownSelector]

    @property
    def payload_type(self) -> PayloadType:
        """TSi or TSr, the role."""
        return self.role

    @classmethod
    def decode(cls, reader: Reader, role: PayloadType) -> TsPayload:
        """Read as many selectors as the payload announces, at least one."""
        octets = reader.rest()
        decode = _decode_cached if len(octets) <= _CACHED_OCTETS else _decode_selectors
        return cls(role, decode(octets))

    def body(self) -> bytes:
        """Return count and selectors."""
        octets = b"".join([selector.encode() for selector in self.selectors])
        return bytes((len(self.selectors), 0, 0, 0)) + octets

    def ranges(self) -> list[TrafficSelector]:
        """Return the selectors that are address ranges; the others cannot be matched."""
        return [s for s in self.selectors if isinstance(s, TrafficSelector)]


def _decode_selectors(octets: bytes) -> tuple[TrafficSelector | UnknownSelector, ...]:
    reader = Reader(octets)
    count = reader.uint8()
    reader.take(3)
    if not count:
        raise MalformedMessage("a traffic selector payload without a selector")
    selectors = tuple(_decode_selector(reader) for _ in range(count))
    reader.finish()
    return selectors


_decode_cached = lru_cache(maxsize=1024)(_decode_selectors)


def _decode_selector(reader: Reader) -> TrafficSelector | UnknownSelector:
    kind = TsType.of(reader.uint8())
    protocol = reader.uint8()
    body = reader.fence(reader.uint16() - 4)
    octets = _ADDRESS_OCTETS.get(kind)
    if octets is None:
        return UnknownSelector(kind, protocol, body.rest())
    return TrafficSelector.decode(body, protocol, octets)
