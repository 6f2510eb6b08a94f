"""Internal addresses that a gateway lends to its peers (RFC 7296, sections 2.19 and 3.15.1).

Owns which addresses of which ranges are lent, and to whom. Memory grows with what is lent at once,
never with the size of a range.
"""

from __future__ import annotations

import heapq
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.base import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

__all__ = ["AddressPool", "AddressRange"]

_INTERFACE_BITS = 64


@dataclass(slots=True, frozen=True)
class AddressRange:
    """Addresses that may be lent, both ends included: 4 or 16 octets each."""

    first: bytes
    last: bytes

    @classmethod
    def parse(cls, text: str) -> AddressRange:
        """Read ``10.9.0.0/24`` or ``10.9.0.10-10.9.0.99``; raises `ConfigError`.

        Of a prefix the addresses are left out that belong to no host: the first, and of IPv4 the
        last (RFC 1122, section 3.2.1.3; RFC 4291, section 2.6.1), unless it is too small to have
        them (RFC 3021, RFC 6164).
        """
        try:
            if "-" in text:
                return cls(*_ends(text))
            network = ipaddress.ip_network(text.strip(), strict=True)
        except ValueError as error:
            raise ConfigError(
                f"{text!r} is not a range of addresses: {error}; write a prefix such as "
                "10.9.0.0/24, or 10.9.0.10-10.9.0.99"
            ) from None
        first, last = int(network.network_address), int(network.broadcast_address)
        if last - first > 1:
            first, last = first + 1, last - (network.version == 4)
        octets = network.max_prefixlen // 8
        return cls(first.to_bytes(octets), last.to_bytes(octets))

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, bytes) or len(address) != len(self.first):
            return False
        return self.first <= address <= self.last

    @property
    def octets(self) -> int:
        """The size of an address: 4 or 16."""
        return len(self.first)

    @property
    def size(self) -> int:
        """How many addresses there are."""
        return int.from_bytes(self.last) - int.from_bytes(self.first) + 1


@dataclass(slots=True)
class _Lease:
    holder: Hashable
    uses: int = 0


@dataclass(slots=True)
class _Vacancies:
    """The free addresses of one range: those below `fresh` that came back, and all from there."""

    fresh: int
    returned: list[bytes] = field(default_factory=list)
    known: set[bytes] = field(default_factory=set)

    def put_back(self, address: bytes) -> None:
        if int.from_bytes(address) < self.fresh and address not in self.known:
            heapq.heappush(self.returned, address)
            self.known.add(address)

    def drop_first(self) -> None:
        self.known.discard(heapq.heappop(self.returned))


class AddressPool:
    """All that is lent by one host, from any number of ranges, which may overlap.

    A lease has a holder, and as many uses as there are IKE SAs of the holder that have it; it ends
    with the last use. `choose` says what would be lent and changes nothing.
    """

    def __init__(self) -> None:
        self._leases: dict[bytes, _Lease] = {}
        self._vacancies: dict[AddressRange, _Vacancies] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def holder(self, address: bytes) -> Hashable | None:
        """Return who has an address, or None."""
        lease = self._leases.get(address)
        return None if lease is None else lease.holder

    def choose(
        self,
        ranges: Sequence[AddressRange],
        holder: Hashable,
        hints: Iterable[bytes] = (),
        but: Iterable[bytes] = (),
    ) -> bytes | None:
        """Return the address to lend, or None when all are lent.

        That is the first of the `hints` that is free or the holder's already; of an IPv6 hint that
        cannot be had at least the interface identifier, under another prefix (RFC 7296, section
        3.15.3); and otherwise the lowest free one of the first range that has any. None of `but` is
        returned.
        """
        taken = frozenset(but)
        for hint in hints:
            for wish in _wishes(ranges, hint):
                if wish not in taken and self.holder(wish) in (None, holder):
                    return wish
        for one in ranges:
            found = self._lowest(one, taken)
            if found is not None:
                return found
        return None

    def _lowest(self, one: AddressRange, taken: frozenset[bytes]) -> bytes | None:
        vacancies = self._vacancies.setdefault(one, _Vacancies(int.from_bytes(one.first)))
        passed: list[bytes] = []
        found = None
        while found is None and vacancies.returned:
            lowest = vacancies.returned[0]
            if lowest in self._leases:
                vacancies.drop_first()  # lent again as the hint of somebody
            elif lowest in taken:
                vacancies.drop_first()
                passed.append(lowest)
            else:
                found = lowest
        for address in passed:
            vacancies.put_back(address)
        if found is not None:
            return found
        last, number = int.from_bytes(one.last), vacancies.fresh
        while number <= last:
            address = number.to_bytes(one.octets)
            if address in self._leases:
                if number == vacancies.fresh:
                    vacancies.fresh += 1
            elif address not in taken:
                return address
            number += 1
        return None

    def lend(self, address: bytes, holder: Hashable) -> None:
        """Add a use of an address that `choose` has returned."""
        self._leases.setdefault(address, _Lease(holder)).uses += 1

    def give_back(self, address: bytes) -> None:
        """End one use; the last one frees the address."""
        lease = self._leases.get(address)
        if lease is None:
            return
        lease.uses -= 1
        if lease.uses <= 0:
            del self._leases[address]
            for one, vacancies in self._vacancies.items():
                if address in one:
                    vacancies.put_back(address)


def _ends(text: str) -> tuple[bytes, bytes]:
    low, high = (ipaddress.ip_address(part.strip()) for part in text.split("-", 1))
    if low.version != high.version or low.packed > high.packed:
        raise ValueError("the range runs backwards or mixes IPv4 and IPv6")
    return low.packed, high.packed


def _wishes(ranges: Sequence[AddressRange], hint: bytes) -> Iterator[bytes]:
    if any(hint in one for one in ranges):
        yield hint
    if len(hint) != 16:
        return
    interface = int.from_bytes(hint) & ((1 << _INTERFACE_BITS) - 1)
    for one in ranges:
        if one.octets == 16:
            prefix = int.from_bytes(one.first) >> _INTERFACE_BITS << _INTERFACE_BITS
            moved = (prefix | interface).to_bytes(16)
            if moved in one:
                yield moved
