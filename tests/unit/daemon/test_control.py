"""The control socket, asked by the project's own client over a real UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from ipsecme.api import Client, RequestRefused
from ipsecme.base import Secret, SystemRefused
from ipsecme.crypto.suite import IkeSuite
from ipsecme.daemon import control
from ipsecme.daemon.control import ControlServer
from ipsecme.daemon.hints import HINTS
from ipsecme.daemon.history import History
from ipsecme.daemon.keepup import KeepUp
from ipsecme.daemon.operations import Operator
from ipsecme.daemon.status import StatusView
from ipsecme.dataplane.memory import MemoryDataPlane, MemoryNetwork
from ipsecme.ike import events
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId
from support.drivers import EAST, WEST, Node, Wire, make_endpoint
from support.esp import echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from ipsecme.ike.endpoint import Endpoint


class Daemon:
    """West with its control server, and east to talk to."""

    def __init__(self, path: Path, west: Endpoint, east: Endpoint, *, wanted: bool) -> None:
        self.path = path
        self.wire = Wire()
        network = MemoryNetwork()
        self.planes = {address: MemoryDataPlane(network, (address,)) for address in (WEST, EAST)}
        self.west = Node(self.wire, WEST, west, self.planes[WEST])
        self.east = Node(self.wire, EAST, east, self.planes[EAST])
        self.calls: list[str] = []
        driver = self.west.driver
        self.keep_up = KeepUp(("site",) if wanted else (), self.calls.append)
        history = History(("site",))
        operator = Operator(driver, self.keep_up)
        view = StatusView(driver.endpoint, history, self.keep_up, driver.started_at)
        self.server = ControlServer(self.planes[WEST], operator, view)
        for reader in (history, self.keep_up, operator, self.server.publish):
            driver.add_reader(reader)


@contextlib.asynccontextmanager
async def daemon(
    path: Path,
    *,
    west: Endpoint | None = None,
    east: Endpoint | None = None,
    wanted: bool = False,
) -> AsyncIterator[Daemon]:
    made = Daemon(
        path,
        west or make_endpoint(WEST, EAST),
        east or make_endpoint(EAST, WEST),
        wanted=wanted,
    )
    await made.west.start()
    await made.east.start()
    await made.server.start(path)
    try:
        yield made
    finally:
        made.keep_up.stop()
        await made.server.stop()
        await made.west.stop()
        await made.east.stop()


def run(scenario: Callable[[], Coroutine[object, object, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


def test_up_waits_until_traffic_can_flow_and_status_counts_it(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path) as made, Client(path) as client:
            reply = await client.up("site")
            assert reply.result == "up"
            assert reply.connection is not None
            assert reply.connection.state == "up"
            made.planes[WEST].inject(echo("10.1.0.1", "10.2.0.1"))
            made.planes[EAST].inject(echo("10.2.0.1", "10.1.0.1"))
            made.planes[EAST].inject(echo("10.2.0.1", "10.1.0.1"))
            status = await client.status()
            (connection,) = status.connections
            (ike,) = connection.ike_sas
            (child,) = ike.children
            assert (ike.local, ike.remote) == ("192.0.2.1:500", "192.0.2.2:500")
            assert (ike.local_id, ike.remote_id) == (WEST, EAST)
            assert (ike.initiator, ike.nat, ike.state) == (True, "none", "established")
            assert ike.rekey_in is not None
            assert ike.expires_in is not None
            assert 12000 < ike.rekey_in < ike.expires_in
            assert (child.packets_in, child.packets_out) == (2, 1)
            assert child.bytes_in == 2 * child.bytes_out > 0
            assert child.last_packet_in is not None
            assert 0 <= child.last_packet_in < 10
            assert (child.local_ts, child.remote_ts) == (("10.1.0.0/24",), ("10.2.0.0/24",))
            assert len(child.inbound_spi) == 8
            assert status.packet_counters["packets_in"] == 2
            assert status.ike_counters["datagrams_in"] >= 2  # a slow machine sends again
            assert (await client.version()).version == status.version

    run(scenario)


def test_up_of_an_existing_connection_answers_at_once(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path) as made, Client(path) as client:
            await client.up("site")
            sent = len(made.wire.sent)
            assert (await client.up("site", timeout=0)).result == "up"
            assert len(made.wire.sent) == sent

    run(scenario)


def test_up_tells_why_it_failed_and_what_to_try(path: Path) -> None:
    async def scenario() -> None:
        east = make_endpoint(EAST, WEST, psk=b"quite another long secret")
        async with daemon(path, east=east), Client(path) as client:
            reply = await client.up("site")
            assert (reply.result, reply.reason) == ("failed", "authentication_failed")
            assert reply.hint == HINTS["authentication_failed"]
            assert reply.connection is not None
            assert reply.connection.state == "down"
            (connection,) = (await client.status()).connections
            assert connection.last_error is not None
            assert connection.last_error.reason == "authentication_failed"

    run(scenario)


def test_up_is_pending_when_nobody_answers_in_time(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path) as made, Client(path) as client:
            made.wire.is_cut = True
            reply = await client.up("site", timeout=0.05)
            assert reply.result == "pending"
            assert reply.connection is not None
            assert reply.connection.state == "connecting"

    run(scenario)


def test_down_waits_until_the_sas_are_gone(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path, wanted=True) as made, Client(path) as client:
            await client.up("site")
            assert (await client.status()).connections[0].wanted
            reply = await client.down("site")
            assert (reply.closing, reply.done) == (1, True)
            (connection,) = (await client.status()).connections
            assert (connection.state, connection.wanted) == ("down", False)
            assert (await client.down("site")).closing == 0
            await made.east.until(events.IkeSaClosed)
            assert made.calls == []  # nothing brings it up again

    run(scenario)


def test_down_of_one_child_sa_keeps_the_ike_sa(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path), Client(path) as client:
            await client.up("site")
            reply = await client.down("site", child="net")
            assert (reply.closing, reply.done) == (1, True)
            (connection,) = (await client.status()).connections
            assert connection.state == "up"
            assert connection.ike_sas[0].children == ()
            assert (await client.up("site", child="net")).result == "up"

    run(scenario)


def test_down_does_not_wait_longer_than_asked(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path) as made, Client(path) as client:
            await client.up("site")
            made.wire.is_cut = True
            reply = await client.down("site", timeout=0.01)
            assert (reply.closing, reply.done) == (1, False)

    run(scenario)


def test_rekeying_replaces_sas_and_is_counted(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path), Client(path) as client:
            await client.up("site")
            before = (await client.status()).connections[0].ike_sas[0]
            for ike in (True, False):
                reply = await client.rekey("site", ike=ike)
                assert (reply.started, reply.done) == (1, True)
            (connection,) = (await client.status()).connections
            assert (connection.rekeys.ike, connection.rekeys.child) == (1, 1)
            after = next(sa for sa in connection.ike_sas if sa.state == "established")
            assert after.spi_i != before.spi_i
            current = next(c for c in after.children if c.state == "installed")
            assert current.inbound_spi != before.children[0].inbound_spi
            await client.down("site")
            nothing = await client.rekey("site")
            assert (nothing.started, nothing.done) == (0, False)

    run(scenario)


def test_events_are_streamed_until_the_daemon_ends(path: Path) -> None:
    async def scenario() -> None:
        seen: list[str] = []
        async with daemon(path) as made, Client(path) as client, Client(path) as listener:

            async def listen() -> None:
                async for event in listener.events():
                    assert event["connection"] == "site"
                    assert event["text"]
                    seen.append(event["event"])

            listening = asyncio.create_task(listen())
            while not made.server._streams:  # noqa: ASYNC110 - there is nothing to wait for
                await asyncio.sleep(0)
            await client.up("site")
            await client.down("site")
            await made.server.stop()
            await listening
        assert seen == [
            "ike_sa_established",
            "child_sa_created",
            "child_sa_closed",
            "ike_sa_closed",
        ]

    run(scenario)


def test_keys_are_never_streamed(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path) as made:
            queue: asyncio.Queue[bytes | None] = asyncio.Queue()
            made.server._streams.add(queue)
            suite = IkeSuite(
                EncrId.ENCR_AES_GCM_16, 256, IntegId.NONE, PrfId.PRF_HMAC_SHA2_256, KeId.CURVE25519
            )
            key = Secret(b"k" * 36)
            keys = events.IkeKeysDerived("site", b"1", b"2", suite, key, key, key, key)
            made.server.publish(keys, 0.0)
            assert queue.empty()

    run(scenario)


def test_a_listener_that_reads_nothing_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_WAITING_EVENTS", 3)

    async def scenario() -> None:
        async with daemon(path) as made:
            queue: asyncio.Queue[bytes | None] = asyncio.Queue()
            made.server._streams.add(queue)
            for _ in range(4):
                made.server.publish(events.IkeSaClosed("site", "01", "deleted", ""), 0.0)
            assert queue.qsize() == 1
            assert queue.get_nowait() is None

    run(scenario)


async def raw(path: Path, request: bytes) -> bytes:
    """Send octets and return everything that comes back."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return answer


