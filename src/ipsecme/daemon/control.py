"""The control socket's server: HTTP and JSON on a UNIX socket, for its owner and root alone.

Owns who may connect, how much they may send and how long they may take, and the forms of answers.
Paths and schema are in `ipsecme.control`; what requests do is in `operations` and `status`. Each
connection serves one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

import ipsecme
from ipsecme import control as schema
from ipsecme.base import IpsecmeError, LocalMisuse
from ipsecme.daemon.log import log
from ipsecme.daemon.operations import UnknownConnection
from ipsecme.daemon.story import tell
from ipsecme.daemon.unixsocket import ControlSocket, peer_uid
from ipsecme.ike.events import IkeKeysDerived

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from ipsecme.daemon.operations import Operator
    from ipsecme.daemon.status import StatusView
    from ipsecme.dataplane import Counters, DataPlane
    from ipsecme.ike.events import Event

__all__ = ["ControlServer"]

T = TypeVar("T")

_LARGEST_BODY = 64 << 10
_MOST_CONNECTIONS = 64
_REQUEST_SECONDS = 10.0  # for a client to send its request, and to take a line of a stream
_LONGEST_WAIT = 600.0  # that a client may ask for
_COUNTERS_SECONDS = 5.0
_WAITING_EVENTS = 1024  # for a client that reads slowly; after that it is let go


class ControlServer:
    """Serves one socket. It reads the engine's events by `publish`."""

    def __init__(self, data_plane: DataPlane, operator: Operator, view: StatusView) -> None:
        self._data_plane = data_plane
        self._operator = operator
        self._view = view
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._connections: dict[asyncio.Transport, bool] = {}  # whether it has asked something
        self._socket: ControlSocket | None = None
        self._accepting: asyncio.Task[None] | None = None
        application = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY)
        application.router.add_get(schema.VERSION, self._version)
        application.router.add_get(schema.STATUS, self._status)
        application.router.add_get(schema.EVENTS, self._events)
        application.router.add_post(schema.UP, self._up)
        application.router.add_post(schema.DOWN, self._down)
        application.router.add_post(schema.REKEY, self._rekey)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=1.0,
            lingering_time=1.0,
        )

    async def start(self, path: Path) -> None:
        """Listen. Raises `SystemRefused` when another daemon does, or the place is not usable."""
        self._socket = ControlSocket(path)
        await self._runner.setup()
        self._accepting = asyncio.create_task(self._accept(self._socket.sock))

    async def stop(self) -> None:
        """Let all clients go and remove the socket."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        for queue in self._streams:
            _let_go(queue)
        await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()

    def publish(self, event: Event, _now: float) -> None:
        """Tell an event to all who listen. Keys are never told."""
        if not self._streams or isinstance(event, IkeKeysDerived):
            return
        line = event_line(event, time.time())
        for queue in self._streams:
            if queue.qsize() >= _WAITING_EVENTS:
                _let_go(queue)
            else:
                queue.put_nowait(line)

    # connections

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, for example
                log.warning("control_refused", msg=f"no connection accepted: {error.strerror}")
                await asyncio.sleep(1)
                continue
            uid = peer_uid(sock)
            if uid not in (0, os.geteuid()):
                log.warning("control_refused", msg=f"user {uid} may not use the control socket")
                sock.close()
                continue
            self._connections = {
                transport: has_asked
                for transport, has_asked in self._connections.items()
                if not transport.is_closing()
            }
            if self._runner.server is None or len(self._connections) >= _MOST_CONNECTIONS:
                sock.close()
                continue
            transport, _ = await loop.connect_accepted_socket(self._runner.server, sock)
            self._connections[transport] = False
            loop.call_later(_REQUEST_SECONDS, self._end_silent, transport)

    def _end_silent(self, transport: asyncio.Transport) -> None:
        if not self._connections.get(transport, True):
            transport.abort()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn whatever a handler raises into an answer of the schema."""
        if request.transport in self._connections:
            self._connections[request.transport] = True
        try:
            response = await handler(request)
        except UnknownConnection as error:
            response = _error(404, "unknown_connection", str(error), "ask for the status")
        except LocalMisuse as error:
            response = _error(409, "not_possible", str(error))
        except TimeoutError:
            response = _error(408, "timeout", "the request did not arrive in time")
        except (schema.SchemaError, ValueError) as error:
            response = _error(400, "bad_request", str(error))
        except web.HTTPException as error:
            code = "not_found" if error.status == HTTPStatus.NOT_FOUND else "bad_request"
            response = _error(error.status, code, f"{error.reason}: {request.path}")
        except Exception as error:  # noqa: BLE001 - a fault of ours must not look like silence
            text = "".join(traceback.format_exception(error))
            log.error("internal_error", msg=f"{error!r}; please report this", traceback=text)
            response = _error(500, "internal", repr(error), "this is a fault; please report it")
        if not response.prepared:
            response.force_close()
        return response

    # requests

    async def _version(self, _request: web.Request) -> web.Response:
        return _reply(schema.VersionReply(ipsecme.__version__))

    async def _status(self, _request: web.Request) -> web.Response:
        counters = await self._counters()
        return _reply(self._view.reply(counters, asyncio.get_running_loop().time()))

    async def _up(self, request: web.Request) -> web.Response:
        order = await _read(request, schema.UpRequest)
        name = request.match_info["name"]
        outcome = await self._operator.up(name, order.child, _seconds(order.timeout))
        now = asyncio.get_running_loop().time()
        connection = self._view.connection(name, await self._counters(), now)
        return _reply(
            schema.UpReply(outcome.result, outcome.reason, outcome.detail, outcome.hint, connection)
        )

    async def _down(self, request: web.Request) -> web.Response:
        order = await _read(request, schema.DownRequest)
        name = request.match_info["name"]
        done = await self._operator.down(name, order.child, _seconds(order.timeout))
        return _reply(schema.DownReply(*done))

    async def _rekey(self, request: web.Request) -> web.Response:
        order = await _read(request, schema.RekeyRequest)
        name = request.match_info["name"]
        done = await self._operator.rekey(name, order.child, _seconds(order.timeout), ike=order.ike)
        return _reply(schema.RekeyReply(*done))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.force_close()
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(queue)
        try:
            await response.prepare(request)
            while (line := await queue.get()) is not None:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    await response.write(line)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams.discard(queue)
        return response

    async def _counters(self) -> Counters | None:
        """Return the data plane's counters, or None when it does not answer."""
        try:
            async with asyncio.timeout(_COUNTERS_SECONDS):
                return await self._data_plane.counters()
        except (IpsecmeError, TimeoutError):
            return None


