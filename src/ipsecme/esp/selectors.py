"""Does an SA take this packet? Traffic selectors against headers (RFC 4301, sections 4.4.1.1, 5.2).

The algebra of selectors among themselves is in `policy.selector`; here they meet packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import OPAQUE_PORTS
from ipsecme.wire.ip import ABSENT, HIDDEN, read_headers
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.wire.ike import TrafficSelector
    from ipsecme.wire.ip import IpHeaders

__all__ = ["Admission", "return_flow"]

_ANY_PORTS = (0, 65535)
_ICMP_ERRORS: dict[int, frozenset[int]] = {
    IpProtocol.ICMP: frozenset((3, 4, 5, 11, 12)),
    IpProtocol.IPV6_ICMP: frozenset(range(128)),
}
_ICMP_HEADER_OCTETS = 8


class Admission:
    """The packets that one direction of an SA takes.

    `senders` are the selectors of the side that the packets come from, `receivers` of the other:
    remote and local for inbound packets, local and remote for outbound ones. A packet is taken
    when one selector of each side fits; the protocol must fit both.
    """

    __slots__ = ("_receivers", "_senders")

    def __init__(
        self, senders: Sequence[TrafficSelector], receivers: Sequence[TrafficSelector]
    ) -> None:
        self._senders = tuple(senders)
        self._receivers = tuple(receivers)

    def admits(self, headers: IpHeaders) -> bool:
        """Tell whether these headers are within the selectors."""
        return self._fits(headers) is not None

    def admits_packet(self, packet: bytes, headers: IpHeaders) -> bool:
        """Tell whether the packet is within the selectors, ICMP errors included (section 6.2).

        An ICMP error is taken when a selector names ICMP, because then policy asks for it.
        Otherwise the packet that caused it must belong to the SA in the other direction, and the
        error must go to whoever sent that packet: so a peer cannot disturb flows that it does not
        carry.
        """
        fitting = self._fits(headers)
        if fitting is not None and fitting.protocol:
            return True
        if not _is_icmp_error(headers):
            return fitting is not None
        flow = return_flow(packet, headers)
        return flow is not None and flow.destination == headers.destination and self.admits(flow)

    def _fits(self, headers: IpHeaders) -> TrafficSelector | None:
        """Return the sender's selector that fits when one of the receivers fits too."""
        protocol = headers.protocol
        for selector in self._receivers:
            if _fits(selector, headers.destination, protocol, headers.destination_port):
                break
        else:
            return None
        for selector in self._senders:
            if _fits(selector, headers.source, protocol, headers.source_port):
                return selector
        return None


def _fits(selector: TrafficSelector, address: bytes, protocol: int, port: int) -> bool:
    if len(selector.start) != len(address) or not selector.start <= address <= selector.end:
        return False
    if selector.protocol and selector.protocol != protocol:
        return False
    ports = (selector.start_port, selector.end_port)
    # ANY includes OPAQUE. ICMP has one number, which the sender's selector speaks about
    # (section 4.4.1.3), so the receiver's says nothing on a packet.
    if ports == _ANY_PORTS or port == ABSENT:
        return True
    if port == HIDDEN:
        return ports == OPAQUE_PORTS
    return ports[0] <= port <= ports[1]


def return_flow(packet: bytes, headers: IpHeaders) -> IpHeaders | None:
    """Return the headers that an answer to the packet would have of which an ICMP error complains.

    None when it is no ICMP error or does not hold readable headers.
    """
    if not _is_icmp_error(headers):
        return None
    try:
        inside = packet[headers.upper + _ICMP_HEADER_OCTETS : headers.end]
        return _reversed(read_headers(inside, is_whole=False))
    except MalformedMessage:
        return None


def _is_icmp_error(headers: IpHeaders) -> bool:
    errors = _ICMP_ERRORS.get(headers.protocol)
    return errors is not None and headers.source_port >> 8 in errors


def _reversed(flow: IpHeaders) -> IpHeaders:
    """Swap the ends of a flow. ICMP's one number stays with the sender."""
    ports = flow.destination_port, flow.source_port
    if flow.destination_port == ABSENT:
        ports = flow.source_port, ABSENT
    return flow._replace(
        source=flow.destination,
        destination=flow.source,
        source_port=ports[0],
        destination_port=ports[1],
    )
