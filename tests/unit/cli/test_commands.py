"""The commands against a daemon that answers what the test says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from ipsecme import control
from ipsecme.cli.main import app
from support.fake_daemon import BRANCH, OFFICE, STATUS, FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

NEEDS_NAME = ["up", "down", "rekey"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "control.sock") as made:
        yield made


def call(daemon: FakeDaemon, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--control", str(daemon.path), *arguments])


def failure(result: Result) -> tuple[int, Any]:
    return result.exit_code, json.loads(result.stdout)["error"]


# status


def test_status_fails_while_one_connection_is_down(daemon: FakeDaemon) -> None:
    result = call(daemon, "status")
    assert result.exit_code == 1
    assert "office  up for 3 min 12 s" in result.stdout
    assert "branch  down" in result.stdout


def test_status_of_a_connection_that_is_up_succeeds(daemon: FakeDaemon) -> None:
    result = call(daemon, "status", "office")
    assert result.exit_code == 0
    assert "branch" not in result.stdout


def test_status_succeeds_when_all_are_up(daemon: FakeDaemon) -> None:
    daemon.answers[control.STATUS] = replace(STATUS, connections=(OFFICE,))
    assert call(daemon, "status").exit_code == 0


def test_status_as_json_is_what_the_daemon_said(daemon: FakeDaemon) -> None:
    result = call(daemon, "status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == control.to_json(STATUS)


def test_status_of_an_unknown_connection_lists_those_that_are_known(daemon: FakeDaemon) -> None:
    result = call(daemon, "status", "offfice")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no connection 'offfice'\n")
    assert "office, branch" in result.stderr
    assert failure(call(daemon, "status", "x", "--json"))[1]["code"] == "unknown_connection"


# no daemon


@pytest.mark.parametrize("command", [["status"], ["up", "x"], ["down", "x"], ["rekey", "x"]])
def test_without_a_daemon_each_command_says_how_to_start_it(
    tmp_path: Path, command: list[str]
) -> None:
    socket = str(tmp_path / "none.sock")
    result = CliRunner().invoke(app, [*command, "--control", socket])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"error: no daemon is running at {socket}",
        "  try: start it with 'ipsecme run', or name its socket with --control",
    ]
    status, error = failure(CliRunner().invoke(app, [*command, "--json", "--control", socket]))
    assert (status, error["code"]) == (2, "daemon_unreachable")


def test_version_speaks_without_a_daemon(tmp_path: Path) -> None:
    socket = str(tmp_path / "none.sock")
    result = CliRunner().invoke(app, ["version", "--control", socket])
    assert result.exit_code == 0
    assert f"daemon  no daemon is running at {socket}" in result.stdout


def test_version_tells_that_of_the_daemon(daemon: FakeDaemon) -> None:
    assert f"daemon  1.2.3 at {daemon.path}" in call(daemon, "version").stdout
    assert json.loads(call(daemon, "version", "--json").stdout)["daemon"] == "1.2.3"


# up


def test_up_says_what_came_up(daemon: FakeDaemon) -> None:
    daemon.answer(control.UP, "office", control.UpReply("up", connection=OFFICE))
    result = call(daemon, "up", "office", "--timeout", "5", "--child", "net")
    assert result.exit_code == 0
    assert daemon.requests[0][2] == {"child": "net", "timeout": 5.0}
    assert result.stdout.startswith("office  up after ")
    assert "east.example at 198.51.100.9:4500" in result.stdout
    assert "10.1.0.0/24 <-> 10.2.0.0/24, 10.3.0.0/24" in result.stdout


def test_up_says_why_it_did_not_come_up(daemon: FakeDaemon) -> None:
    reply = control.UpReply(
        "failed", "no_proposal_chosen", "the peer refused all", "compare ike_proposals", OFFICE
    )
    daemon.answer(control.UP, "office", reply)
    result = call(daemon, "up", "office")
    assert result.exit_code == 1
    first, second, third = result.stderr.splitlines()
    assert first.startswith("error: office did not come up after ")
    assert first.endswith(": no proposal chosen")
    assert second == "       the peer refused all"
    assert third == "  try: compare ike_proposals"


def test_up_that_is_still_trying_tells_the_last_error(daemon: FakeDaemon) -> None:
    daemon.answer(control.UP, "branch", control.UpReply("pending", connection=BRANCH))
    result = call(daemon, "up", "branch")
    assert result.exit_code == 1
    assert "the daemon keeps trying" in result.stderr
    assert "authentication failed: the peer answered AUTHENTICATION_FAILED" in result.stderr
    assert "try: compare the pre-shared key" in result.stderr


def test_up_as_json_keeps_the_exit_status(daemon: FakeDaemon) -> None:
    reply = control.UpReply("failed", "unreachable", "no answer", "check the address")
    daemon.answer(control.UP, "office", reply)
    result = call(daemon, "up", "office", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer.pop("seconds") >= 0
    assert answer == control.to_json(reply)


def test_up_of_an_unknown_connection_gives_the_daemons_words(daemon: FakeDaemon) -> None:
    result = call(daemon, "up", "nobody")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["error: no such connection", "  try: look again"]


# down


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (control.DownReply(closing=2, done=True), 0, "office is down (2 SAs deleted)"),
        (control.DownReply(closing=0, done=True), 0, "office was down already"),
        (control.DownReply(closing=1, done=False), 1, "the peer has not confirmed"),
    ],
)
def test_down_says_what_became_of_the_sas(
    daemon: FakeDaemon, reply: control.DownReply, status: int, words: str
) -> None:
    daemon.answer(control.DOWN, "office", reply)
    result = call(daemon, "down", "office")
    assert result.exit_code == status
    assert words in (result.stderr if status else result.stdout)
    as_json = call(daemon, "down", "office", "--json")
    assert as_json.exit_code == status
    assert json.loads(as_json.stdout) == control.to_json(reply)


# rekey


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (control.RekeyReply(started=2, done=True), 0, "office: 2 Child SAs replaced"),
        (control.RekeyReply(started=0, done=False), 1, "office has no Child SA to rekey"),
        (control.RekeyReply(started=1, done=False), 1, "the old ones are in use"),
    ],
)
def test_rekey_says_what_was_replaced(
    daemon: FakeDaemon, reply: control.RekeyReply, status: int, words: str
) -> None:
    daemon.answer(control.REKEY, "office", reply)
    result = call(daemon, "rekey", "office")
    assert result.exit_code == status
    assert words in (result.stderr if status else result.stdout)
    as_json = call(daemon, "rekey", "office", "--json")
    assert as_json.exit_code == status
    assert json.loads(as_json.stdout) == control.to_json(reply)


def test_rekey_of_the_ike_sa_excludes_a_child(daemon: FakeDaemon) -> None:
    daemon.answer(control.REKEY, "office", control.RekeyReply(started=1, done=True))
    assert "1 IKE SA replaced" in call(daemon, "rekey", "office", "--ike").stdout
    assert daemon.requests[0][2]["ike"] is True
    result = call(daemon, "rekey", "office", "--ike", "--child", "net")
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr
    assert len(daemon.requests) == 1


# usage


@pytest.mark.parametrize("command", NEEDS_NAME)
def test_a_missing_name_is_wrong_usage(command: str) -> None:
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 2
    assert "NAME" in result.stderr
