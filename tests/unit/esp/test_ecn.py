"""Congestion marks of tunnels, both tables of RFC 6040 (sections 4.1 and 4.2)."""

from __future__ import annotations

import pytest

from ipsecme.esp import DropReason
from ipsecme.wire.ip import checksum
from support.esp import EAST, EAST6, WEST, WEST6, joined, packet

NOT_ECT, ECT_1, ECT_0, CE = range(4)
# Figure 4: rows are the inner mark, columns the outer one; None: the packet is dropped.
DECAPSULATION: dict[int, dict[int, int | None]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: None},
    ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
    ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
    CE: {NOT_ECT: CE, ECT_0: CE, ECT_1: CE, CE: CE},
}
FAMILIES = [(WEST, EAST), (WEST6, EAST6)]
DSCP = 0xA8


@pytest.mark.requirement("R7296-161")
@pytest.mark.parametrize("ends", FAMILIES)
@pytest.mark.parametrize("inner", range(4))
@pytest.mark.parametrize("outer", range(4))
def test_decapsulation(ends: tuple[str, str], inner: int, outer: int) -> None:
    here = joined()
    sealed = here.west.outbound(packet(*ends, 253, b"payload", ecn=DSCP | inner)).octets
    verdict = here.east.inbound(sealed, 1.0, traffic_class=0x20 | outer)
    expected = DECAPSULATION[inner][outer]
    if expected is None:
        assert verdict.reason == DropReason.CONGESTION
        return
    # The inner DSCP is the sender's; what routers made of the outer one stays outside.
    assert verdict.octets == packet(*ends, 253, b"payload", ecn=DSCP | expected)
    if ":" not in ends[0]:
        assert checksum(verdict.octets[:20]) == 0


@pytest.mark.requirement("R7296-161")
@pytest.mark.parametrize("ends", FAMILIES)
@pytest.mark.parametrize("inner", range(4))
def test_encapsulation_copies_the_mark(ends: tuple[str, str], inner: int) -> None:
    here = joined()
    (sa,) = here.west.outbound_batch((packet(*ends, 253, b"payload", ecn=DSCP | inner),))
    ((outer, sealed),) = sa.take()
    assert outer == DSCP | inner
    assert len(sealed) == 1


@pytest.mark.requirement("R7296-161")
def test_packets_leave_in_their_order_each_with_its_mark() -> None:
    here = joined()
    marks = [0, 0, 2, 2, 3, 0]
    (sa,) = here.west.outbound_batch([packet(WEST, EAST, 253, b"p", ecn=mark) for mark in marks])
    runs = sa.take()
    assert [(mark, len(sealed)) for mark, sealed in runs] == [(0, 2), (2, 2), (3, 1), (0, 1)]
    numbers = [int.from_bytes(octets[4:8]) for _, sealed in runs for octets in sealed]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert sa.queue == []
