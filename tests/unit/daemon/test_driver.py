"""The driver, with real endpoints: order of commands and datagrams, timers, failures, the end."""

from __future__ import annotations

import asyncio
import errno
import io
import json
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path, SystemRefused, Transport
from ipsecme.daemon.log import configure
from ipsecme.dataplane import Counters, SaCounters, Totals
from ipsecme.dataplane.memory import MemoryDataPlane, MemoryNetwork
from ipsecme.ike import events
from support.drivers import EAST, WEST, Node, SlowPlane, Wire, make_endpoint
from support.esp import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(scenario: Coroutine[object, object, None]) -> None:
    asyncio.run(scenario)


@pytest.mark.parametrize("encapsulate", [False, True])
def test_two_drivers_bring_a_tunnel_up_and_take_it_down(encapsulate: bool) -> None:
    async def scenario() -> None:
        wire, network = Wire(), MemoryNetwork()
        planes = {address: MemoryDataPlane(network, (address,)) for address in (WEST, EAST)}
        west, east = (
            Node(wire, here, make_endpoint(here, there, encapsulate=encapsulate), planes[here])
            for here, there in ((WEST, EAST), (EAST, WEST))
        )
        await west.start()
        await east.start()
        west.driver.operate(lambda now: west.driver.endpoint.initiate("site", None, now))
        await west.until(events.ChildSaCreated)
        await east.until(events.ChildSaCreated)
        there, back = echo("10.1.0.1", "10.2.0.1"), echo("10.2.0.1", "10.1.0.1")
        planes[WEST].inject(there)
        planes[EAST].inject(back)
        assert planes[EAST].delivered == [there]
        assert planes[WEST].delivered == [back]
        assert all(path.local.port == 500 for _, path in wire.sent)
        assert len(wire.sent) == (2 if encapsulate else 4)
        assert await west.driver.shut_down(10)
        closed = await east.until(events.IkeSaClosed)
        assert isinstance(closed, events.IkeSaClosed)
        assert closed.reason == "deleted_by_peer"
        assert (await planes[WEST].counters()).sas == []
        assert (await planes[EAST].counters()).sas == []
        await west.stop()
        await east.stop()

    run(scenario())


async def answered_by_slow_plane(
    wire: Wire, slow: SlowPlane, *, encapsulate: bool = False
) -> tuple[Node, Node]:
    """Return west, which initiates, and east, whose data plane is slow, at IKE_AUTH's install."""
    network = MemoryNetwork()
    west_plane = MemoryDataPlane(network, (WEST,))
    west = Node(wire, WEST, make_endpoint(WEST, EAST, encapsulate=encapsulate), west_plane)
    east = Node(wire, EAST, make_endpoint(EAST, WEST, encapsulate=encapsulate), slow)
    await west.start()
    await east.start()
    west.driver.operate(lambda now: west.driver.endpoint.initiate("site", None, now))
    if not encapsulate:
        await asyncio.wait_for(slow.installed.wait(), 10)
    return west, east


def from_east(wire: Wire) -> int:
    return sum(path.local.address == EAST for _, path in wire.sent)


def test_an_answer_on_the_ike_port_waits_until_the_child_sa_is_installed() -> None:
    async def scenario() -> None:
        wire, slow = Wire(), SlowPlane()
        west, east = await answered_by_slow_plane(wire, slow)
        wire.is_cut = True  # so that nothing but the acknowledgement can release the answer
        for _ in range(20):
            await asyncio.sleep(0)
        assert from_east(wire) == 1  # the answer to IKE_SA_INIT alone
        wire.is_cut = False
        slow.installations[0].set_result(None)
        await west.until(events.ChildSaCreated)
        assert from_east(wire) >= 2
        assert slow.calls == ["install"]
        await west.stop()
        await east.stop()

    run(scenario())


def test_an_answer_on_the_nat_port_follows_the_installation_in_the_data_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        wire, slow = Wire(), SlowPlane()
        west, east = await answered_by_slow_plane(wire, slow, encapsulate=True)
        # West's IKE_AUTH goes to the NAT traversal port; hand it over as east's data plane would.
        sent: asyncio.Queue[tuple[bytes, Path]] = asyncio.Queue()
        monkeypatch.setattr(west.plane, "send", lambda data, path: sent.put_nowait((data, path)))
        data, path = await asyncio.wait_for(sent.get(), 10)
        east.driver.receive_ike(data, Path(path.remote, path.local, encapsulated=True))
        assert slow.calls == ["install", "send"]
        await west.stop()
        await east.stop()

    run(scenario())


