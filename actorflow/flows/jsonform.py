"""A value as one line of JSON, or the innermost part of it that cannot be written.

What JSON does not know has a plain form, which `JsonLinesSink` documents.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from actorflow.errors import EncodeError

__all__ = ["json_line"]

#: How deep the search for the part that cannot be written goes.
LEVELS = 100


def json_line(value: Any, where: str) -> bytes:
    """The line of *value*, without its newline.

    Args:
        value: Of any type.
        where: What the error calls it.

    Raises:
        EncodeError: It, or a part of it, has no JSON form.
    """
    try:
        text = _ENCODER.encode(value)
    except _FAULTS as error:
        raise _refusal(value, where, error) from error
    try:
        return text.encode()
    except UnicodeEncodeError:  # Half a surrogate pair; JSON can escape it.
        return _ASCII_ENCODER.encode(value).encode()


def _sorted(values: set[Any] | frozenset[Any]) -> list[Any]:
    if all(type(value) in (int, float) for value in values):
        return sorted(values)
    return sorted(values, key=_ENCODER.encode)


#: The plain form of what JSON does not know; the first row that fits counts.
_FORMS: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, datetime.timedelta.total_seconds),
    ((pathlib.PurePath, uuid.UUID, decimal.Decimal), str),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    ((set, frozenset), _sorted),
    (enum.Enum, lambda value: value.value),
    (Mapping, dict),
)


def _plain(value: Any) -> object:
    """The plain form of *value*, one level deep."""
    for kinds, form in _FORMS:
        if isinstance(value, kinds):
            return form(value)
    kind = type(value)
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    for method in ("to_dict", "model_dump"):
        if callable(getattr(kind, method, None)):
            return getattr(value, method)()
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    raise TypeError(f"{name} has no JSON form; turn it into a dict, a list or a str")


#: What encoding a value raises; the last two come from classes with fields that are not set.
_FAULTS = (TypeError, ValueError, RecursionError, AttributeError, LookupError)

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
)
_ASCII_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)


def _refusal(value: Any, where: str, error: Exception) -> EncodeError:
    """The error for *value*, naming the innermost part that cannot be written."""
    for _ in range(LEVELS):
        if isinstance(error, RecursionError) or "Circular" in str(error):
            return EncodeError("refers to itself, or is nested too deeply", where)
        for step, part in _parts(value):
            fault = _fault(part)
            if fault is not None:
                value, where, error = part, where + step, fault
                break
        else:
            break
    if isinstance(value, float):
        return EncodeError(f"{value} is no JSON number", where)
    return EncodeError(str(error), where)


def _fault(value: Any) -> Exception | None:
    try:
        _ENCODER.encode(value)
    except _FAULTS as error:
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What *value* is made of, each part with the step that leads to it."""
    if not isinstance(value, (str, int, float, list, tuple, dict)):
        try:
            value = _plain(value)
        except _FAULTS:
            return
    if isinstance(value, dict):
        for key, part in value.items():
            plain_key = isinstance(key, str) and key.isidentifier()
            yield (f".{key}" if plain_key else f"[{key!r:.40}]"), part
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
