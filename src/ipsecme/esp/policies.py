"""Which outbound SA takes a packet: the SPD cache made of the SAs in use (RFC 4301, section 4.4.1).

SA pairs come without a place in an order, so the order is made: the narrower remote selector
decides before the wider, and among equals the pair that was installed last.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.esp.selectors import Admission
from ipsecme.policy.selector import intersect

if TYPE_CHECKING:
    from ipsecme.esp.outbound import OutboundSa
    from ipsecme.policy.parameters import SaPair
    from ipsecme.wire.ike import TrafficSelector
    from ipsecme.wire.ip import IpHeaders

__all__ = ["OutboundPolicies"]


class _Entry(NamedTuple):
    """One remote selector of one SA; entries sort by their first three fields."""

    width: tuple[int, int, int]
    local_width: int
    age: int
    admission: Admission
    sa: OutboundSa


class OutboundPolicies:
    """The SAs in use for outbound traffic, in their order.

    Remote selectors of a single address, which a gateway of many clients has by the thousand, are
    found by that address; all others are tried one after another.
    """

    __slots__ = ("_hosts", "_ranges", "_sas")

    def __init__(self) -> None:
        self._sas: set[OutboundSa] = set()
        self._hosts: dict[bytes, list[_Entry]] = {}
        self._ranges: list[_Entry] = []

    def add(self, sa: OutboundSa, age: int) -> None:
        """Use an SA for outbound traffic; `age` counts the SAs installed before it."""
        if sa in self._sas:
            return
        self._sas.add(sa)
        pair = sa.pair
        local_width = max((_address_width(ts) for ts in pair.local_ts), default=0)
        for remote in pair.remote_ts:
            width = _address_width(remote), 0 if remote.protocol else 1, _port_width(remote)
            admission = Admission(pair.local_ts, (remote,))
            entry = _Entry(width, local_width, -age, admission, sa)
            if remote.start == remote.end:
                insort(self._hosts.setdefault(remote.start, []), entry, key=_place)
            else:
                insort(self._ranges, entry, key=_place)

    def discard(self, sa: OutboundSa) -> None:
        """Use an SA no longer."""
        if sa not in self._sas:
            return
        self._sas.discard(sa)
        self._ranges = [entry for entry in self._ranges if entry.sa is not sa]
        for remote in sa.pair.remote_ts:
            left = [entry for entry in self._hosts.get(remote.start, ()) if entry.sa is not sa]
            if left:
                self._hosts[remote.start] = left
            else:
                self._hosts.pop(remote.start, None)

    def rival(self, pair: SaPair) -> SaPair | None:
        """Return a pair in use that would share packets with a transport mode pair to another peer.

        Peers behind one NAT have one address here and differ by their ports (RFC 3948, section
        5.2): what is meant for one must not go to the other.
        """
        for remote in pair.remote_ts:
            for entry in self._hosts.get(remote.start, ()):
                other = entry.sa.pair
                is_same_peer = other.path.remote == pair.path.remote or not pair.path.encapsulated
                if other.mode is pair.mode and not is_same_peer and _overlap(pair, other):
                    return other
        return None

    def match(self, headers: IpHeaders) -> OutboundSa | None:
        """Return the SA that takes a packet with these headers."""
        for entry in self._hosts.get(headers.destination, ()):
            if entry.admission.admits(headers):
                return entry.sa
        for entry in self._ranges:
            if entry.admission.admits(headers):
                return entry.sa
        return None


def _overlap(one: SaPair, other: SaPair) -> bool:
    sides = (one.local_ts, other.local_ts), (one.remote_ts, other.remote_ts)
    return all(any(intersect(a, b) for a in mine for b in theirs) for mine, theirs in sides)


def _place(entry: _Entry) -> tuple[tuple[int, int, int], int, int]:
    return entry.width, entry.local_width, entry.age


def _address_width(selector: TrafficSelector) -> int:
    return (int.from_bytes(selector.end) - int.from_bytes(selector.start)).bit_length()


def _port_width(selector: TrafficSelector) -> int:
    return selector.end_port - selector.start_port
