"""Ways: runs of packets for one call, and what happens when the system refuses."""

from __future__ import annotations

import errno
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, strategies as st

from ipsecme.dataplane.user.way import Way, _runs
from ipsecme.wire.encap import NAT_KEEPALIVE, is_ike
from support.pair import Pair, peer
from support.planes import outer_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.dataplane.user.sockets import OuterSockets

_UDP_SEGMENT = 103  # linux/udp.h


@given(st.lists(st.integers(1, 40), max_size=300))
def test_runs_keep_order_and_obey_the_kernel(sizes: list[int]) -> None:
    packets = [bytes((number % 256,)) * size for number, size in enumerate(sizes)]

    runs = list(_runs(packets))

    assert [packet for run in runs for packet in run] == packets
    for run in runs:
        first, last = len(run[0]), len(run[-1])
        assert all(len(packet) == first for packet in run[:-1])
        assert last <= first
        assert len(run) <= 64


def test_runs_stay_below_the_size_of_a_datagram() -> None:
    runs = list(_runs([bytes(1450)] * 64))
    assert len(runs) == 2
    assert all(sum(map(len, run)) <= 65000 for run in runs)


class _Socket:
    """Notes what is sent and refuses as told."""

    def __init__(self, *, refuse_runs: int = 0, refuse_all: int = 0) -> None:
        self.calls: list[tuple[int, int | None]] = []
        self.sent: list[bytes] = []
        self._refuse_runs = refuse_runs
        self._refuse_all = refuse_all

    def sendmsg(
        self, packets: Sequence[bytes], ancillary: list[Any], flags: int, address: tuple[str, int]
    ) -> int:
        sizes = [
            int.from_bytes(data, "little") for _, kind, data in ancillary if kind == _UDP_SEGMENT
        ]
        self.calls.append((len(packets), sizes[0] if sizes else None))
        self.sent += packets
        if self._refuse_all:
            raise OSError(self._refuse_all, "refused")
        if self._refuse_runs and len(packets) > 1:
            raise OSError(self._refuse_runs, "refused")
        return sum(map(len, packets))


class _Sockets:
    def __init__(self, udp: _Socket) -> None:
        self._udp = udp

    def side(self, local: str) -> Any:
        return SimpleNamespace(address=local, udp=self._udp, raw=_Socket())


def _way(udp: _Socket) -> Way:
    return Way(outer_path(), cast("OuterSockets", _Sockets(udp)))


def test_equal_packets_leave_in_one_call() -> None:
    udp = _Socket()
    assert _way(udp).send_esp([bytes(100)] * 10 + [bytes(40)]) == 0
    assert udp.calls == [(11, 100)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO, errno.EMSGSIZE])
def test_without_segmentation_packets_leave_one_by_one(number: int) -> None:
    udp = _Socket(refuse_runs=number)
    way = _way(udp)
    assert way.send_esp([bytes(100)] * 3) == 0
    assert udp.calls == [(3, 100), (1, None), (1, None), (1, None)]
    udp.calls.clear()
    assert way.send_esp([bytes(100)] * 3) == 0
    assert udp.calls == [(1, None)] * 3


@pytest.mark.parametrize(
    "number", [errno.ECONNREFUSED, errno.ENETUNREACH, errno.EAGAIN, errno.EPERM, errno.ENOBUFS]
)
def test_refusals_are_counted_and_never_raised(number: int) -> None:
    way = _way(_Socket(refuse_all=number))
    assert way.send_esp([bytes(100)] * 3) == 3
    assert way.send_esp([bytes(100)]) == 1
    assert way.send_ike(b"message") == 1


def test_a_path_from_an_address_without_socket_is_refused() -> None:
    class Nothing:
        def side(self, local: str) -> None:
            del local

    for encapsulated in (True, False):
        way = Way(outer_path(encapsulated=encapsulated), cast("OuterSockets", Nothing()))
        assert way.send_esp([b"a", b"b"]) == 2
        assert way.send_ike(b"c") == 1


@pytest.mark.requirement("R7296-150")
def test_ike_on_the_nat_traversal_port_follows_four_zero_octets_that_do_not_count() -> None:
    udp = _Socket()
    way = _way(udp)
    pair = Pair(a=replace(peer("a"), remote_port=4500))
    pair.establish()
    messages = [datagram.data for _, datagram in pair.sent]
    for message in messages:
        assert way.send_ike(message) == 0
    assert udp.sent == [bytes(4) + message for message in messages]
    assert [int.from_bytes(packet[28:32]) for packet in udp.sent] == [len(m) for m in messages]
    assert all(is_ike(packet) for packet in udp.sent)
    # The proofs cover the messages without it: both ends, which never see it, are up.
    pair.check_sads()
    way.send_esp([b"\0\0\1\0 an ESP packet"])
    way.send_ike(NAT_KEEPALIVE)
    assert udp.sent[-2:] == [b"\0\0\1\0 an ESP packet", b"\xff"]
    assert not any(is_ike(packet) for packet in udp.sent[-2:])
