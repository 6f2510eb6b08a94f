"""Which packets the kernel hands to the TUN device: a routing table, and the rules that lead there.

Packets with our mark pass by (a tunnel may cover the peer's own address). Of the others, those from
a pair's local side look for their destination in our table, where each remote prefix leads to the
device. Below each such route lies one to nowhere: should this process be killed, nothing leaves in
the clear. Local prefixes are thrown back to the main table, so that a tunnel to everywhere leaves
the local network alone. Addresses that a gateway assigned to us stand on the device, and what goes
there is sent from them.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import Incompatible, SystemRefused
from ipsecme.dataplane.user import netlink as nl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipsecme.dataplane.user.netlink import Netlink, Request
    from ipsecme.dataplane.user.settings import UserSettings
    from ipsecme.policy.parameters import SaPair
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["Routes"]

_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}
_METRIC, _LAST_METRIC = 10, 20
_MOST_PREFIXES = 256
_FIB_RULE_FIND_SADDR = 0x10000  # IPv6: match the source that would be chosen
_MOST_STALE_RULES = 4096


class _Prefix(NamedTuple):
    address: bytes
    bits: int


class _Need(NamedTuple):
    """What one pair needs in the tables."""

    remote: frozenset[_Prefix]
    local: frozenset[_Prefix]
    assigned: frozenset[_Prefix]
    preferred: dict[int, bytes]  # by octets of an address


class Routes:
    """Routes and rules, counted by the SA pairs that need them."""

    def __init__(self, netlink: Netlink, index: int, settings: UserSettings) -> None:
        self._netlink = netlink
        self._index = index
        self._table = settings.table
        self._mark = settings.mark
        self._priority = settings.rule_priority
        self._needs: dict[int, _Need] = {}
        self._uses: Counter[tuple[str, _Prefix]] = Counter()
        self._sources: dict[_Prefix, bytes] = {}  # of the routes to the device
        self._wishes: dict[_Prefix, dict[int, bytes]] = {}  # sources by SPI, the newest last
        self._addresses: set[bytes] | None = None
        self._families: list[int] = []

    def start(self) -> None:
        """Remove what a killed process left, and lead marked packets past our rules."""
        for family in _FAMILIES.values():
            self._remove_stale(family)
            errors = self._netlink.execute(self._passage(family))
            serious = [error for error in errors if error is not None]
            if not serious:
                self._families.append(family)
            elif family == socket.AF_INET:
                raise SystemRefused(
                    f"routing rules cannot be made ({serious[0].strerror}): run as root or with "
                    "CAP_NET_ADMIN"
                )

    def close(self) -> None:
        """Remove everything."""
        for spi in list(self._needs):
            self.remove(spi)
        for family in self._families:
            self._netlink.execute(self._passage(family, is_removal=True))
        self._families.clear()

    def forget_addresses(self) -> None:
        """Look again for this host's addresses when the next pair comes."""
        self._addresses = None

    def add(self, pair: SaPair) -> None:
        """Make the routes of a pair. Raises `Incompatible` or `SystemRefused`; nothing is left."""
        need = self._need(pair)
        wanted = [key for key in _keys(need) if not self._uses[key]]
        requests = [self._request(key, need.preferred) for key in wanted]
        errors = self._netlink.execute(requests)
        failed = [e for e in errors if e is not None and e.errno != errno.EEXIST]
        if failed:
            done = [key for key, error in zip(wanted, errors, strict=True) if error is None]
            self._netlink.execute([self._request(key, {}, is_removal=True) for key in done])
            raise SystemRefused(
                f"the routes of {pair.connection} cannot be made: {failed[0].strerror}"
            )
        self._uses.update(_keys(need))
        self._needs[pair.spi] = need
        for prefix in need.remote:
            source = need.preferred.get(len(prefix.address), b"")
            self._wishes.setdefault(prefix, {})[pair.spi] = source
        self._sources.update(
            (prefix, need.preferred.get(len(prefix.address), b""))
            for what, prefix in wanted
            if what == "device"
        )
        self._renew_sources(need)

    def remove(self, spi: int) -> None:
        """Remove what no other pair needs."""
        need = self._needs.pop(spi, None)
        if need is None:
            return
        keys = _keys(need)
        for prefix in need.remote:
            wishes = self._wishes[prefix]
            del wishes[spi]
            if not wishes:
                del self._wishes[prefix]
        self._renew_sources(need)  # before an address goes, as its routes go with it
        self._uses.subtract(keys)
        unused = [key for key in reversed(keys) if self._uses[key] <= 0]
        for key in unused:
            del self._uses[key]
            if key[0] == "device":
                del self._sources[key[1]]
        self._netlink.execute([self._request(key, {}, is_removal=True) for key in unused])

    def _renew_sources(self, changed: _Need) -> None:
        """Have routes that several pairs need prefer a source that the newest of them has."""
        requests = []
        for prefix in changed.remote:
            wishes = self._wishes.get(prefix)
            if not wishes:
                continue
            newest = next(reversed(wishes.values()))
            if newest != self._sources.get(prefix, b""):
                self._sources[prefix] = newest
                preferred = {len(prefix.address): newest}
                request = self._request(("device", prefix), preferred)
                requests.append(request._replace(flags=nl.REPLACE))
        self._netlink.execute(requests)

    # what is needed

    def _need(self, pair: SaPair) -> _Need:
        sizes = {len(ts.start) for ts in pair.local_ts} & {len(ts.start) for ts in pair.remote_ts}
        sizes = {size for size in sizes if _FAMILIES[size] in self._families}
        remote = _prefixes(ts for ts in pair.remote_ts if len(ts.start) in sizes)
        local = _prefixes(ts for ts in pair.local_ts if len(ts.start) in sizes)
        chosen = {size: self._own_address(pair.local_ts, size) for size in sizes}
        preferred = {size: address for size, address in chosen.items() if address}
        own = [address for address in pair.own_addresses if len(address) in sizes]
        preferred |= {len(address): address for address in reversed(own)}
        assigned = frozenset(_Prefix(address, 8 * len(address)) for address in own)
        return _Need(remote, local, assigned, preferred)

    def _own_address(self, selectors: Sequence[TrafficSelector], size: int) -> bytes:
        """Return an address of this host within the selectors, or nothing.

        A selector of every address says nothing about which one to prefer.
        """
        if self._addresses is None:
            found = self._netlink.addresses(except_of=self._index)
            self._addresses = {a for a in found if not _is_special(a)}
        for selector in selectors:
            if len(selector.start) != size or _spans_everything(selector):
                continue
            inside = [a for a in self._addresses if selector.start <= a <= selector.end]
            if inside:
                return min((a for a in inside if len(a) == size), default=b"")
        return b""

    # requests

    def _request(
        self, key: tuple[str, _Prefix], preferred: dict[int, bytes], *, is_removal: bool = False
    ) -> Request:
        what, (address, bits) = key
        if what == "source":
            return nl.rule_request(
                _FAMILIES[len(address)],
                self._priority + 1,
                action=nl.RULE_TO_TABLE,
                source=address,
                bits=bits,
                table=self._table,
                flags=_FIB_RULE_FIND_SADDR if len(address) == 16 else 0,
                is_removal=is_removal,
            )
        if what == "address":
            return nl.address_request(self._index, address, is_removal=is_removal)
        kinds = {
            "device": nl.ROUTE_UNICAST,
            "nowhere": nl.ROUTE_UNREACHABLE,
            "throw": nl.ROUTE_THROW,
        }
        is_device = what == "device"
        return nl.route_request(
            address,
            bits,
            table=self._table,
            kind=kinds[what],
            metric=_METRIC if is_device else _LAST_METRIC,
            index=self._index if is_device else 0,
            preferred_source=preferred.get(len(address), b"") if is_device else b"",
            is_removal=is_removal,
        )

    def _passage(self, family: int, *, is_removal: bool = False) -> list[Request]:
        """Let marked packets jump over the rules between the first and the last one."""
        first, last = self._priority, self._priority + 2
        return [
            nl.rule_request(family, last, action=nl.RULE_NOP, is_removal=is_removal),
            nl.rule_request(
                family,
                first,
                action=nl.RULE_GOTO,
                mark=self._mark,
                target=last,
                is_removal=is_removal,
            ),
        ]

    def _remove_stale(self, family: int) -> None:
        for offset in range(3):
            for _ in range(_MOST_STALE_RULES):
                (error,) = self._netlink.execute([nl.rule_removal(family, self._priority + offset)])
                if error is not None:
                    break
        self._netlink.execute(
            [
                nl.route_removal(family, prefix, bits, self._table, kind)
                for prefix, bits, kind in self._netlink.routes(family, self._table)
            ]
        )