def event_line(event: Event, wall_now: float) -> bytes:
    """Return an event as a line of JSON; `time` is in seconds since 1970."""
    line = tell(event)
    fields = {"time": wall_now, "level": line.level, "event": line.name, "text": line.text}
    return json.dumps({**fields, **line.fields}).encode() + b"\n"


async def _read(request: web.Request, kind: type[T]) -> T:
    """Return the request of the body; an empty body asks for the defaults."""
    async with asyncio.timeout(_REQUEST_SECONDS):
        body = await request.read()
    return schema.from_json(kind, json.loads(body, parse_constant=_refuse) if body else {})


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _seconds(timeout: float) -> float:
    return min(max(timeout, 0.0), _LONGEST_WAIT)


def _reply(value: object) -> web.Response:
    return web.json_response(schema.to_json(value))


def _error(status: int, code: str, message: str, hint: str = "") -> web.Response:
    body = schema.ErrorReply(schema.ErrorBody(code, message, hint))
    return web.json_response(schema.to_json(body), status=status)


def _let_go(queue: asyncio.Queue[bytes | None]) -> None:
    """End a stream of events after what it has not read yet, or without if it reads nothing."""
    if queue.qsize() >= _WAITING_EVENTS:
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                queue.get_nowait()
    queue.put_nowait(None)
