"""Values of ours as JSON: what a message, a fact or a result holds, for people and programs.

A value that JSON knows is itself. Others are objects that say what they are:

    {"$type": "tuple", "values": [...]}    {"$type": "bytes", "base64": "..."}
    {"$type": "crawl.page", "fields": {...}}    {"$type": "datetime", "text": "..."}

What this process cannot read is told by its tags: `body_form`.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from actorflow.cli.front import one_line
from actorflow.errors import ActorFlowError
from actorflow.wire.codec import decode, tags
from actorflow.wire.place import read_fields
from actorflow.wire.registry import REGISTRY

__all__ = ["body_form", "brief", "form"]

_TEXTS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (datetime.datetime, datetime.datetime.isoformat),
    (datetime.date, datetime.date.isoformat),
    (datetime.timedelta, str),
    (decimal.Decimal, str),
    (uuid.UUID, str),
    (pathlib.PurePath, str),
)


def form(value: Any) -> Any:
    """*value* as JSON has it."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$type": "float", "text": str(value)}
    if kind is list:
        return [form(each) for each in value]
    if kind is dict:
        return _of_mapping(value)
    if kind in (tuple, set, frozenset):
        return {"$type": kind.__name__, "values": [form(each) for each in value]}
    if kind is bytes:
        return {"$type": "bytes", "base64": base64.b64encode(value).decode()}
    for cls, text in _TEXTS:
        if isinstance(value, cls):
            return {"$type": cls.__name__, "text": text(value)}
    return _of_instance(value)


def _of_mapping(value: dict[Any, Any]) -> Any:
    if all(type(key) is str and key != "$type" for key in value):
        return {key: form(each) for key, each in value.items()}
    return {"$type": "dict", "pairs": [[form(key), form(each)] for key, each in value.items()]}


def _of_instance(value: Any) -> Any:
    entry = REGISTRY.by_class.get(type(value))
    tag = type(value).__qualname__ if entry is None else entry.tag
    if isinstance(value, enum.Enum):
        return {"$type": tag, "text": value.name}
    try:
        fields = read_fields(value)
    except ActorFlowError:
        return {"$type": tag, "text": one_line(repr(value))}
    return {"$type": tag, "fields": {name: form(each) for name, each in fields.items()}}


def body_form(data: bytes) -> dict[str, Any]:
    """``{"body": ...}``; or, where the bytes cannot be read here, their tags and why."""
    try:
        return {"body": form(decode(data, max_bytes=None))}
    except ActorFlowError as error:
        try:
            found = sorted(tags(data, max_bytes=None))
        except ActorFlowError:
            found = []
        return {"tags": found, "bytes": len(data), "fault": one_line(str(error))}


def brief(body: dict[str, Any], width: int = 60) -> str:
    """What `body_form` gave, on one line."""
    if "body" in body:
        text = json.dumps(body["body"], ensure_ascii=False)
    else:
        text = f"({', '.join(body['tags']) or 'unreadable'}, {body['bytes']:,} bytes)"
    line = one_line(text)
    return line if len(line) <= width else line[: width - 3] + "..."
