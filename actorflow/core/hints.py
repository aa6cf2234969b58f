"""Tell whether a value is what an annotation says, one level down.

    int, str | None, Literal["a"]     the value
    list[int], dict[str, Order]       the value, and what is directly in it
    list[list[int]]                   that it is a list of lists, and no further

What cannot be told of a value (`Any`, a type variable, a protocol not made for it) fits.
An int fits where a float is asked for, as for type checkers.
"""

from __future__ import annotations

import collections
import types
import typing
from collections import abc
from typing import Any, TypeGuard

__all__ = ["fits", "is_typed_dict", "named", "unwrapped"]

_NUMBERS: dict[Any, tuple[type, ...]] = {float: (int, float), complex: (int, float, complex)}
_UNIONS = (typing.Union, types.UnionType)
_WRAPPERS = {"Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required"}
_TABLES = {dict, abc.Mapping, abc.MutableMapping, collections.defaultdict, collections.OrderedDict}
_ROWS = {
    list,
    set,
    frozenset,
    collections.deque,
    abc.Collection,
    abc.Sequence,
    abc.MutableSequence,
    abc.Set,
    abc.MutableSet,
}


def fits(hint: Any, value: object) -> bool:
    """Whether *value* is what the annotation *hint* says."""
    return _fits(hint, value, 1)


def named(hint: Any) -> str:
    """The annotation as one would write it."""
    hint, _ = unwrapped(hint)
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return "None" if hint is type(None) else hint.__qualname__.rpartition(".")[2]
    return repr(hint).replace("typing.", "")


def unwrapped(hint: Any) -> tuple[Any, frozenset[str]]:
    """The annotation without `Annotated`, `NotRequired` and their like, and which there were."""
    around: set[str] = set()
    while True:
        origin = typing.get_origin(hint)
        wrapper = getattr(origin, "__name__", getattr(origin, "_name", ""))
        if wrapper not in _WRAPPERS:
            return hint, frozenset(around)
        around.add(wrapper)
        hint = typing.get_args(hint)[0]


def is_typed_dict(hint: object) -> TypeGuard[type[dict[str, Any]]]:
    """Whether it is a TypedDict, be it of `typing` or of `typing_extensions`."""
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__required_keys__")


def _fits(hint: Any, value: object, depth: int) -> bool:
    hint, _ = unwrapped(hint)
    if hint is None:
        return value is None
    if isinstance(hint, typing.NewType):
        return _fits(hint.__supertype__, value, depth)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        # An alias of Python 3.12 knows what it stands for.
        real = hint if isinstance(hint, type) else getattr(hint, "__value__", hint)
        return _is_a(hint, value) if real is hint else _fits(real, value, depth)
    if origin in _UNIONS:
        return any(_fits(each, value, depth) for each in inside)
    if origin is typing.Literal:
        return any(type(value) is type(each) and value == each for each in inside)
    return _is_a(origin, value) and (depth == 0 or _parts_fit(origin, inside, value))


def _is_a(cls: Any, value: object) -> bool:
    if is_typed_dict(cls):
        return isinstance(value, abc.Mapping)
    try:
        return isinstance(value, _NUMBERS.get(cls, cls))
    except TypeError:
        return True  # No class, or one that has no instances to tell.


def _parts_fit(origin: Any, inside: tuple[Any, ...], value: Any) -> bool:
    if origin in _TABLES and len(inside) == 2:
        return all(_fits(inside[0], key, 0) and _fits(inside[1], value[key], 0) for key in value)
    if origin in _ROWS and len(inside) == 1:
        return all(_fits(inside[0], part, 0) for part in value)
    if origin is tuple:
        if len(inside) == 2 and inside[1] is ...:
            return all(_fits(inside[0], part, 0) for part in value)
        return len(value) == len(inside) and all(map(_fits, inside, value, [0] * len(value)))
    return True
