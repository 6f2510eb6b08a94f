"""The processor: numbers and their end, dummies, succession, congestion marks, counters."""

from __future__ import annotations

import dataclasses

import pytest

from ipsecme.base import LocalMisuse, Path, Transport
from ipsecme.esp import DropReason, Processor
from ipsecme.esp.transform import sealer
from ipsecme.wire.esp import encode_trailer
from ipsecme.wire.ip import checksum, read_headers
from support.esp import (
    CBC_SUITE,
    EAST,
    EAST6,
    ESN_SUITE,
    GCM_SUITE,
    WEST,
    WEST6,
    SeededRng,
    joined,
    make_ends,
    packet,
    udp,
)

_LAST_32 = (1 << 32) - 1
_LAST_64 = (1 << 64) - 1


# sequence numbers


def test_numbers_start_at_one_and_count_up() -> None:
    here = joined()
    sent = [here.west.outbound(udp()).octets for _ in range(3)]
    assert [int.from_bytes(octets[4:8]) for octets in sent] == [1, 2, 3]


@pytest.mark.parametrize("suite", [GCM_SUITE, CBC_SUITE, ESN_SUITE], ids=str)
def test_the_last_number_is_used_and_none_after_it(suite: object) -> None:
    here = joined(make_ends(suite))  # type: ignore[arg-type]
    last = _LAST_64 if suite is ESN_SUITE else _LAST_32
    here.outbound.sequence = last - 2
    here.east._pairs[0x2001].inbound._window.top = last - 2

    for _ in range(2):
        sealed = here.west.outbound(udp())
        assert here.east.inbound(sealed.octets, 1.0).reason is None
    for _ in range(3):
        assert here.west.outbound(udp()).reason == DropReason.SEQUENCE_EXHAUSTED
    assert here.outbound.sequence == last


def test_the_coming_end_is_reported_once() -> None:
    here = joined()
    here.outbound.sequence = _LAST_32 // 4 * 3 - 2
    here.west.outbound(udp())
    assert here.west.expiring == []

    for _ in range(3):
        here.west.outbound(udp())
    assert here.west.expiring == [here.ends.west.spi]


def test_an_end_without_warning_is_reported_too() -> None:
    here = joined()
    here.outbound.sequence = _LAST_32
    here.west.outbound(udp())
    assert here.west.expiring == [here.ends.west.spi]


def test_esn_crosses_32_bits_with_late_packets() -> None:
    here = joined(make_ends(ESN_SUITE))
    here.outbound.sequence = _LAST_32 - 3
    here.east._pairs[0x2001].inbound._window.top = _LAST_32 - 3
    sealed = [here.west.outbound(udp()).octets for _ in range(8)]

    order = [0, 5, 1, 7, 2, 3, 6, 4]
    assert [here.east.inbound(sealed[at], 1.0).reason for at in order] == [None] * 8
    for at in order:
        assert here.east.inbound(sealed[at], 1.0).reason == DropReason.REPLAYED


def test_mixed_up_esn_settings_do_not_open() -> None:
    plain, extended = make_ends(ESN_SUITE._replace(esn=False)), make_ends(ESN_SUITE)
    west, east = Processor(SeededRng()), Processor(SeededRng())
    west.install(plain.west)
    east.install(extended.east)
    assert east.inbound(west.outbound(udp()).octets, 1.0).reason == DropReason.BAD_ICV


# replay


@pytest.mark.parametrize("suite", [GCM_SUITE, CBC_SUITE, ESN_SUITE], ids=str)
@pytest.mark.parametrize("window", [32, 128, 4096])
def test_window_edges_with_real_packets(suite: object, window: int) -> None:
    here = joined(make_ends(suite, window=window))  # type: ignore[arg-type]
    sealed = [here.west.outbound(udp()).octets for _ in range(window + 1)]
    east = here.east

    assert east.inbound(sealed[window], 1.0).reason is None  # number window + 1
    assert east.inbound(sealed[1], 1.0).reason is None  # just inside
    assert east.inbound(sealed[1], 1.0).reason == DropReason.REPLAYED
    # Left of the window: with ESN the number is taken for one of the next 2^32, and the ICV fails.
    outside = DropReason.BAD_ICV if suite is ESN_SUITE else DropReason.STALE
    assert east.inbound(sealed[0], 1.0).reason == outside


@pytest.mark.parametrize("suite", [GCM_SUITE, CBC_SUITE, ESN_SUITE], ids=str)
def test_forged_far_ahead_packets_do_not_move_the_window(suite: object) -> None:
    here = joined(make_ends(suite))  # type: ignore[arg-type]
    first, second = (here.west.outbound(udp()).octets for _ in range(2))
    assert here.east.inbound(first, 1.0).reason is None

    forged = second[:4] + b"\x7f\xff\xff\xff" + second[8:]
    assert here.east.inbound(forged, 1.0).reason == DropReason.BAD_ICV
    assert here.east.inbound(second, 1.0).reason is None


