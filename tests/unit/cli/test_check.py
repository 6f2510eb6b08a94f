from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ipsecme.cli.main import app

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

GOOD = """\
[daemon]
control = "/run/x/control.sock"

[connections.office]
local = "127.0.0.1"
remote = "127.0.0.2"
remote_id = "east.example"
psk = "{psk}"
local_ts = ["10.1.0.0/24"]
remote_ts = ["10.2.0.0/24"]
"""
BAD = """\
[connections.office]
remot = "127.0.0.2"
psk = "a secret of more than twenty octets"
local_ts = ["10.1.0.0/33"]
remote_ts = ["10.2.0.0/24"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ipsecme.toml"
    path.touch(mode=0o600)
    return path


def check(file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", "--config", str(file), *options])


def test_a_good_file_is_called_good(file: Path) -> None:
    file.write_text(GOOD.format(psk="correct horse battery staple"))
    result = check(file)
    assert result.exit_code == 0
    assert result.stdout == f"{file}: good, 1 connection: office\n"


def test_warnings_are_told_and_do_not_count(file: Path) -> None:
    file.write_text(GOOD.format(psk="short but not too"))
    result = check(file)
    assert result.exit_code == 0
    assert result.stdout.startswith("warning: ")
    report = json.loads(check(file, "--json").stdout)
    assert report["ok"] is True
    assert len(report["warnings"]) == 1
    assert report["connections"] == ["office"]
    assert report["control"] == "/run/x/control.sock"


def test_all_errors_are_told_with_their_lines(file: Path) -> None:
    file.write_text(BAD)
    result = check(file)
    assert result.exit_code == 1
    assert f"{file}:2: error: connections.office.remot: " in result.stdout
    assert "did you mean 'remote'?" in result.stdout
    assert f"{file}:4: error: connections.office.local_ts" in result.stdout
    assert result.stderr == "2 errors; the daemon would not start\n"


def test_errors_as_json_have_the_same_places(file: Path) -> None:
    file.write_text(BAD)
    result = check(file, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert [(error["file"], error["line"]) for error in report["errors"]] == [
        (str(file), 2),
        (str(file), 4),
    ]
    assert report["errors"][0]["key"] == "connections.office.remot"
    assert "remote" in report["errors"][0]["message"]


def test_no_secret_is_ever_shown(file: Path) -> None:
    file.write_text(BAD + "psk = 1234567890123\n")
    result = check(file)
    assert result.exit_code == 1
    assert "1234567890123" not in result.output


def test_a_missing_file_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    result = check(tmp_path / "none.toml")
    assert result.exit_code == 1
    assert "--config" in result.stdout
