from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ipsecme import control
from ipsecme.api import (
    AccessDenied,
    Client,
    ControlError,
    DaemonTimeout,
    DaemonUnreachable,
    RequestRefused,
    UnexpectedReply,
    ask,
)
from support.fake_daemon import OFFICE, STATUS, FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "control.sock") as made:
        yield made


def test_each_request_goes_to_its_path_with_its_body(daemon: FakeDaemon) -> None:
    up = control.UpReply("up", connection=OFFICE)
    down, rekey = control.DownReply(closing=1, done=True), control.RekeyReply(started=2, done=True)
    daemon.answer(control.UP, "office", up)
    daemon.answer(control.DOWN, "office", down)
    daemon.answer(control.REKEY, "office", rekey)

    async def questions() -> list[object]:
        async with Client(daemon.path) as client:
            return [
                await client.version(),
                await client.status(),
                await client.up("office", child="net", timeout=5),
                await client.down("office"),
                await client.rekey("office", ike=True),
            ]

    assert asyncio.run(questions()) == [control.VersionReply("1.2.3"), STATUS, up, down, rekey]
    assert daemon.requests == [
        ("GET", "/v1/version", None),
        ("GET", "/v1/status", None),
        ("POST", "/v1/connections/office/up", {"child": "net", "timeout": 5}),
        ("POST", "/v1/connections/office/down", {"child": None, "timeout": 10.0}),
        (
            "POST",
            "/v1/connections/office/rekey",
            {"child": None, "ike": True, "timeout": 10.0},
        ),
    ]


def test_a_strange_name_reaches_the_daemon_as_it_is(daemon: FakeDaemon) -> None:
    with pytest.raises(RequestRefused):
        ask(daemon.path, lambda client: client.up("../status"))
    assert daemon.requests[0][1] == "/v1/connections/..%2Fstatus/up"


def test_a_client_can_be_used_again_after_it_was_closed(daemon: FakeDaemon) -> None:
    async def questions() -> tuple[str, str]:
        client = Client(daemon.path)
        first = (await client.version()).version
        await client.close()
        async with client:
            return first, (await client.version()).version

    assert asyncio.run(questions()) == ("1.2.3", "1.2.3")


def test_events_come_one_by_one(daemon: FakeDaemon) -> None:
    daemon.lines = [b'{"event": "a"}\n', b"\n", b'{"event": "b", "x": 1}\n']

    async def listen() -> list[dict[str, Any]]:
        async with Client(daemon.path) as client:
            return [event async for event in client.events()]

    assert asyncio.run(listen()) == [{"event": "a"}, {"event": "b", "x": 1}]


def test_what_the_daemon_refuses_comes_with_its_words(daemon: FakeDaemon) -> None:
    with pytest.raises(RequestRefused, match="no such connection") as caught:
        ask(daemon.path, lambda client: client.up("nobody"))
    error = caught.value
    assert (error.code, error.hint, error.status) == ("unknown_connection", "look again", 404)


def test_no_socket_means_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    with pytest.raises(DaemonUnreachable) as caught:
        ask(path, lambda client: client.version())
    assert str(caught.value) == f"no daemon is running at {path}"
    assert "ipsecme run" in caught.value.hint


def test_a_socket_that_nobody_listens_at_means_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(DaemonUnreachable, match="no daemon is running"):
        ask(path, lambda client: client.version())


def test_a_plain_file_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.touch()
    with pytest.raises(DaemonUnreachable):
        ask(path, lambda client: client.version())


def test_a_path_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="too long"):
        ask(tmp_path / ("x" * 120), lambda client: client.version())


def test_missing_permission_says_who_may(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(asyncio.SelectorEventLoop, "create_unix_connection", refuse)
    with pytest.raises(AccessDenied) as caught:
        ask(daemon.path, lambda client: client.version())
    assert "as root" in caught.value.hint


def test_a_refusal_with_403_is_a_matter_of_permission(daemon: FakeDaemon) -> None:
    daemon.status = 403
    daemon.answers[control.STATUS] = control.ErrorReply(control.ErrorBody("x", "not you", "ask"))
    with pytest.raises(AccessDenied, match="not you"):
        ask(daemon.path, lambda client: client.status())


def test_silence_ends_after_the_time_that_was_allowed(daemon: FakeDaemon) -> None:
    daemon.silent = True

    async def question() -> None:
        async with Client(daemon.path, answer_seconds=0.05) as client:
            await client.up("office", timeout=0.05)

    with pytest.raises(DaemonTimeout, match="does not answer"):
        asyncio.run(question())


def test_a_daemon_that_dies_while_it_answers(daemon: FakeDaemon) -> None:
    daemon.vanish = True
    with pytest.raises(DaemonUnreachable, match="went away"):
        ask(daemon.path, lambda client: client.status())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"hello"),
        (200, b"[]"),
        (200, b'{"version": 7}'),
        (200, b"\xff\xfe"),
        (500, b"<html>"),
        (500, b'{"error": "text"}'),
    ],
)
def test_an_answer_of_another_kind_is_not_trusted(
    daemon: FakeDaemon, status: int, body: bytes
) -> None:
    daemon.status = status
    daemon.answers[control.VERSION] = body
    with pytest.raises(UnexpectedReply) as caught:
        ask(daemon.path, lambda client: client.version())
    assert "ipsecme version" in caught.value.hint


def test_another_program_at_the_socket_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"

    async def question() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"220 mail ready\r\n\r\n")
            writer.close()

        server = await asyncio.start_unix_server(answer, path)
        async with server, Client(path) as client:
            await client.version()

    with pytest.raises(UnexpectedReply):
        asyncio.run(question())
