"""The inbound half of an SA: window, ICV, trailer, inner headers (RFC 4303, section 3.4)."""

from __future__ import annotations

from struct import Struct, error as struct_error
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.esp.flows import MAX_FLOWS, flow_key_ipv4, flow_key_ipv6, is_cacheable
from ipsecme.esp.keyed import Keyed
from ipsecme.esp.reasons import DropReason
from ipsecme.esp.replay import SEEN, EsnWindow, ReplayWindow
from ipsecme.esp.selectors import Admission
from ipsecme.esp.transform import opener, sizes
from ipsecme.wire.esp import split_trailer, trailers
from ipsecme.wire.ip import IPV4_OCTETS, IPV6_OCTETS, read_headers
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsecme.esp.flows import FlowKey
    from ipsecme.policy.parameters import SaPair

__all__ = ["InboundSa"]

_low_sequence = Struct(">4xI").unpack_from
_total_length = Struct(">2xH").unpack_from
_payload_length = Struct(">4xH").unpack_from

# Plain integers: members of an enumeration cost a dictionary look-up each on the packet path.
_BAD_LENGTH = int(DropReason.BAD_LENGTH)
_STALE = int(DropReason.STALE)
_REPLAYED = int(DropReason.REPLAYED)
_BAD_ICV = int(DropReason.BAD_ICV)
_BAD_PADDING = int(DropReason.BAD_PADDING)
_DUMMY = int(DropReason.DUMMY)
_BAD_NEXT_HEADER = int(DropReason.BAD_NEXT_HEADER)
_MALFORMED_PACKET = int(DropReason.MALFORMED_PACKET)
_WRONG_SELECTORS = int(DropReason.WRONG_SELECTORS)

_VERSIONS: dict[int, int] = {IpProtocol.IPV4: 4, IpProtocol.IPV6: 6}
_LEAST_IPV4 = IPV4_OCTETS + 4  # up to the ports, which are part of a flow's key
_LEAST_IPV6 = IPV6_OCTETS + 4


class InboundSa(Keyed):
    """Opens packets of one SA. `flows` is a cache that all inbound SAs may share.

    `drops` counts by `DropReason`; `last_packet` is when a packet last passed every check, in
    monotonic seconds.
    """

    __slots__ = (
        "_admission",
        "_block_mask",
        "_flows",
        "_least",
        "_mask",
        "_open",
        "_overhead",
        "_trailers_ipv4",
        "_trailers_ipv6",
        "_window",
        "drops",
        "last_packet",
        "octets",
        "packets",
        "pair",
    )

    def __init__(self, pair: SaPair, flows: dict[FlowKey, InboundSa]) -> None:
        measures = sizes(pair.suite)
        window = EsnWindow if pair.suite.esn else ReplayWindow
        self.pair = pair
        self.packets = 0
        self.octets = 0
        self.last_packet: float | None = None
        self.drops = [0] * (max(DropReason) + 1)
        self._flows = flows
        self._least = measures.least
        self._block_mask = measures.block - 1
        self._overhead = measures.overhead
        self._mask = measures.alignment - 1
        self._trailers_ipv4 = trailers(measures.alignment, IpProtocol.IPV4)
        self._trailers_ipv6 = trailers(measures.alignment, IpProtocol.IPV6)
        self._window: ReplayWindow = window(pair.replay_window)
        self._admission = Admission(pair.remote_ts, pair.local_ts)
        self._open = opener(pair.suite, pair.inbound)

    def open_batch(
        self, packets: Iterable[bytes], delivered: list[bytes], traffic_class: int = 0
    ) -> None:
        """Open ESP packets of this SA; append inner packets to `delivered`, count the others.

        `traffic_class` is what all of them had in their outer headers.

        The window moves after the ICV check and never before it, and what is inside is looked at
        only then (RFC 4303, section 3.4.4).
        """
        window, open_, drops, deliver = self._window, self._open, self.drops, delivered.append
        least, overhead, block_mask = self._least, self._overhead, self._block_mask
        for packet in packets:
            size = len(packet)
            if size < least or (size - overhead) & block_mask:
                drops[_BAD_LENGTH] += 1
                continue
            sequence = window.locate(_low_sequence(packet)[0])
            if sequence <= 0:
                drops[_REPLAYED if sequence == SEEN else _STALE] += 1
                continue
            plain = open_(packet, sequence)
            if plain is None:
                drops[_BAD_ICV] += 1
                continue
            window.mark(sequence)
            end = self._usual_end(plain)
            if end:
                deliver(plain[:end])
                continue
            inner = self._judge(plain, traffic_class)
            if isinstance(inner, int):
                drops[inner] += 1
            else:
                deliver(inner)

    def _usual_end(self, plain: bytes) -> int:
        """Return the size of the inner packet if its flow is known and its trailer the shortest.

        Nearly all packets are like that. One comparison covers padding, pad length, next header
        and the inner length; whatever is the least unusual (0) has to be looked at step by step.
        """
        try:
            if plain[0] < 0x60:
                end: int = _total_length(plain)[0]
                if end < _LEAST_IPV4 or plain[end:] != self._trailers_ipv4[end & self._mask]:
                    return 0
                return end if self._flows.get(flow_key_ipv4(plain)) is self else 0
            end = _payload_length(plain)[0] + IPV6_OCTETS
            if end < _LEAST_IPV6 or plain[end:] != self._trailers_ipv6[end & self._mask]:
                return 0
            return end if self._flows.get(flow_key_ipv6(plain)) is self else 0
        except struct_error:
            return 0

    def _judge(self, plain: bytes, traffic_class: int) -> bytes | int:
        """Look at decrypted octets step by step."""
        try:
            payload, next_header = split_trailer(plain)
        except MalformedMessage:
            return _BAD_PADDING
        if next_header == IpProtocol.NO_NEXT_HEADER:
            return _DUMMY
        if next_header not in _VERSIONS:
            return _BAD_NEXT_HEADER
        return self._judge_packet(payload, _VERSIONS[next_header])

    def _judge_packet(self, packet: bytes, version: int) -> bytes | int:
        try:
            headers = read_headers(packet)
        except MalformedMessage:
            return _MALFORMED_PACKET
        if packet[0] >> 4 != version:
            return _MALFORMED_PACKET
        if not self._admission.admits_packet(packet, headers):
            return _WRONG_SELECTORS
        if is_cacheable(packet, headers):
            flows = self._flows
            if len(flows) >= MAX_FLOWS:
                flows.clear()
            key = flow_key_ipv4(packet) if version == 4 else flow_key_ipv6(packet)
            flows[key] = self
        return packet[: headers.end]