def post(target: str, body: bytes) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("request_", "status", "code", "text"),
    [
        (post("/v1/connections/sit/up", b""), 404, "unknown_connection", "configured: site"),
        (post("/v1/connections/sit/down", b""), 404, "unknown_connection", "configured: site"),
        (post("/v1/connections/sit/rekey", b""), 404, "unknown_connection", "configured: site"),
        (
            post("/v1/connections/site/up", b'{"child": "nest"}'),
            409,
            "not_possible",
            "has no Child SA 'nest'; it has: net",
        ),
        (post("/v1/connections/site/up", b"{"), 400, "bad_request", "double quotes"),
        (post("/v1/connections/site/up", b"[]"), 400, "bad_request", "not an object"),
        (post("/v1/connections/site/up", b'{"child": 7}'), 400, "bad_request", "child is not"),
        (
            post("/v1/connections/site/up", b'{"timeout": NaN}'),
            400,
            "bad_request",
            "NaN is not a number",
        ),
        (post("/v1/connections/site/up", b"\xff\xfe"), 400, "bad_request", ""),
        (post("/v1/connections/site/up", b"x" * 70000), 413, "bad_request", "Too Large"),
        (post("/v1/status", b""), 405, "bad_request", "Not Allowed"),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found", "/v1/nothing"),
    ],
)
def test_bad_requests_get_answers_of_the_schema(
    path: Path, request_: bytes, status: int, code: str, text: str
) -> None:
    async def scenario() -> None:
        async with daemon(path):
            head, _, body = (await raw(path, request_)).partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode())
            error = json.loads(body)["error"]
            assert error["code"] == code
            assert text in error["message"]

    run(scenario)


