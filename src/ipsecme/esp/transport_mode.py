"""Transport mode: ESP between the IP header and what it carries (RFC 4303, section 3.1.1).

The kernel makes the header that travels, so of a packet that leaves only what follows the header
is sealed, and to one that comes a header is made again: with the addresses of the SA, the traffic
class of the packet that travelled, and the kernel's usual hop limit. An IPv6 destination options
header travels inside. IPv4 options, hop-by-hop options and routing headers would have to stay
outside, where this way has no place for them; such packets are dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import LocalMisuse, MalformedMessage
from ipsecme.esp.checksums import Correction
from ipsecme.esp.inbound import InboundSa
from ipsecme.esp.outbound import OutboundSa
from ipsecme.esp.reasons import DropReason
from ipsecme.policy.parameters import Mode
from ipsecme.wire.esp import split_trailer, trailers
from ipsecme.wire.ip import IPV4_OCTETS, IPV6_OCTETS, encode_ipv4, encode_ipv6, read_headers
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.esp.flows import FlowKey
    from ipsecme.policy.parameters import SaPair
    from ipsecme.wire.ip import IpHeaders

__all__ = ["TransportInboundSa", "TransportOutboundSa", "can_carry", "hosts_of"]

_BAD_NEXT_HEADER = int(DropReason.BAD_NEXT_HEADER)
_BAD_PADDING = int(DropReason.BAD_PADDING)
_DUMMY = int(DropReason.DUMMY)
_MALFORMED_PACKET = int(DropReason.MALFORMED_PACKET)
_WRONG_SELECTORS = int(DropReason.WRONG_SELECTORS)

_PLAIN_IPV4 = 0x45
_STAY_OUTSIDE = frozenset((0, 43, 44))  # hop-by-hop options, routing, fragment
_MOST_OCTETS = 65535


def hosts_of(pair: SaPair) -> tuple[bytes, bytes]:
    """Return our address and the peer's; raises `LocalMisuse` where there are more than these."""
    sides = [{a for s in ts for a in (s.start, s.end)} for ts in (pair.local_ts, pair.remote_ts)]
    if any(len(side) != 1 for side in sides):
        raise LocalMisuse("transport mode is between two hosts; its selectors name others, too")
    here, there = (side.pop() for side in sides)
    if len(here) != len(there):
        raise LocalMisuse("transport mode between IPv4 and IPv6")
    return here, there


def can_carry(packet: bytes, headers: IpHeaders) -> bool:
    """Tell whether nothing but the IP header itself has to stay outside."""
    if headers.is_fragment:
        return False
    return packet[0] == _PLAIN_IPV4 or (packet[0] >> 4 == 6 and packet[6] not in _STAY_OUTSIDE)


class TransportOutboundSa(OutboundSa):
    """Seals what follows the IP header of packets that `can_carry` approves of."""

    __slots__ = ("_by_protocol",)

    def __init__(self, pair: SaPair, rng: Rng) -> None:
        super().__init__(pair, rng)
        self._by_protocol: dict[int, tuple[bytes, ...]] = {}

    def seal(self, packet: bytes) -> bytes | None:
        """Return the ESP packet that travels under an IP header of its own."""
        sequence = self.sequence + 1
        if sequence >= self._alarm and not self._may_use(sequence):
            return None
        self.sequence = sequence
        self.octets += len(packet)
        if packet[0] == _PLAIN_IPV4:
            payload, protocol = packet[IPV4_OCTETS:], packet[9]
        else:
            payload, protocol = packet[IPV6_OCTETS:], packet[6]
        by_size = self._by_protocol.get(protocol)
        if by_size is None:
            by_size = self._by_protocol[protocol] = trailers(self._alignment_mask + 1, protocol)
        seal = self._seal
        return seal(payload + by_size[len(payload) & self._alignment_mask], sequence)


class TransportInboundSa(InboundSa):
    """Opens packets and puts a header before what was inside, whatever protocol that is.

    An IP packet inside is a packet of IP-in-IP between the two hosts, and not one of a tunnel.
    """

    __slots__ = ("_correction", "_here", "_there")

    def __init__(self, pair: SaPair, flows: dict[FlowKey, InboundSa]) -> None:
        super().__init__(pair, flows)
        self._here, self._there = hosts_of(pair)
        self._correction: Correction | None = None
        if pair.original is not None:
            self._correction = Correction(pair.original, self._there, self._here)

    def _usual_end(self, plain: bytes) -> int:
        return 0  # there is no header inside to know a flow by

    def _judge(self, plain: bytes, traffic_class: int) -> bytes | int:
        try:
            payload, protocol = split_trailer(plain)
        except MalformedMessage:
            return _BAD_PADDING
        if protocol == IpProtocol.NO_NEXT_HEADER:
            return _DUMMY
        if len(payload) > _MOST_OCTETS - IPV4_OCTETS * (len(self._here) == 4):
            return _MALFORMED_PACKET
        packet = self._with_header(payload, protocol, traffic_class)
        try:
            headers = read_headers(packet)
        except MalformedMessage:
            return _MALFORMED_PACKET
        if headers.is_fragment:
            return _BAD_NEXT_HEADER  # a fragment header belongs outside
        if self._correction is not None:
            packet = self._correction.apply(packet, headers)
        if not self._admission.admits_packet(packet, headers):
            return _WRONG_SELECTORS
        return packet

    def _with_header(self, payload: bytes, protocol: int, traffic_class: int) -> bytes:
        there, here = self._there, self._here
        if len(here) == 4:
            return encode_ipv4(there, here, protocol, payload, tos=traffic_class)
        return encode_ipv6(there, here, protocol, payload, traffic_class=traffic_class)


def halves(pair: SaPair, flows: dict[FlowKey, InboundSa], rng: Rng) -> tuple[InboundSa, OutboundSa]:
    """Return both halves of a pair, in its mode."""
    if pair.mode is Mode.TRANSPORT:
        return TransportInboundSa(pair, flows), TransportOutboundSa(pair, rng)
    return InboundSa(pair, flows), OutboundSa(pair, rng)
