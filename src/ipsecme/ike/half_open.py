"""HalfOpen: the responder's IKE SAs whose peer is not authenticated, counted by prefix.

Strangers share one budget, and so do the strangers of one network: an IPv4 /24 or an IPv6 /56,
about what one customer or one attacker without spoofing controls (RFC 7296, section 2.6).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ipsecme.base import packed_address

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa

__all__ = ["HalfOpen", "prefix_of"]

_IPV4_PREFIX_OCTETS = 3
_IPV6_PREFIX_OCTETS = 7


def prefix_of(address: str) -> bytes:
    """Return the octets of the network that an address is counted with."""
    packed = packed_address(address)
    return packed[: _IPV4_PREFIX_OCTETS if len(packed) == 4 else _IPV6_PREFIX_OCTETS]


class HalfOpen:
    """Never more entries than `AdmissionConfig.half_open_limit` allows."""

    __slots__ = ("_by_prefix", "_prefixes", "most")

    def __init__(self) -> None:
        self._prefixes: dict[IkeSa, bytes] = {}
        self._by_prefix: Counter[bytes] = Counter()
        self.most = 0

    def __len__(self) -> int:
        return len(self._prefixes)

    def near(self, address: str) -> int:
        """Return how many come from the network of an address."""
        return self._by_prefix.get(prefix_of(address), 0)

    def add(self, sa: IkeSa) -> None:
        """Count an IKE SA with the network from which its first request came."""
        prefix = self._prefixes[sa] = prefix_of(sa.path.remote.address)
        self._by_prefix[prefix] += 1
        self.most = max(self.most, len(self._prefixes))

    def discard(self, sa: IkeSa) -> None:
        """Count an IKE SA no longer, if it was counted."""
        prefix = self._prefixes.pop(sa, None)
        if prefix is None:
            return
        self._by_prefix[prefix] -= 1
        if not self._by_prefix[prefix]:
            del self._by_prefix[prefix]