def test_each_packet_passes_once() -> None:
    here = joined()
    sealed = [here.west.outbound(udp()).octets for _ in range(50)]
    for octets in sealed:
        assert here.east.inbound(octets, 1.0).reason is None
    for octets in sealed:
        assert here.east.inbound(octets, 1.0).reason == DropReason.REPLAYED


# what is inside


def test_dummies_are_dropped_silently_but_are_a_sign_of_life() -> None:
    here = joined()
    dummy = here.outbound.seal_dummy(b"anything at all")
    assert dummy is not None

    assert here.east.inbound(dummy, 5.0).reason == DropReason.DUMMY
    (sa,) = here.east.counters().sas
    assert sa.last_inbound == 5.0
    assert sa.drops == {DropReason.DUMMY: 1}
    assert sa.packets_in == 0
    assert here.east.inbound(dummy, 6.0).reason == DropReason.REPLAYED


@pytest.mark.parametrize("next_header", sorted({*range(256)} - {4, 41, 59}))
def test_other_next_headers_are_dropped(next_header: int) -> None:
    here = joined()
    seal = sealer(GCM_SUITE, here.ends.west.outbound, SeededRng())
    inner = udp()
    sealed = seal(inner + encode_trailer(len(inner), 4, next_header), 1)
    assert here.east.inbound(sealed, 1.0).reason == DropReason.BAD_NEXT_HEADER


@pytest.mark.parametrize(("source", "destination"), [(WEST, EAST), (WEST6, EAST6)])
@pytest.mark.parametrize("ecn", [0, 1, 2, 3])
def test_congestion_marks_come_inwards(source: str, destination: str, ecn: int) -> None:
    here = joined()
    inner = packet(source, destination, 253, b"payload", ecn=ecn)
    sealed = here.west.outbound(inner).octets

    verdict = here.east.inbound(sealed, 1.0, traffic_class=3)

    if ecn == 0:
        assert verdict.reason == DropReason.CONGESTION
        return
    expected = packet(source, destination, 253, b"payload", ecn=3)
    assert verdict.octets == expected
    if ":" not in source:
        assert checksum(verdict.octets[:20]) == 0
    assert read_headers(verdict.octets) == read_headers(inner)


# succession


def _rekeyed(*, ready: bool = False) -> tuple[Processor, Processor, int, int]:
    """Both ends hold an old and a new pair; west waits on the new one unless `ready`."""
    here = joined()
    new = make_ends(spis=(0x1002, 0x2002), replaces=(0x1001, 0x2001), ready=(ready, True), seed=8)
    here.west.install(new.west)
    here.east.install(new.east)
    return here.west, here.east, 0x1001, 0x1002


def test_the_old_sa_carries_until_the_peer_shows_the_new_one() -> None:
    west, east, old, new = _rekeyed()
    assert west.outbound(udp()).spi == old

    reply = east.outbound(udp(EAST, WEST))
    assert reply.spi == 0x2002
    assert west.inbound(reply.octets, 1.0).reason is None
    assert west.outbound(udp()).spi == new


def test_a_packet_that_fails_a_check_is_no_proof() -> None:
    west, east, old, _ = _rekeyed()
    reply = east.outbound(udp(EAST, WEST)).octets

    west.inbound(reply[:-1] + bytes((reply[-1] ^ 1,)), 1.0)
    assert west.outbound(udp()).spi == old


def test_a_dummy_on_the_new_sa_is_proof() -> None:
    west, east, _, new = _rekeyed()
    dummy = east._pairs[0x2002].outbound.seal_dummy(b"")
    assert dummy is not None
    west.inbound(dummy, 1.0)
    assert west.outbound(udp()).spi == new


@pytest.mark.parametrize("end", ["retire", "remove"])
def test_the_new_sa_takes_over_when_the_old_one_ends(end: str) -> None:
    west, east, old, new = _rekeyed()
    on_old = east._pairs[0x2001].outbound.seal(udp(EAST, WEST))
    assert on_old is not None

    getattr(west, end)(old)

    assert west.outbound(udp()).spi == new
    still_heard = west.inbound(on_old, 1.0).reason
    assert still_heard == (None if end == "retire" else DropReason.UNKNOWN_SPI)


def test_a_ready_successor_takes_over_at_once() -> None:
    west, _, _, new = _rekeyed(ready=True)
    assert west.outbound(udp()).spi == new


def test_a_retired_sa_without_successor_sends_nothing_but_hears() -> None:
    here = joined()
    here.west.retire(here.ends.west.spi)
    assert here.west.outbound(udp()).reason == DropReason.NO_POLICY
    assert here.west.inbound(here.east.outbound(udp(EAST, WEST)).octets, 1.0).reason is None


def test_a_successor_of_an_sa_that_is_gone_is_ready() -> None:
    west = Processor(SeededRng())
    west.install(make_ends(replaces=(0x9999, None), ready=(False, True)).west)
    assert west.outbound(udp()).reason is None


def test_a_waiting_pair_without_predecessor_waits_for_its_first_packet() -> None:
    here = joined(make_ends(ready=(False, True)))
    assert here.west.outbound(udp()).reason == DropReason.NO_POLICY
    here.west.inbound(here.east.outbound(udp(EAST, WEST)).octets, 1.0)
    assert here.west.outbound(udp()).reason is None


