# ruff: noqa: ASYNC109 - the daemon keeps these timeouts, as the schema of its requests says
"""The client of the control socket, asynchronous; `ask` is for programs that are not.

Owns the connection and the translation of what goes wrong into the errors of `errors`; paths and
schema are in `ipsecme.control`. aiohttp is loaded with the first request, so that programs which
merely may ask something start fast.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ipsecme import control
from ipsecme.api.errors import (
    AccessDenied,
    ControlError,
    DaemonTimeout,
    DaemonUnreachable,
    RequestRefused,
    UnexpectedReply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    import aiohttp

__all__ = ["Client", "ask"]

T = TypeVar("T")

_ANSWER_SECONDS = 10.0


class Client:
    """Asks the daemon whose control socket is at `path`, by default where this user's daemon is.

    Use it with ``async with``. All requests raise `ControlError`. `answer_seconds` bounds how long
    the daemon may take beyond the `timeout` that a request asks for.
    """

    def __init__(
        self, path: str | Path | None = None, *, answer_seconds: float = _ANSWER_SECONDS
    ) -> None:
        self.path = str(path or control.default_control_path(os.environ, os.geteuid()))
        self._answer_seconds = answer_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; another request opens it again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def version(self) -> control.VersionReply:
        """Ask who is there."""
        return await self._ask(control.VersionReply, "GET", control.VERSION)

    async def status(self) -> control.StatusReply:
        """Ask for the daemon, its connections and its counters."""
        return await self._ask(control.StatusReply, "GET", control.STATUS)

    async def up(
        self, name: str, *, child: str | None = None, timeout: float = 30.0
    ) -> control.UpReply:
        """Bring a connection up, or one of its Child SAs; wait at most `timeout` seconds."""
        body = control.UpRequest(child=child, timeout=timeout)
        path = control.connection_path(control.UP, name)
        return await self._ask(control.UpReply, "POST", path, body, timeout)

    async def down(
        self, name: str, *, child: str | None = None, timeout: float = 10.0
    ) -> control.DownReply:
        """Delete a connection's SAs, or one Child SA; wait at most `timeout` seconds."""
        body = control.DownRequest(child=child, timeout=timeout)
        path = control.connection_path(control.DOWN, name)
        return await self._ask(control.DownReply, "POST", path, body, timeout)

    async def rekey(
        self, name: str, *, child: str | None = None, ike: bool = False, timeout: float = 10.0
    ) -> control.RekeyReply:
        """Replace Child SAs, or with `ike` the IKE SA; wait at most `timeout` seconds."""
        body = control.RekeyRequest(child=child, ike=ike, timeout=timeout)
        path = control.connection_path(control.REKEY, name)
        return await self._ask(control.RekeyReply, "POST", path, body, timeout)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens from now on, an object for each event, until the daemon ends."""
        with self._translated():
            async with self._request("GET", control.EVENTS, None, None) as response:
                await _check(response)
                async for line in response.content:
                    if line.strip():
                        yield _object(line)

    async def _ask(
        self, kind: type[T], method: str, path: str, body: object = None, wait: float = 0.0
    ) -> T:
        with self._translated():
            total = wait + self._answer_seconds
            async with self._request(method, path, body, total) as response:
                await _check(response)
                answer = _object(await response.read())
        try:
            return control.from_json(kind, answer)
        except control.SchemaError as error:
            raise _unexpected(str(error)) from None

    def _request(
        self, method: str, path: str, body: object, total: float | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        import aiohttp  # noqa: PLC0415 - a third of a second that many commands do not need
        from yarl import URL  # noqa: PLC0415

        if self._session is None:
            connector = aiohttp.UnixConnector(path=self.path)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session.request(
            method,
            URL(f"http://ipsecme{path}", encoded=True),
            json=None if body is None else control.to_json(body),
            timeout=aiohttp.ClientTimeout(total=total),
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the transport raises into a `ControlError`."""
        import aiohttp  # noqa: PLC0415 - see above

        try:
            yield
        except TimeoutError:
            raise DaemonTimeout(
                f"the daemon at {self.path} does not answer",
                "look into its log, and whether the machine is overloaded",
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error.os_error) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise DaemonUnreachable(
                f"the daemon at {self.path} went away before it answered",
                "its log says why; start it again with: ipsecme run",
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise _unexpected(str(error)) from error
        except OSError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: OSError) -> ControlError:
        if error.errno in (errno.EACCES, errno.EPERM):
            return AccessDenied(
                f"no permission to use {self.path}",
                "ask as root or as the user who runs the daemon, for example: sudo ipsecme status",
            )
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
            return DaemonUnreachable(
                f"no daemon is running at {self.path}",
                "start it with 'ipsecme run', or name its socket with --control",
            )
        return DaemonUnreachable(
            f"{self.path} cannot be reached: {error.strerror or error}",
            "name the control socket of the daemon with --control",
        )


def ask(path: str | Path | None, question: Callable[[Client], Awaitable[T]]) -> T:
    """Put one question to a daemon and wait for the answer, outside of any event loop.

    ask(None, lambda client: client.up("office"))
    """
    import asyncio  # noqa: PLC0415 - for those who never ask

    async def run() -> T:
        async with Client(path) as client:
            return await question(client)

    return asyncio.run(run())


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what the daemon complains of."""
    if response.status == 200:
        return
    content = await response.read()
    try:
        body = control.from_json(control.ErrorReply, json.loads(content)).error
    except (ValueError, control.SchemaError):
        raise _unexpected(f"HTTP status {response.status}") from None
    if response.status in (401, 403):
        raise AccessDenied(body.message, body.hint)
    raise RequestRefused(body.code, body.message, body.hint, response.status)


def _object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object; anything else raises `UnexpectedReply`."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _unexpected("no JSON object")
    return value


def _unexpected(what: str) -> UnexpectedReply:
    return UnexpectedReply(
        f"the daemon's answer is not understood ({what})",
        "compare 'ipsecme version' with the version of the daemon; restart it after an update",
    )
