from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer

from ipsecme.cli.main import app
from ipsecme.cli.options import DEFAULT_CONFIG, Settings, config_path, control_path
from ipsecme.control import default_control_path
from ipsecme.daemon.configuration import DEFAULT_PATH


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPSECME_CONTROL", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def context(settings: Settings | None = None) -> typer.Context:
    made = typer.Context(typer.main.get_command(app))
    made.obj = settings
    return made


def test_the_option_of_the_command_is_nearest() -> None:
    here = context(Settings(control=Path("/common"), config=Path("/common.toml")))
    assert control_path(here, Path("/own")) == Path("/own")
    assert control_path(here, None) == Path("/common")
    assert config_path(here, Path("/own.toml")) == Path("/own.toml")
    assert config_path(here, None) == Path("/common.toml")


def test_the_environment_decides_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[daemon]\ncontrol = "/from/file"\n')
    assert control_path(context(Settings(config=file)), None) == Path("/from/file")
    monkeypatch.setenv("IPSECME_CONTROL", "/from/environment")
    assert control_path(context(Settings(config=file)), None) == Path("/from/environment")


@pytest.mark.parametrize(
    "text", ["", "daemon = 1", "[daemon", '[daemon]\ncontrol = ""', "[daemon]\ncontrol = 7"]
)
def test_a_file_that_says_nothing_useful_is_passed_over(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    expected = Path(default_control_path(os.environ, os.geteuid()))
    assert control_path(context(Settings(config=file)), None) == expected


def test_without_anything_client_and_daemon_agree() -> None:
    here = context(Settings(config=Path("/nonexistent/x.toml")))
    assert control_path(here, None) == Path(default_control_path(os.environ, os.geteuid()))
    assert config_path(context(), None) == DEFAULT_CONFIG == DEFAULT_PATH