def test_the_loser_of_a_collision_leaves_no_gap() -> None:
    """Two successors; the redundant one is removed before anything arrived on the other."""
    west, _, old, loser = _rekeyed(ready=True)
    west.install(
        make_ends(spis=(0x1003, 0x2003), replaces=(old, 0x2001), ready=(False, True), seed=9).west
    )
    assert west.outbound(udp()).spi == loser
    west.retire(loser)
    west.remove(loser)
    assert west.outbound(udp()).spi == old
    west.retire(old)
    assert west.outbound(udp()).spi == 0x1003
    west.remove(old)
    assert west.outbound(udp()).spi == 0x1003


def test_a_chain_of_successors_keeps_its_newest_in_use() -> None:
    west, _, old, middle = _rekeyed(ready=True)
    west.install(make_ends(spis=(0x1003, 0x2003), replaces=(middle, None), seed=9).west)
    west.retire(middle)
    assert west.outbound(udp()).spi == 0x1003
    west.remove(middle)
    assert west.outbound(udp()).spi == 0x1003
    west.remove(0x1003)
    assert west.outbound(udp()).spi == old


# installing


def test_an_spi_is_installed_once() -> None:
    here = joined()
    with pytest.raises(LocalMisuse, match="installed already"):
        here.west.install(here.ends.west)


@pytest.mark.parametrize("spi", [0, 1, 255, 1 << 32])
def test_reserved_spis_are_refused(spi: int) -> None:
    pair = make_ends().west
    for changed in (
        dataclasses.replace(pair, inbound=dataclasses.replace(pair.inbound, spi=spi)),
        dataclasses.replace(pair, outbound=dataclasses.replace(pair.outbound, spi=spi)),
    ):
        processor = Processor(SeededRng())
        with pytest.raises(LocalMisuse, match="SPI"):
            processor.install(changed)
        assert processor.counters().sas == []


def test_unknown_spis_are_ignored() -> None:
    processor = Processor(SeededRng())
    processor.retire(5000)
    processor.remove(5000)
    processor.update_path(5000, make_ends().west.path)
    assert processor.counters().sas == []


def test_paths_change() -> None:
    here = joined()
    path = Path(Transport("192.0.2.1", 4500), Transport("198.51.100.9", 61000), encapsulated=True)
    here.west.update_path(here.ends.west.spi, path)
    assert here.west.path(here.outbound) == path


# counters


def test_counters_count_inner_traffic_and_survive_removal() -> None:
    here = joined()
    inner = udp(payload=bytes(100))
    sealed = [here.west.outbound(inner).octets for _ in range(3)]
    for octets in [*sealed, sealed[0]]:
        here.east.inbound(octets, 7.5)
    here.east.inbound(b"\x00\x00\x99\x99" + bytes(60), 7.5)

    (sa,) = here.east.counters().sas
    assert (sa.spi, sa.packets_in, sa.octets_in) == (0x2001, 3, 3 * len(inner))
    assert sa.last_inbound == 7.5
    assert sa.drops == {DropReason.REPLAYED: 1}
    (other,) = here.west.counters().sas
    assert (other.packets_out, other.octets_out) == (3, 3 * len(inner))
    assert other.last_inbound is None

    here.east.remove(0x2001)
    counters = here.east.counters()
    assert counters.sas == []
    assert counters.totals.packets_in == 3
    assert counters.totals.drops == {DropReason.UNKNOWN_SPI: 1, DropReason.REPLAYED: 1}


def test_batches_keep_order_and_group_by_sa() -> None:
    here = joined()
    other = make_ends(spis=(0x1100, 0x2100), west_ts=("10.7.0.0/16",), east_ts=("10.8.0.0/16",))
    here.west.install(other.west)
    here.east.install(other.east)
    one = [udp(payload=bytes((n,))) for n in range(10)]
    two = [udp("10.7.0.1", "10.8.0.1", bytes((n,))) for n in range(10)]
    mixed = [inner for both in zip(one, two, strict=True) for inner in both]

    filled = here.west.outbound_batch([*mixed, b"", b"\x45", udp(WEST, WEST)])

    assert [sa.pair.spi for sa in filled] == [0x1001, 0x1100]
    delivered: list[bytes] = []
    strangers: list[bytes] = []
    for sa in filled:
        here.east.inbound_batch(sa.queue, 1.0, delivered, strangers)
    assert delivered == one + two
    assert strangers == []
    drops = here.west.counters().totals.drops
    assert drops == {DropReason.MALFORMED_PACKET: 2, DropReason.NO_POLICY: 1}


def test_strangers_are_handed_back_uncounted() -> None:
    here = joined()
    marker, short = bytes(4) + b"ike", b"\xff"
    strangers: list[bytes] = []
    here.east.inbound_batch([marker, here.west.outbound(udp()).octets, short], 1.0, [], strangers)
    assert strangers == [marker, short]
    assert here.east.counters().totals.drops == {}
