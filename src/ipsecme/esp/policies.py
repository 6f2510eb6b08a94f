"""Which outbound SA takes a packet: the SPD cache made of the SAs in use (RFC 4301, section 4.4.1).

SA pairs come without a place in an order, so the order is made: the narrower remote selector
decides before the wider, and among equals the pair that was installed last.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.esp.selectors import Admission

if TYPE_CHECKING:
    from ipsecme.esp.outbound import OutboundSa
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

    __slots__ = ("_hosts", "_ranges")

    def __init__(self) -> None:
        self._hosts: dict[bytes, list[_Entry]] = {}
        self._ranges: list[_Entry] = []

    def add(self, sa: OutboundSa, age: int) -> None:
        """Use an SA for outbound traffic; `age` counts the SAs installed before it."""
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
        self._ranges = [entry for entry in self._ranges if entry.sa is not sa]
        for remote in sa.pair.remote_ts:
            left = [entry for entry in self._hosts.get(remote.start, ()) if entry.sa is not sa]
            if left:
                self._hosts[remote.start] = left
            else:
                self._hosts.pop(remote.start, None)

    def match(self, headers: IpHeaders) -> OutboundSa | None:
        """Return the SA that takes a packet with these headers."""
        for entry in self._hosts.get(headers.destination, ()):
            if entry.admission.admits(headers):
                return entry.sa
        for entry in self._ranges:
            if entry.admission.admits(headers):
                return entry.sa
        return None


def _place(entry: _Entry) -> tuple[tuple[int, int, int], int, int]:
    return entry.width, entry.local_width, entry.age


def _address_width(selector: TrafficSelector) -> int:
    return (int.from_bytes(selector.end) - int.from_bytes(selector.start)).bit_length()


def _port_width(selector: TrafficSelector) -> int:
    return selector.end_port - selector.start_port
