"""RFC 4301, section 5: which packets are protected, by which SA, and which are let in. No I/O.

Works in batches, because packets cost microseconds: `outbound_batch` takes inner packets and leaves
ESP packets in the queues of their SAs, `inbound_batch` takes ESP packets and leaves inner packets
in a list. What fails is counted by `DropReason`. `outbound` and `inbound` do the same for one
packet and tell what happened to it.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby, islice
from operator import itemgetter
from struct import error as struct_error
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import Incompatible, LocalMisuse, MalformedMessage
from ipsecme.esp.counters import Counters, SaCounters, Totals, drops_by_reason
from ipsecme.esp.datagrams import Datagrams
from ipsecme.esp.ecn import CAPABLE_1, CONGESTION_EXPERIENCED, MARK_MASK, with_mark
from ipsecme.esp.flows import MAX_FLOWS, flow_key_ipv4, flow_key_ipv6, is_cacheable
from ipsecme.esp.pairs import InstalledPair
from ipsecme.esp.policies import OutboundPolicies
from ipsecme.esp.reasons import DropReason
from ipsecme.esp.selectors import return_flow
from ipsecme.esp.transport_mode import can_carry, halves, hosts_of
from ipsecme.policy.parameters import Mode
from ipsecme.wire.ip import read_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsecme.base import Path, Rng
    from ipsecme.esp.flows import FlowKey
    from ipsecme.esp.inbound import InboundSa
    from ipsecme.esp.outbound import OutboundSa
    from ipsecme.policy.parameters import SaPair

__all__ = ["Processor", "Verdict"]

_CONGESTION = int(DropReason.CONGESTION)
_DUMMY = int(DropReason.DUMMY)
_MALFORMED_PACKET = int(DropReason.MALFORMED_PACKET)
_UNFIT_HEADER = int(DropReason.UNFIT_HEADER)
_TELLING_MARKS = frozenset((CAPABLE_1, CONGESTION_EXPERIENCED))
_NO_POLICY = int(DropReason.NO_POLICY)
_EXHAUSTED = int(DropReason.SEQUENCE_EXHAUSTED)
_MIN_SPI = 256  # lower numbers are reserved (RFC 4303, section 2.1)

_spi_octets = itemgetter(slice(4))

_Traffic = tuple[int, int, int, int]
"""Packets in, octets in, packets out, octets out."""


class Verdict(NamedTuple):
    """What became of one packet: `octets` go on, or `reason` says why none do.

    `spi` names the SA pair, when one was found.
    """

    octets: bytes
    reason: DropReason | None = None
    spi: int | None = None


class Processor:
    """The SA pairs of one host and the packets through them.

    `expiring` collects the inbound SPIs of pairs whose outbound sequence numbers run out, each
    once; whoever drives the processor empties it.
    """

    __slots__ = (
        "_datagrams",
        "_drops",
        "_gone",
        "_hosts",
        "_inbound",
        "_inbound_flows",
        "_installed",
        "_outbound_flows",
        "_pairs",
        "_policies",
        "_reported",
        "_rng",
        "_waiting",
        "expiring",
    )

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._pairs: dict[int, InstalledPair] = {}
        self._inbound: dict[bytes, InboundSa] = {}
        self._waiting: dict[InboundSa, InstalledPair] = {}
        self._installed = 0
        self._hosts: Counter[tuple[bytes, bytes]] = Counter()  # with transport mode between them
        self._datagrams = Datagrams()
        self._policies = OutboundPolicies()
        # An integer is the reason why a flow's packets are dropped.
        self._outbound_flows: dict[FlowKey, OutboundSa | int] = {}
        self._inbound_flows: dict[FlowKey, InboundSa] = {}
        self._drops = [0] * (max(DropReason) + 1)
        self._gone: _Traffic = (0, 0, 0, 0)
        self._reported: set[int] = set()
        self.expiring: list[int] = []

    # SA pairs

    def install(self, pair: SaPair) -> None:
        """Add a pair. Raises `LocalMisuse` or `Incompatible`, and then nothing has changed."""
        if pair.spi in self._pairs:
            raise LocalMisuse(f"SPI {pair.spi:08x} is installed already")
        if not all(_MIN_SPI <= half.spi < 1 << 32 for half in (pair.inbound, pair.outbound)):
            raise LocalMisuse("an SPI below 256, which RFC 4303 reserves, or above 32 bits")
        inbound, outbound = halves(pair, self._inbound_flows, self._rng)
        if pair.mode is Mode.TRANSPORT and (rival := self._policies.rival(pair)) is not None:
            raise Incompatible(
                f"another peer at {rival.path.remote} has transport mode with the same selectors; "
                "behind one NAT only one can, the others need tunnel mode"
            )
        predecessor = None if pair.replaces is None else self._pairs.get(pair.replaces)
        installed = InstalledPair(
            pair, inbound, outbound, age=self._installed, predecessor=predecessor
        )
        self._installed += 1
        self._pairs[pair.spi] = installed
        self._inbound[pair.spi.to_bytes(4)] = inbound
        if pair.mode is Mode.TRANSPORT:
            self._hosts[hosts_of(pair)] += 1
        self._refresh(installed)

    def update_path(self, spi: int, path: Path) -> None:
        """Change where a pair's ESP packets go; unknown SPIs are ignored."""
        installed = self._pairs.get(spi)
        if installed is not None:
            installed.path = path

    def retire(self, spi: int) -> None:
        """Use a pair's outbound half no longer; unknown SPIs are ignored."""
        installed = self._pairs.get(spi)
        if installed is not None:
            installed.retire()
            self._refresh(installed)

    def remove(self, spi: int) -> None:
        """Forget a pair; unknown SPIs are ignored."""
        installed = self._pairs.get(spi)
        if installed is None:
            return
        family = [member for member in installed.family() if member is not installed]
        installed.leave()
        self._refresh(installed, *family)
        del self._pairs[spi]
        pair = installed.outbound.pair
        if pair.mode is Mode.TRANSPORT:
            self._hosts -= Counter((hosts_of(pair),))  # those with none left go
        del self._inbound[spi.to_bytes(4)]
        self._waiting.pop(installed.inbound, None)
        self._inbound_flows.clear()
        self._reported.discard(spi)
        self._gone = _sum(self._gone, self._counts(installed))
        for code, count in enumerate(installed.inbound.drops):
            self._drops[code] += count

    def path(self, sa: OutboundSa) -> Path:
        """Return where the ESP packets of an SA go."""
        return self._pairs[sa.pair.spi].path

    def _refresh(self, *installed: InstalledPair) -> None:
        """Let the policies follow the succession."""
        for member in {m.spi: m for one in installed for m in one.family()}.values():
            if member.is_in_use:
                self._policies.add(member.outbound, member.age)
            else:
                self._policies.discard(member.outbound)
            if member.is_ready:
                self._waiting.pop(member.inbound, None)
            else:
                self._waiting[member.inbound] = member
        self._outbound_flows.clear()

    # packets

    def outbound_batch(self, packets: Iterable[bytes]) -> list[OutboundSa]:
        """Seal inner packets into the queues of their SAs; return the SAs with a filled queue.

        The caller takes what is in the queues and empties them.
        """
        filled: list[OutboundSa] = []
        look_up = self._outbound_flows.get
        if self._hosts:
            packets = self._datagrams.whole(packets, self._hosts)
        for packet in packets:
            try:
                sa = look_up(flow_key_ipv4(packet) if packet[0] < 0x60 else flow_key_ipv6(packet))
            except (IndexError, struct_error):
                sa = None
            if sa is None:
                sa = self._match(packet)
            if isinstance(sa, int):
                self._drops[sa] += 1
                continue
            sealed = sa.seal(packet)
            if sealed is None:
                self._exhausted(sa)
                continue
            queue = sa.queue
            if not queue:
                filled.append(sa)
            queue.append(sealed)
            first = packet[0]
            second = packet[1]
            sa.classes.append(second if first < 0x60 else (first & 0x0F) << 4 | second >> 4)
        for sa in filled:
            if sa.is_expiring:
                self._report(sa)
        return filled

    def inbound_batch(
        self,
        packets: Iterable[bytes],
        now: float,
        delivered: list[bytes],
        strangers: list[bytes],
        *,
        traffic_class: int = 0,
    ) -> None:
        """Open ESP packets and append the inner packets to `delivered`.

        What begins with no installed SPI is appended to `strangers`, uncounted: on the NAT
        traversal port it may be something else than ESP. `now` is in monotonic seconds;
        `traffic_class` is what the packets' outer headers have.
        """
        mark = traffic_class & MARK_MASK
        for spi, run in groupby(packets, _spi_octets):
            sa = self._inbound.get(spi)
            if sa is None:
                strangers.extend(run)
                continue
            before, dummies = len(delivered), sa.drops[_DUMMY]
            sa.open_batch(run, delivered, traffic_class)
            if mark in _TELLING_MARKS and sa.pair.mode is Mode.TUNNEL:
                sa.drops[_CONGESTION] += _mark(delivered, before, mark)
            count = len(delivered) - before
            if not count and sa.drops[_DUMMY] == dummies:
                continue
            sa.packets += count
            sa.octets += sum(map(len, islice(delivered, before, None)))
            sa.last_packet = now
            if sa in self._waiting:
                self._take_over(sa)

    def outbound(self, packet: bytes) -> Verdict:
        """Seal one packet. A fragment that has to wait for others is INCOMPLETE."""
        before = list(self._drops)
        filled = self.outbound_batch((packet,))
        if not filled:
            return Verdict(b"", _difference(before, self._drops))
        (sa,) = filled
        ((_, (sealed,)),) = sa.take()
        return Verdict(sealed, None, sa.pair.spi)

    def inbound(self, packet: bytes, now: float, *, traffic_class: int = 0) -> Verdict:
        """Open one packet."""
        sa = self._inbound.get(packet[:4])
        if sa is None:
            self.note_drop(DropReason.UNKNOWN_SPI)
            return Verdict(b"", DropReason.UNKNOWN_SPI)
        before, delivered = list(sa.drops), list[bytes]()
        self.inbound_batch((packet,), now, delivered, [], traffic_class=traffic_class)
        if not delivered:
            return Verdict(b"", _difference(before, sa.drops), sa.pair.spi)
        return Verdict(delivered[0], None, sa.pair.spi)

    def note_drop(self, reason: DropReason, count: int = 1) -> None:
        """Count packets that were lost around the engine."""
        self._drops[reason] += count

    def counters(self) -> Counters:
        """Return all counters."""
        sums, drops, sas = self._gone, list(self._drops), []
        drops[DropReason.INCOMPLETE] += self._datagrams.lost
        for spi, installed in self._pairs.items():
            counts = self._counts(installed)
            sums = _sum(sums, counts)
            sa_drops = installed.inbound.drops
            drops = [old + new for old, new in zip(drops, sa_drops, strict=True)]
            sas.append(
                SaCounters(spi, *counts, installed.inbound.last_packet, drops_by_reason(sa_drops))
            )
        return Counters(sas, Totals(*sums, drops_by_reason(drops)))

    def _counts(self, installed: InstalledPair) -> _Traffic:
        inbound, outbound = installed.inbound, installed.outbound
        return inbound.packets, inbound.octets, outbound.packets, outbound.octets

    def _match(self, packet: bytes) -> OutboundSa | int:
        """Decide about a packet of which the flow cache knows nothing."""
        try:
            headers = read_headers(packet)
        except MalformedMessage:
            return _MALFORMED_PACKET
        if headers.end != len(packet):
            return _MALFORMED_PACKET
        sa = self._policies.match(headers)
        if sa is None:
            # An ICMP error goes where the answers to the packet that caused it go (section 6.2).
            flow = return_flow(packet, headers)
            sa = None if flow is None else self._policies.match(flow)
        decision: OutboundSa | int = _NO_POLICY if sa is None else sa
        if sa is not None and sa.pair.mode is Mode.TRANSPORT and not can_carry(packet, headers):
            decision = _UNFIT_HEADER
        if is_cacheable(packet, headers):
            flows = self._outbound_flows
            if len(flows) >= MAX_FLOWS:
                flows.clear()
            key = flow_key_ipv4(packet) if packet[0] < 0x60 else flow_key_ipv6(packet)
            flows[key] = decision
        return decision

    def _exhausted(self, sa: OutboundSa) -> None:
        self._drops[_EXHAUSTED] += 1
        self._report(sa)

    def _report(self, sa: OutboundSa) -> None:
        """Say once that an SA's sequence numbers run out."""
        spi = sa.pair.spi
        if spi not in self._reported:
            self._reported.add(spi)
            self.expiring.append(spi)

    def _take_over(self, sa: InboundSa) -> None:
        """Send on a pair, now that its peer has shown to use it (RFC 7296, section 2.8)."""
        installed = self._waiting[sa]
        installed.is_ready = True
        self._refresh(installed)


def _mark(delivered: list[bytes], start: int, outer: int) -> int:
    """Hand the outer mark to the packets from `start` on; return how many were dropped for it."""
    marked = [with_mark(packet, outer) for packet in delivered[start:]]
    delivered[start:] = [packet for packet in marked if packet is not None]
    return marked.count(None)


def _sum(one: _Traffic, other: _Traffic) -> _Traffic:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _difference(before: list[int], after: list[int]) -> DropReason:
    changed = (DropReason(code) for code, count in enumerate(after) if count != before[code])
    return next(changed, DropReason.INCOMPLETE)
