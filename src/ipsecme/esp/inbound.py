"""The inbound half of an SA: window, ICV, trailer, inner headers (RFC 4303, section 3.4)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage
from ipsecme.esp.flows import MAX_FLOWS, flow_key_ipv4, flow_key_ipv6, is_cacheable
from ipsecme.esp.keyed import Keyed
from ipsecme.esp.reasons import DropReason
from ipsecme.esp.replay import SEEN, EsnWindow, ReplayWindow
from ipsecme.esp.selectors import Admission
from ipsecme.esp.transform import opener, sizes
from ipsecme.wire.esp import HEADER_OCTETS, PADDING, TRAILER_OCTETS
from ipsecme.wire.ip import IPV6_OCTETS, read_headers
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
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
_IPV4, _IPV6 = int(IpProtocol.IPV4), int(IpProtocol.IPV6)
_NO_NEXT_HEADER = int(IpProtocol.NO_NEXT_HEADER)


class InboundSa(Keyed):
    """Opens packets of one SA. `flows` is a cache that all inbound SAs may share.

    `drops` counts by `DropReason`; `last_packet` is when a packet last passed every check, in
    monotonic seconds.
    """

    __slots__ = (
        "_admission",
        "_block_mask",
        "_flows",
        "_icv_end",
        "_least",
        "_open",
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
        self._icv_end = HEADER_OCTETS + measures.iv + measures.icv
        self._window: ReplayWindow = window(pair.replay_window)
        self._admission = Admission(pair.remote_ts, pair.local_ts)
        self._open = opener(pair.suite, pair.inbound)

    def open(self, packet: bytes) -> bytes | int:
        """Return the inner packet of an ESP packet, or the `DropReason` code.

        The window moves after the ICV check and never before it. Every octet inside is checked
        only then (RFC 4303, section 3.4.4).
        """
        size = len(packet)
        if size < self._least or (size - self._icv_end) & self._block_mask:
            return _BAD_LENGTH
        window = self._window
        sequence = window.locate(_low_sequence(packet)[0])
        if sequence <= 0:
            return _REPLAYED if sequence == SEEN else _STALE
        plain = self._open(packet, sequence)
        if plain is None:
            return _BAD_ICV
        window.mark(sequence)
        pad = plain[-2]
        end = len(plain) - TRAILER_OCTETS - pad
        if end < 0 or plain[end:-2] != PADDING[:pad]:
            return _BAD_PADDING
        next_header = plain[-1]
        if next_header == _IPV4:
            return self._deliver_ipv4(plain, end)
        if next_header == _IPV6:
            return self._deliver_ipv6(plain, end)
        return _DUMMY if next_header == _NO_NEXT_HEADER else _BAD_NEXT_HEADER

    def _deliver_ipv4(self, plain: bytes, end: int) -> bytes | int:
        if end < 24:
            return self._deliver_slowly(plain[:end], 4)
        total = _total_length(plain)[0]
        if 24 <= total <= end and self._flows.get(flow_key_ipv4(plain)) is self:
            return plain[:total]
        return self._deliver_slowly(plain[:end], 4)

    def _deliver_ipv6(self, plain: bytes, end: int) -> bytes | int:
        if end < 44:
            return self._deliver_slowly(plain[:end], 6)
        total = IPV6_OCTETS + int(_payload_length(plain)[0])
        if 44 <= total <= end and self._flows.get(flow_key_ipv6(plain)) is self:
            return plain[:total]
        return self._deliver_slowly(plain[:end], 6)

    def _deliver_slowly(self, packet: bytes, version: int) -> bytes | int:
        """Judge a packet of which the flow cache knows nothing."""
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
