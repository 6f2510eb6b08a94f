"""How a command ends: its exit status, and errors as one clear line with a hint."""

from __future__ import annotations

import functools
import json
import traceback
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from ipsecme.api import ControlError
from ipsecme.base import IpsecmeError
from ipsecme.cli.options import Settings
from ipsecme.cli.plain import plain, plain_lines

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOT_SO", "UNUSABLE", "describe", "guarded", "print_json", "tell_error", "tell_failure"]

NOT_SO = 1
"""Exit status: the answer is no; a connection is not up, a file has errors."""
UNUSABLE = 2
"""Exit status: the question could not be asked; wrong usage, or no daemon."""
_FAULT = 70  # EX_SOFTWARE of sysexits.h

P = ParamSpec("P")
T = TypeVar("T")


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Make a command tell its errors instead of raising them.

    The parameter `as_json` of the command decides the form. With the common option ``--debug``
    errors are raised.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if _wants_traceback(kwargs.get("context")):
                raise
            status = tell_error(error, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(status) from None

    return run


def tell_error(error: Exception, *, as_json: bool) -> int:
    """Print an error and return the exit status that goes with it.

    In JSON it has the form of the control socket: ``{"error": {"code", "message", "hint"}}``.
    """
    code, message, hint, status = describe(error)
    if as_json:
        print_json({"error": {"code": code, "message": message, "hint": hint}})
    else:
        tell_failure(message, hint)
    return status


def tell_failure(message: str, hint: str = "") -> None:
    """Print what failed, and what to try, to standard error."""
    first, *rest = plain_lines(message).split("\n")
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo("\n".join([first, *(f"       {line}" for line in rest)]), err=True)
    if hint:
        typer.secho("  try: ", fg="yellow", err=True, nl=False)
        typer.echo(plain(hint), err=True)


def print_json(value: object) -> None:
    """Print a JSON value for people and programs alike."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def describe(error: Exception) -> tuple[str, str, str, int]:
    """Return code, message, hint and exit status of an error."""
    if isinstance(error, ControlError):
        return error.code, str(error), error.hint, UNUSABLE
    if isinstance(error, IpsecmeError):
        return _snake(type(error).__name__), str(error), "", UNUSABLE
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        return "system", f"{file}{error.strerror or error}", "", UNUSABLE
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
    hint = "this is a fault of ipsecme; please report it with the output of: ipsecme --debug ..."
    return "internal", message, hint, _FAULT


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _wants_traceback(context: object) -> bool:
    find = getattr(context, "find_object", None)  # typer's own context is of another class
    settings = find(Settings) if find else None
    return isinstance(settings, Settings) and settings.debug
