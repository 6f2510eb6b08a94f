"""``ipsecme version``: who is asking, and who answers."""

from __future__ import annotations

import platform

import typer

import ipsecme
from ipsecme.api import ControlError, ask
from ipsecme.cli.options import Control, Json, control_path
from ipsecme.cli.outcome import guarded, print_json

__all__ = ["version"]


@guarded
def version(context: typer.Context, as_json: Json = False, control: Control = None) -> None:
    """Show the version of this program and of the running daemon."""
    path = control_path(context, control)
    try:
        daemon = ask(path, lambda client: client.version()).version
        answer = f"{daemon} at {path}"
    except ControlError as error:
        daemon, answer = None, str(error)
    if as_json:
        print_json(
            {"version": ipsecme.__version__, "python": platform.python_version(), "daemon": daemon}
        )
        return
    typer.echo(f"ipsecme {ipsecme.__version__} (Python {platform.python_version()})")
    typer.echo(f"daemon  {answer}")
