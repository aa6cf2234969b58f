"""Tell which values nobody can change, so that they may be shared instead of packed.

    type(body) in FROZEN      the hot question: one set look-up, no look inside
    is_frozen(body)           the thorough one: looks inside tuples, frozensets, messages

`FROZEN` holds exact types. A `@message` class is in it only if the annotation of
each field proves that the field is frozen too; annotations are taken at their
word. Whatever cannot be proved (`Any`, `list`, a name that does not resolve) is
not frozen: a wrong no costs a packing, a wrong yes spoils somebody's retry.
"""

from __future__ import annotations

import datetime
import decimal
import pathlib
import types
import typing
import uuid
from typing import Any

import attrs

from actorflow.wire.packed import Packed

__all__ = [
    "FROZEN",
    "LEAVES",
    "MESSAGES",
    "admit_frozen",
    "admit_leaf",
    "admit_message",
    "is_frozen",
]

LEAVES: set[type] = {
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    Packed,
}
"""Types the codec writes that have nothing inside; registered Enums and references join."""

FROZEN: set[type] = set(LEAVES)
"""Exact types that cannot change, nor anything inside them."""

MESSAGES: set[type] = set()
"""Classes made by `@message`; each is frozen as far as its fields are."""

_NEVER_EXACT = {pathlib.Path, pathlib.PurePath}  # Names for a concrete kind; no instance has them.


def is_frozen(value: object) -> bool:
    """Whether neither *value* nor anything inside it can change."""
    waiting: list[Any] = [value]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in FROZEN or id(item) in seen:
            continue
        seen.add(id(item))
        if kind in (tuple, frozenset):
            waiting.extend(item)
        elif kind in MESSAGES:
            waiting.extend(getattr(item, field.name) for field in attrs.fields(kind))
        else:
            return False
    return True


def admit_leaf(cls: type) -> None:
    """Take in a type that has nothing inside: a registered Enum or a reference."""
    LEAVES.add(cls)
    FROZEN.add(cls)


def admit_frozen(cls: type) -> None:
    """Take in a type that holds others and sees to it that they cannot change: the Context."""
    FROZEN.add(cls)


def admit_message(cls: type) -> None:
    """Take in a `@message` class; into `FROZEN` only if its annotations prove it."""
    MESSAGES.add(cls)
    if _fields_are_frozen(cls):
        FROZEN.add(cls)


def _fields_are_frozen(cls: type) -> bool:
    try:
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
    except Exception:  # An annotation may hold any expression; one that fails proves nothing.
        return False
    known = FROZEN | _NEVER_EXACT | {cls}
    return all(_is_proof(hints.get(field.name), known) for field in attrs.fields(cls))


def _is_proof(hint: object, known: set[type]) -> bool:
    if isinstance(hint, typing.NewType):
        return _is_proof(hint.__supertype__, known)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return isinstance(hint, type) and hint in known
    if origin is typing.Literal:
        return True
    if origin in (tuple, frozenset, typing.Union, types.UnionType, typing.Final):
        return all(each is ... or _is_proof(each, known) for each in inside)
    return False
