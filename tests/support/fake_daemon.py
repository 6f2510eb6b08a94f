"""A control server that answers what a test tells it to, on a real UNIX socket in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from ipsecme import control

if TYPE_CHECKING:
    from pathlib import Path

CHILD = control.ChildStatus(
    name="net",
    state="installed",
    inbound_spi="c0ffee00",
    outbound_spi="0badcafe",
    suite="aes256gcm16-esn",
    mode="tunnel",
    local_ts=("10.1.0.0/24",),
    remote_ts=("10.2.0.0/24", "10.3.0.0/24"),
    encapsulated=True,
    age=192.0,
    rekey_in=3100.0,
    expires_in=3768.0,
    bytes_in=1_270_000,
    bytes_out=512,
    packets_in=1234,
    packets_out=1,
    last_packet_in=0.42,
    drops={"replay": 3, "integrity": 0},
)
IKE_SA = control.IkeStatus(
    state="established",
    spi_i="8a8fb2a9c1d00500",
    spi_r="77aa0cdd12345600",
    initiator=True,
    local="192.0.2.1:4500",
    remote="198.51.100.9:4500",
    local_id="west.example",
    remote_id="east.example",
    nat="remote",
    suite="aes256gcm16-prfsha256-x25519",
    established=192.0,
    rekey_in=13800.0,
    expires_in=15648.0,
    last_message_in=30.0,
    children=(CHILD,),
)
ERROR = control.LastError(
    reason="authentication_failed",
    detail="the peer answered AUTHENTICATION_FAILED",
    hint="compare the pre-shared key, local_id and remote_id with the peer's",
    seconds_ago=75.0,
)
OFFICE = control.ConnectionStatus(
    name="office",
    state="up",
    wanted=True,
    last_packet_in=0.42,
    rekeys=control.RekeyCounts(ike=1, child=4),
    ike_sas=(IKE_SA,),
)
BRANCH = control.ConnectionStatus(name="branch", state="down", wanted=True, last_error=ERROR)
STATUS = control.StatusReply(
    version="1.2.3",
    pid=4711,
    uptime=7500.0,
    admission=control.AdmissionStatus(
        half_open=0,
        half_open_most=3,
        half_open_limit=5000,
        cookie_threshold=100,
        ike_sas=2,
        ike_sa_limit=50_000,
    ),
    connections=(OFFICE, BRANCH),
    ike_counters={"datagrams_in": 7},
    packet_counters={"packets_in": 1234, "dropped_no_policy": 12},
)


class FakeDaemon:
    """Listens while its ``with`` block runs; `requests` are what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, object] = {
            control.VERSION: control.VersionReply("1.2.3"),
            control.STATUS: STATUS,
        }
        self.status = 200
        self.silent = False
        self.vanish = False
        self.lines: list[bytes] = []
        self.requests: list[tuple[str, str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def answer(self, route: str, name: str, value: object) -> None:
        """Set the answer to a request about a connection."""
        self.answers[control.connection_path(route, name)] = value

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.raw_path, json.loads(body) if body else None))
        if self.silent:
            await asyncio.Event().wait()
        if self.vanish:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if request.path == control.EVENTS:
            return web.Response(body=b"".join(self.lines))
        answer = self.answers.get(request.raw_path)
        if answer is None:
            missing = control.ErrorBody("unknown_connection", "no such connection", "look again")
            return web.json_response(control.to_json(control.ErrorReply(missing)), status=404)
        if isinstance(answer, bytes):
            return web.Response(body=answer, status=self.status)
        return web.json_response(control.to_json(answer), status=self.status)
