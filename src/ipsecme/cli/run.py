"""``ipsecme run``: the daemon in the foreground."""

from __future__ import annotations

import json
import os

import typer

from ipsecme.base import IpsecmeError
from ipsecme.cli.options import Config, Json, Settings, config_path
from ipsecme.cli.outcome import NOT_SO, describe, guarded, tell_failure

__all__ = ["run"]


@guarded
def run(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Run the daemon in the foreground.

    It ends with Ctrl-C or SIGTERM and deletes its SAs before. It logs to standard error: text on
    a terminal, JSON lines elsewhere or with --json. The exit status is 1 when it could not start
    or go on.
    """
    from ipsecme.daemon.main import run as run_daemon  # noqa: PLC0415 - takes long

    settings = context.find_object(Settings)
    if settings and settings.control:
        raise typer.BadParameter("the daemon's socket is set by control in [daemon] of the file")
    if as_json:
        os.environ["IPSECME_LOG_FORMAT"] = "json"
    try:
        run_daemon(config_path(context, config))
    except IpsecmeError as error:
        code, message, hint, _ = describe(error)
        if as_json:  # the last line of the log
            line = {"level": "error", "event": code, "msg": message}
            typer.echo(json.dumps(line, ensure_ascii=False), err=True)
        else:
            tell_failure(message, hint)
        raise typer.Exit(NOT_SO) from None
