"""``ipsecme run``: the daemon in the foreground."""

from __future__ import annotations

import os

import typer

from ipsecme.base import IpsecmeError
from ipsecme.cli.options import Config, Json, Settings, config_path
from ipsecme.cli.outcome import NOT_SO, guarded, tell_error

__all__ = ["run"]


@guarded
def run(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Run the daemon until Ctrl-C or SIGTERM; it deletes its SAs before it ends.

    It logs to standard error: text on a terminal, JSON lines elsewhere or with --json.
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
        tell_error(error, as_json=as_json)
        raise typer.Exit(NOT_SO) from None
