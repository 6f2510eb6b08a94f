"""Dataclasses to JSON values and back, checked against their annotations.

Fields that the reader does not know are ignored, so that an older client understands a newer
daemon; fields with a default may be missing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin

from ipsecme.base import IpsecmeError

__all__ = ["SchemaError", "from_json", "to_json"]

T = TypeVar("T")

_NONE = type(None)


class SchemaError(IpsecmeError):
    """A JSON value does not have the form that was expected; the message names the place."""


def to_json(value: Any) -> Any:
    """Return the JSON value (dicts, lists, text, numbers) of a dataclass."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(entry) for entry in value]
    return value


def from_json(kind: type[T], value: Any) -> T:
    """Build a dataclass from a JSON value; raises `SchemaError`."""
    return typing.cast("T", _build(kind, value, kind.__name__))


def _build(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _build_optional(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise SchemaError(f"{where} is not a list")
        inner = get_args(kind)[0]
        return tuple(_build(inner, entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise SchemaError(f"{where} is not an object")
        inner = get_args(kind)[1]
        return {key: _build(inner, entry, f"{where}.{key}") for key, entry in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise SchemaError(f"{where} is not {_NAMES.get(kind, kind)}")
    return value


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _build_optional(kind: Any, value: Any, where: str) -> Any:
    if value is None:
        if _NONE in get_args(kind):
            return None
        raise SchemaError(f"{where} is missing")
    (inner,) = (entry for entry in get_args(kind) if entry is not _NONE)
    return _build(inner, value, where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise SchemaError(f"{where} is not an object")
    arguments = {}
    for name, hint, has_default in _fields(kind):
        if name in value:
            arguments[name] = _build(hint, value[name], f"{where}.{name}")
        elif not has_default:
            raise SchemaError(f"{where}.{name} is missing")
    return kind(**arguments)


@lru_cache(maxsize=64)
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return tuple(
        (f.name, hints[f.name], f.default is not missing or f.default_factory is not missing)
        for f in dataclasses.fields(kind)
    )