def _keys(need: _Need) -> list[tuple[str, _Prefix]]:
    """Return what a need consists of, in the order in which it is safe to make it."""
    sources = [("source", prefix) for prefix in sorted(need.local)]
    if 4 in need.preferred:
        # Packets of this host that have no source yet; IPv6 asks for the one to be chosen.
        sources.append(("source", _Prefix(bytes(4), 32)))
    throws = [("throw", prefix) for prefix in sorted(need.local - need.remote)]
    # IPv6 chooses the source before it looks at the rules, and prefers the device's own.
    own_ipv6 = {_Prefix(a, 128) for a in need.preferred.values() if len(a) == 16}
    own = [("address", prefix) for prefix in sorted(need.assigned | own_ipv6)]
    nowhere = [("nowhere", prefix) for prefix in sorted(need.remote)]
    device = [("device", prefix) for prefix in sorted(need.remote)]
    return [*nowhere, *throws, *own, *device, *sources]


def _prefixes(selectors: Iterable[TrafficSelector]) -> frozenset[_Prefix]:
    found: set[_Prefix] = set()
    for selector in selectors:
        found |= _prefixes_of_range(selector.start, selector.end)
        if len(found) > _MOST_PREFIXES:
            raise Incompatible(
                f"traffic selectors that need more than {_MOST_PREFIXES} routes; "
                "use fewer or rounder address ranges"
            )
    return frozenset(found)


@lru_cache(maxsize=1024)
def _prefixes_of_range(start: bytes, end: bytes) -> frozenset[_Prefix]:
    """Return the prefixes that a range consists of: as many as twice its bits at most."""
    networks = ipaddress.summarize_address_range(
        ipaddress.ip_address(start), ipaddress.ip_address(end)
    )
    return frozenset(_Prefix(n.network_address.packed, n.prefixlen) for n in networks)


def _spans_everything(selector: TrafficSelector) -> bool:
    return not any(selector.start) and not any(octet != 0xFF for octet in selector.end)


def _is_special(address: bytes) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed.is_link_local or parsed.is_multicast
