from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from ipsecme.base import ConfigError
from ipsecme.cli.options import Json, Settings
from ipsecme.cli.outcome import guarded


def failing(error: Exception) -> typer.Typer:
    app = typer.Typer()

    @app.callback()
    def common(context: typer.Context, debug: bool = False) -> None:
        context.obj = Settings(debug=debug)

    @app.command()
    @guarded
    def fail(context: typer.Context, as_json: Json = False) -> None:
        assert context.info_name == "fail"
        assert as_json in (True, False)
        raise error

    return app


def test_an_error_of_ours_is_a_line() -> None:
    result = CliRunner().invoke(failing(ConfigError("line one\nline \x1b two")), ["fail"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "error: line one\n       line \\x1b two\n"


def test_an_error_of_the_system_names_the_file() -> None:
    error = FileNotFoundError(2, "No such file or directory", "/x")
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == 2
    assert result.stderr == "error: /x: No such file or directory\n"


def test_a_fault_is_called_a_fault_and_hides_its_traceback() -> None:
    result = CliRunner().invoke(failing(KeyError("x")), ["fail"])
    assert result.exit_code == 70
    assert "Traceback" not in result.output
    assert "KeyError: 'x'" in result.stderr
    assert "please report it" in result.stderr


def test_with_debug_the_error_itself_comes_out() -> None:
    result = CliRunner().invoke(failing(ConfigError("x")), ["--debug", "fail"])
    assert isinstance(result.exception, ConfigError)


def test_as_json_the_form_is_that_of_the_control_socket() -> None:
    result = CliRunner().invoke(failing(ConfigError("x")), ["fail", "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "error": {"code": "config_error", "message": "x", "hint": ""}
    }


@pytest.mark.parametrize("module", ["ipsecme.cli.main", "ipsecme.api"])
def test_starting_loads_nothing_that_takes_long(module: str) -> None:
    slow = ["rich", "aiohttp", "asyncio", "pydantic", "pyroute2", "cryptography", "structlog"]
    code = f"import sys, {module}; print([m for m in {slow!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
