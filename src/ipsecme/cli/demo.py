"""``ipsecme demo``: a tunnel between two hosts that it makes itself, seen working."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ipsecme.cli.options import Json  # noqa: TC001 - typer reads it
from ipsecme.cli.outcome import NOT_SO, UNUSABLE, guarded, print_json, tell_failure
from ipsecme.lab.demo_report import DemoReport
from ipsecme.lab.errors import LabUnavailable

if TYPE_CHECKING:
    from ipsecme.lab.demo import Demo, Plan

__all__ = ["demo"]

_SANDBOXED = "IPSECME_DEMO_SANDBOXED"
_INTERRUPTED = 130

Keys = Annotated[
    Path | None, typer.Option("--keys", metavar="DIR", help="Write keys for Wireshark there.")
]
CaptureFile = Annotated[
    Path | None, typer.Option("--capture", metavar="FILE", help="Write the link's packets there.")
]


@guarded
def demo(
    context: typer.Context,  # noqa: ARG001 - `guarded` looks at it
    *,
    as_json: Json = False,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", metavar="SECONDS", min=1, max=3600, help="How long probes are sent."
        ),
    ] = 3.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what --keep left running.")] = False,
    keys: Keys = None,
    capture: CaptureFile = None,
    sabotage: Annotated[str | None, typer.Option("--break", hidden=True)] = None,
) -> None:
    """Show a tunnel between two hosts of its own, and check every step.

    Two network namespaces, two daemons, a ping, a TCP transfer, and new keys in traffic without a
    lost packet; then all of it is removed. Needs no root where user namespaces are allowed.

    The exit status is 0 when everything went as it must, 1 when not, 2 where namespaces cannot be
    made.
    """
    if stop:
        _stop(as_json=as_json)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _enter_sandbox()
        plan = _plan(seconds, keys, capture, sabotage, keep=keep)
        is_fine = _run_silently(plan) if as_json else _run_visibly(plan)
    except LabUnavailable as error:
        if as_json:
            print_json(DemoReport().to_json())
        tell_failure(str(error))
        raise typer.Exit(UNUSABLE) from None
    except KeyboardInterrupt:
        tell_failure("interrupted; everything is removed")
        raise typer.Exit(_INTERRUPTED) from None
    if not is_fine:
        raise typer.Exit(NOT_SO)


def _plan(
    seconds: float, keys: Path | None, capture: Path | None, sabotage: str | None, *, keep: bool
) -> Plan:
    from ipsecme.lab.demo import Plan  # noqa: PLC0415 - takes long
    from ipsecme.lab.demo_sabotage import Sabotage  # noqa: PLC0415 - takes long

    try:
        kind = Sabotage(sabotage) if sabotage else None
    except ValueError:
        raise typer.BadParameter(f"--break is one of {', '.join(Sabotage)}") from None
    return Plan(
        seconds=seconds,
        keep=keep,
        keys=keys and keys.absolute(),
        capture=capture and capture.absolute(),
        sabotage=kind,
    )


def _run_silently(plan: Plan) -> bool:
    """Print nothing but the summary; problems go to standard error."""
    from ipsecme.lab.demo import Demo  # noqa: PLC0415 - takes long

    made = Demo(plan, lambda _: None)
    try:
        report = made.run()
    except KeyboardInterrupt:
        print_json(made.report.to_json())
        raise
    print_json(report.to_json())
    for problem in report.problems:
        tell_failure(problem)
    if _remember(made, plan):
        typer.echo("left running; end it with: ipsecme demo --stop", err=True)
    return report.ok


def _run_visibly(plan: Plan) -> bool:
    from ipsecme.cli.demo_view import Narrator, show_hints, show_report  # noqa: PLC0415 - rich
    from ipsecme.lab.demo import Demo  # noqa: PLC0415 - takes long
    from ipsecme.lab.demo_kept import decoding_hints, hints  # noqa: PLC0415 - takes long

    with Narrator() as narrator:
        made = Demo(plan, narrator)
        report = made.run()
    show_report(report)
    if plan.keys and plan.capture:
        show_hints("Read the capture with", decoding_hints(plan.keys, plan.capture))
    if _remember(made, plan):
        found = hints(made.stage, is_sandboxed=_SANDBOXED in os.environ)
        show_hints("It is still running. Try", found)
    return report.ok


def _remember(made: Demo, plan: Plan) -> bool:
    """Write down what is left running; return whether anything is."""
    from ipsecme.lab.demo_kept import remember  # noqa: PLC0415 - takes long

    is_running = plan.keep and made.lab.folder.exists()
    if is_running:
        remember(made.lab, made.stage)
    return is_running


def _enter_sandbox() -> None:
    """Return where namespaces can be made, which may mean to start again (see `lab.sandbox`)."""
    from ipsecme.lab.sandbox import ensure_privileges, has_privileges  # noqa: PLC0415 - ctypes

    if not has_privileges():
        os.environ[_SANDBOXED] = "1"
    ensure_privileges()


def _stop(*, as_json: bool) -> None:
    from ipsecme.lab.demo_kept import stop_all  # noqa: PLC0415 - takes long

    stopped = stop_all()
    if as_json:
        print_json({"stopped": [str(folder) for folder in stopped]})
    elif stopped:
        typer.echo("\n".join(f"ended {folder}" for folder in stopped))
    else:
        typer.echo("no demonstration is running")
