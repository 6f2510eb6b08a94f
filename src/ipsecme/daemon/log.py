"""The log: one line for each thing that happened, for people on a terminal and as JSON elsewhere.

Owns rendering and the reader of the engine's event stream. Text from the wire is a value and never
a format; whatever is not printable is escaped, so that no peer writes lines of its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

from ipsecme.daemon.story import tell

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from ipsecme.ike.events import Event

__all__ = ["EventLog", "configure", "log"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
"""What every part of the daemon logs to: ``log.info("event_name", msg="...", field=...)``."""

_LINES_PER_SECOND = 20
_PLAIN = re.compile(r"[\w./:@%+,\[\]-]+")


def configure(
    level: str, form: Literal["auto", "text", "json"], stream: TextIO | None = None
) -> None:
    """Set the log up, for standard error unless told otherwise."""
    stream = sys.stderr if stream is None else stream
    as_text = form == "text" or (form == "auto" and stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _escape,
            _as_text if as_text else _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Sink(stream),
        cache_logger_on_first_use=False,
    )
    # What libraries have to say takes the same way.
    root = logging.getLogger()
    root.handlers[:] = [_Library()]
    root.setLevel(logging.WARNING)


class EventLog:
    """Reads the engine's events and writes a line for each.

    Strangers can cause failures as fast as they can send, so failures without an authenticated
    peer are limited; the next line says how many were left out.
    """

    def __init__(self) -> None:
        self._second = 0.0
        self._lines = 0
        self._left_out = 0

    def __call__(self, event: Event, now: float) -> None:
        """Log an event that happened at `now` (monotonic seconds)."""
        line = tell(event)
        if line.name == "ike_sa_failed" and not self._may_log(now):
            return
        fields = line.fields
        if self._left_out and line.name == "ike_sa_failed":
            fields = {**fields, "left_out": self._left_out}
            self._left_out = 0
        write = log.warning if line.level == "warning" else log.info
        write(line.name, msg=line.text, **fields)

    def _may_log(self, now: float) -> bool:
        if now - self._second >= 1:
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines <= _LINES_PER_SECOND:
            return True
        self._left_out += 1
        return False


class _Sink:
    """Where rendered lines go. A reader that went away must not take the daemon with it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _Library(logging.Handler):
    """Hands the records of libraries to the log as single lines."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[1]:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        name = "library_error" if record.levelno >= logging.ERROR else "library_warning"
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(name, msg=record.getMessage(), **fields)


def _escape(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> Any:
    return {key: _printable(value) for key, value in fields.items()}


def _printable(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _as_json(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
    ordered = {key: fields.pop(key) for key in ("time", "level", "event")} | dict(fields)
    return json.dumps(ordered, ensure_ascii=False)


def _as_text(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
    time, level, event = fields.pop("time"), fields.pop("level"), fields.pop("event")
    message, advice = fields.pop("msg", ""), fields.pop("try", "")
    rest = " ".join(f"{key}={_value(value)}" for key, value in fields.items())
    parts = (time, f"{level:<7}", event, message, f"({rest})" if rest else "")
    line = " ".join(part for part in parts if part)
    return f"{line} -- try: {advice}" if advice else line


def _value(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
