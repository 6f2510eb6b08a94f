"""What crossed a link, by kind: the proof that nothing of the inside was seen outside.

Owns the judgement of captured packets. Whatever is neither ESP, IKE nor the housekeeping of the
link itself (ARP, neighbour discovery, multicast listener reports) counts as clear text.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ipsecme.base import MalformedMessage
from ipsecme.wire.encap import is_ike, is_keepalive
from ipsecme.wire.ip import read_headers
from ipsecme.wire.numbers import IpProtocol
from ipsecme.wire.pcap import PcapDecoder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Kind", "LinkTally", "kind_of_frame", "tally"]

_ETHERNET_OCTETS: Final = 14
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_UDP_OCTETS: Final = 8
_IKE_PORT, _NAT_PORT = 500, 4500
# Listener queries and reports, router and neighbour discovery (RFC 3810, RFC 4861).
_HOUSEKEEPING: Final = frozenset((130, 131, 132, 133, 134, 135, 136, 143))
_PIECE_OCTETS: Final = 1 << 20
_EXAMPLES: Final = 3


class Kind(enum.Enum):
    """What a packet on the link is."""

    ESP = "esp"
    IKE = "ike"
    HOUSEKEEPING = "housekeeping"
    CLEAR = "clear"


@dataclass(slots=True)
class LinkTally:
    """How many packets of each kind crossed; `examples` describe the first ones in clear."""

    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    examples: list[str] = field(default_factory=list)

    @property
    def clear(self) -> int:
        """Packets that should not have been there."""
        return self.counts[Kind.CLEAR]

    def add(self, frame: bytes) -> None:
        """Count an Ethernet frame."""
        kind = kind_of_frame(frame)
        self.counts[kind] += 1
        if kind is Kind.CLEAR and len(self.examples) < _EXAMPLES:
            self.examples.append(_describe(frame))


def tally(capture: Path) -> LinkTally:
    """Count the packets of a capture file of an Ethernet link."""
    counted, decoder = LinkTally(), PcapDecoder()
    with capture.open("rb") as file:
        while piece := file.read(_PIECE_OCTETS):
            for packet in decoder.feed(piece):
                counted.add(packet.data)
    decoder.finish()
    return counted


def kind_of_frame(frame: bytes) -> Kind:
    """Tell the kind of an Ethernet frame; what cannot be read counts as clear text."""
    ethertype = int.from_bytes(frame[12:_ETHERNET_OCTETS])
    if ethertype == _ARP:
        return Kind.HOUSEKEEPING
    if ethertype not in (_IPV4, _IPV6):
        return Kind.CLEAR
    packet = frame[_ETHERNET_OCTETS:]
    try:
        headers = read_headers(packet)
    except MalformedMessage:
        return Kind.CLEAR
    if headers.protocol == IpProtocol.ESP:
        return Kind.ESP
    if headers.protocol == IpProtocol.UDP:
        return _kind_of_udp(headers.destination_port, packet[headers.upper + _UDP_OCTETS :])
    if headers.protocol == IpProtocol.IPV6_ICMP and headers.source_port >> 8 in _HOUSEKEEPING:
        return Kind.HOUSEKEEPING
    return Kind.CLEAR


def _kind_of_udp(port: int, payload: bytes) -> Kind:
    if port == _IKE_PORT:
        return Kind.IKE
    if port != _NAT_PORT:
        return Kind.CLEAR
    if is_keepalive(payload):
        return Kind.HOUSEKEEPING
    return Kind.IKE if is_ike(payload) else Kind.ESP


def _describe(frame: bytes) -> str:
    try:
        headers = read_headers(frame[_ETHERNET_OCTETS:])
    except MalformedMessage:
        return f"a frame of {len(frame)} octets, EtherType 0x{frame[12:14].hex()}"
    source, destination = map(ipaddress.ip_address, (headers.source, headers.destination))
    return f"{source} to {destination}, protocol {headers.protocol}, {len(frame)} octets"