def test_an_unreachable_connection_is_explained(path: Path) -> None:
    async def scenario() -> None:
        west = make_endpoint(WEST, EAST)
        async with daemon(path, west=west) as made, Client(path) as client:
            made.wire.is_cut = True
            with pytest.raises(RequestRefused) as caught:
                await client.up("site", child="nest")
            assert caught.value.status == 409

    run(scenario)


def test_what_is_not_http_ends_the_connection_and_nothing_else(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path), Client(path) as client:
            answer = await raw(path, b"\x00\x01\x02\r\n\r\n")
            assert b"400" in answer.splitlines()[0]
            assert (await client.version()).api == 1

    run(scenario)


def test_silent_clients_are_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_REQUEST_SECONDS", 0.05)

    async def scenario() -> None:
        async with daemon(path):
            assert await raw(path, b"GET /v1/status HTTP/1.1\r\n") == b""
            incomplete = post("/v1/connections/site/up", b"{}")[:-1]
            assert b" 408 " in (await raw(path, incomplete)).splitlines()[0]

    run(scenario)


def test_connections_are_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_MOST_CONNECTIONS", 2)

    async def scenario() -> None:
        async with daemon(path), Client(path) as client:
            held = [await asyncio.open_unix_connection(path) for _ in range(2)]
            assert await raw(path, b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            for _ in range(100):
                with contextlib.suppress(Exception):
                    assert (await client.version()).api == 1
                    return
            pytest.fail("the daemon did not take the next client")

    run(scenario)


def test_other_users_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda _sock: 65534)

    async def scenario() -> None:
        async with daemon(path):
            assert await raw(path, b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n") == b""

    run(scenario)


def test_the_socket_is_for_its_owner_and_goes_with_the_daemon(path: Path) -> None:
    modes: list[int] = []

    async def scenario() -> None:
        async with daemon(path):
            modes.append(await asyncio.to_thread(lambda: path.stat().st_mode))

    run(scenario)
    assert stat.S_IMODE(modes[0]) == 0o600
    assert not path.exists()


def test_the_socket_of_a_dead_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def scenario() -> None:
        async with daemon(path), Client(path) as client:
            assert (await client.version()).api == 1

    run(scenario)


def test_the_socket_of_a_living_daemon_is_respected(path: Path) -> None:
    async def scenario() -> None:
        async with daemon(path), Client(path) as client:
            with pytest.raises(SystemRefused, match=r"another daemon listens on .*control\.sock"):
                async with daemon(path):
                    pass
            assert (await client.version()).api == 1

    run(scenario)


def test_other_files_are_not_removed(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")

    async def scenario() -> None:
        with pytest.raises(SystemRefused, match="is in the way of the control socket"):
            async with daemon(path):
                pass

    run(scenario)
    assert path.read_text() == "precious"