def test_a_failed_installation_ends_the_child_sa_and_not_the_ike_sa() -> None:
    async def scenario() -> None:
        wire, slow = Wire(), SlowPlane()
        west, east = await answered_by_slow_plane(wire, slow)
        slow.installations[0].set_exception(SystemRefused("no room for another SA"))
        closed = await east.until(events.ChildSaClosed)
        assert isinstance(closed, events.ChildSaClosed)
        assert closed.reason == "install_failed"
        (connection,) = east.driver.endpoint.status()
        assert connection.state == "up"
        assert connection.last_error is not None
        assert connection.last_error.detail == "no room for another SA"
        await west.stop()
        await east.stop()

    run(scenario())


def test_unanswered_requests_are_repeated_and_then_given_up() -> None:
    async def scenario() -> None:
        wire = Wire()
        west = Node(wire, WEST, make_endpoint(WEST, EAST, tries=3), SlowPlane())
        await west.start()
        west.driver.operate(lambda now: west.driver.endpoint.initiate("site", None, now))
        failed = await west.until(events.IkeSaFailed)
        assert isinstance(failed, events.IkeSaFailed)
        assert failed.reason == "unreachable"
        assert len(wire.sent) == 3
        assert len({data for data, _ in wire.sent}) == 1
        await west.stop()

    run(scenario())


def test_packets_of_an_sa_count_as_signs_of_life_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        west = Node(Wire(), WEST, make_endpoint(WEST, EAST), SlowPlane())
        heard: list[tuple[int, float]] = []
        monkeypatch.setattr(
            west.driver.endpoint, "handle_traffic", lambda spi, now: heard.append((spi, now))
        )
        sas = [SaCounters(7, 1, 1, 1, 1, 5.0), SaCounters(8, 0, 0, 3, 3, None)]
        totals = Totals(0, 0, 0, 0)
        seen = west.driver.note_traffic(Counters(sas, totals), {})
        seen = west.driver.note_traffic(Counters(sas, totals), seen)
        sas[0] = SaCounters(7, 2, 2, 1, 1, 6.0)
        west.driver.note_traffic(Counters(sas, totals), seen)
        assert heard == [(7, 5.0), (7, 6.0)]
        await west.stop()

    run(scenario())


def test_shutting_down_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        wire, slow = Wire(), SlowPlane()
        west, east = await answered_by_slow_plane(wire, slow)
        slow.installations[0].set_result(None)
        await west.until(events.ChildSaCreated)
        wire.is_cut = True
        assert await west.driver.shut_down(0.05) is False
        await west.stop()
        await east.stop()

    run(scenario())


def _log_lines(scenario: Callable[[], Coroutine[object, object, None]]) -> list[dict[str, str]]:
    stream = io.StringIO()
    configure("debug", "json", stream)
    run(scenario())
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_fault_in_the_engine_is_reported_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        west = Node(Wire(), WEST, make_endpoint(WEST, EAST), SlowPlane())

        def fail(*_arguments: object) -> None:
            raise KeyError("a fault")

        monkeypatch.setattr(west.driver.endpoint, "receive_datagram", fail)
        path = Path(Transport(WEST, 500), Transport(EAST, 500))
        west.driver.receive([(b"x", path), (b"y", path)])
        assert west.driver.endpoint.counters["internal_errors"] == 2
        await west.stop()

    (line,) = _log_lines(scenario)
    assert line["event"] == "internal_error"
    assert line["msg"] == "KeyError('a fault'); please report this"
    assert "test_driver.py" in line["traceback"]


def test_a_destination_without_a_route_is_reported_once() -> None:
    async def scenario() -> None:
        wire = Wire()
        wire.error = OSError(errno.ENETUNREACH, "Network is unreachable")
        west = Node(wire, WEST, make_endpoint(WEST, EAST, tries=3), SlowPlane())
        await west.start()
        west.driver.operate(lambda now: west.driver.endpoint.initiate("site", None, now))
        await west.until(events.IkeSaFailed)
        await west.stop()

    (line,) = _log_lines(scenario)
    assert line["event"] == "datagram_not_sent"
    assert line["msg"] == "cannot send to 192.0.2.2:500: Network is unreachable"


def test_the_end_of_the_data_plane_is_passed_on() -> None:
    async def scenario() -> None:
        west = Node(Wire(), WEST, make_endpoint(WEST, EAST), SlowPlane())
        west.driver.failed("the packet process has ended")
        assert west.lost == ["the packet process has ended"]
        await west.stop()

    run(scenario())
