"""The program ``ipsecme``: its commands and the options that come before them."""

from __future__ import annotations

from typing import Annotated

import typer

import ipsecme
from ipsecme.cli.check import check
from ipsecme.cli.demo import demo
from ipsecme.cli.down import down
from ipsecme.cli.options import Config, Control, Settings
from ipsecme.cli.pki import pki
from ipsecme.cli.rekey import rekey
from ipsecme.cli.run import run
from ipsecme.cli.status import status
from ipsecme.cli.up import up
from ipsecme.cli.version import version

__all__ = ["app", "main"]

app = typer.Typer(
    name="ipsecme",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help starts three times as fast
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (run, up, down, rekey, status, check, demo, version):
    app.command()(_command)
app.add_typer(pki)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ipsecme {ipsecme.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    control: Control = None,
    config: Config = None,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """IKEv2 and IPsec: run the daemon, and tell it what to do.

    First steps: 'ipsecme demo' shows a tunnel between two hosts of its own; 'ipsecme check' reads
    your configuration, 'ipsecme run' starts the daemon, 'ipsecme status' tells how it is.
    """
    context.obj = Settings(control, config, debug)


def main() -> None:
    """Run the command of ``sys.argv`` and exit with its status."""
    app()
