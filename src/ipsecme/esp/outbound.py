"""The outbound half of an SA: sequence numbers, trailers, and packets waiting to leave."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ipsecme.esp.keyed import Keyed
from ipsecme.esp.transform import sealer, sizes
from ipsecme.wire.esp import encode_trailer, trailers
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.policy.parameters import SaPair

__all__ = ["OutboundSa"]

_SOFT_NUMERATOR, _SOFT_DENOMINATOR = 3, 4


class OutboundSa(Keyed):
    """Seals packets of one SA.

    `queue` holds the ESP packets not yet taken by who sends them, `classes` the traffic class for
    the outer header of each.

    The last sequence number is 2^32-1, with ESN 2^64-1 (RFC 4303, section 3.3.3); after it `seal`
    returns nothing. At three quarters of the way `is_expiring` turns true.
    """

    __slots__ = (
        "_alarm",
        "_alignment_mask",
        "_last",
        "_seal",
        "_trailers",
        "classes",
        "is_expiring",
        "octets",
        "pair",
        "queue",
        "sequence",
    )

    def __init__(self, pair: SaPair, rng: Rng) -> None:
        alignment = sizes(pair.suite).alignment
        self.pair = pair
        self.queue: list[bytes] = []
        self.classes: list[int] = []
        self.octets = 0
        self.sequence = 0
        self.is_expiring = False
        self._seal = sealer(pair.suite, pair.outbound, rng)
        self._last = (1 << (64 if pair.suite.esn else 32)) - 1
        self._alarm = self._last // _SOFT_DENOMINATOR * _SOFT_NUMERATOR
        self._alignment_mask = alignment - 1
        self._trailers = {
            4: trailers(alignment, IpProtocol.IPV4),
            6: trailers(alignment, IpProtocol.IPV6),
        }

    def take(self) -> list[tuple[int, list[bytes]]]:
        """Empty the queue; return its packets in runs of one traffic class."""
        queue, classes = self.queue, self.classes
        self.queue, self.classes = [], []
        first = classes[0] if classes else 0
        if classes.count(first) == len(queue):
            return [(first, queue)]
        pairs = groupby(zip(classes, queue, strict=True), key=itemgetter(0))
        return [(value, [packet for _, packet in run]) for value, run in pairs]

    def seal(self, packet: bytes) -> bytes | None:
        """Return the ESP packet around an IPv4 or IPv6 packet; None when no number is left."""
        sequence = self.sequence + 1
        if sequence >= self._alarm and not self._may_use(sequence):
            return None
        self.sequence = sequence
        size = len(packet)
        self.octets += size
        trailer = self._trailers[packet[0] >> 4][size & self._alignment_mask]
        seal = self._seal
        return seal(packet + trailer, sequence)

    def seal_dummy(self, payload: bytes) -> bytes | None:
        """Return a dummy packet, which the peer discards (RFC 4303, section 2.6)."""
        sequence = self.sequence + 1
        if sequence >= self._alarm and not self._may_use(sequence):
            return None
        self.sequence = sequence
        trailer = encode_trailer(len(payload), self._alignment_mask + 1, IpProtocol.NO_NEXT_HEADER)
        return self._seal(payload + trailer, sequence)

    def _may_use(self, sequence: int) -> bool:
        self.is_expiring = True
        return sequence <= self._last

    @property
    def packets(self) -> int:
        """How many packets were sealed."""
        return self.sequence
