"""``ipsecme check``: all that is wrong with a configuration file, and what to do about it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import typer

from ipsecme.cli.amounts import count
from ipsecme.cli.options import Config, Json, config_path
from ipsecme.cli.outcome import NOT_SO, guarded, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.daemon.complaints import Complaint
    from ipsecme.daemon.configuration import Configuration

__all__ = ["check"]


@guarded
def check(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Check the configuration file without touching the system.

    The exit status is 0 when it can be used, 1 when not; warnings do not count.
    """
    from ipsecme.daemon.complaints import ConfigurationRejected  # noqa: PLC0415 - takes long
    from ipsecme.daemon.configuration import load  # noqa: PLC0415 - takes long

    path = config_path(context, config)
    try:
        loaded = load(path)
    except ConfigurationRejected as error:
        _tell_errors(path, error.complaints, as_json=as_json)
        raise typer.Exit(NOT_SO) from None
    _tell_success(path, loaded, as_json=as_json)


def _tell_errors(path: Path, complaints: tuple[Complaint, ...], *, as_json: bool) -> None:
    if as_json:
        errors = [
            {"file": one.file, "line": one.line, "key": one.key, "message": one.message}
            for one in complaints
        ]
        print_json({"ok": False, "file": str(path), "errors": errors, "warnings": []})
        return
    for one in complaints:
        place = one.file if one.line is None else f"{one.file}:{one.line}"
        typer.secho(f"{place}: ", bold=True, nl=False)
        typer.secho("error: ", fg="red", bold=True, nl=False)
        typer.echo(f"{one.key}: {one.message}" if one.key else one.message)
    typer.secho(f"{count(len(complaints), 'error')}; the daemon would not start", err=True)


def _tell_success(path: Path, loaded: Configuration, *, as_json: bool) -> None:
    from ipsecme.daemon.own_dates import own_dates  # noqa: PLC0415 - takes long

    names = [peer.name for peer in loaded.endpoint.peers]
    now = dt.datetime.now(dt.UTC)
    dates = list(own_dates(loaded.endpoint.peers))
    if as_json:
        report: dict[str, object] = {
            "ok": True,
            "file": str(path),
            "errors": [],
            "warnings": list(loaded.warnings),
        }
        report["certificates"] = [
            {
                "connection": one.connection,
                "certificate": str(one.certificate),
                "not_after": one.certificate.not_after.isoformat(),
                "days_left": one.days_left(now),
            }
            for one in dates
        ]
        print_json({**report, "connections": names, "control": str(loaded.daemon.control)})
        return
    for warning in loaded.warnings:
        typer.secho("warning: ", fg="yellow", bold=True, nl=False)
        typer.echo(warning)
    for one in dates:
        end, left = one.certificate.not_after, one.days_left(now)
        what = f"{one.connection}: the certificate {one.certificate} is good until {end:%Y-%m-%d}"
        if left >= 0:
            typer.echo(f"{what}, {count(left, 'day')} left")
    listed = f": {', '.join(names)}" if names else ""
    typer.echo(f"{path}: good, {count(len(names), 'connection')}{listed}")
