"""Checks of what a caller may get wrong, so that every wrong option reads alike.

Each check takes the dotted name of the option and the value, answers the value
and raises `ConfigurationError` naming option, value and rule. Names in messages
are the ones the caller wrote.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from actorflow.errors import ConfigurationError

__all__ = [
    "choice",
    "count",
    "counts",
    "flag",
    "function",
    "known_names",
    "name",
    "optional",
    "plain_function",
    "positive",
    "priority",
    "seconds",
]

T = TypeVar("T")


def count(option: str, value: object, *, least: int = 1) -> int:
    """A whole number, at least *least*."""
    if type(value) is not int or value < least:
        raise ConfigurationError(option, value, f"a whole number, {least} or more")
    return value


def counts(option: str, value: object) -> dict[str, int]:
    """Whole numbers, 1 or more, by name; empty for `None`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(option, value, "a dict of names and numbers, such as {'db': 3}")
    return {
        name(f"{option} name", each): count(f"{option}[{each!r}]", number)
        for each, number in value.items()
    }


def priority(option: str, value: object) -> int:
    """A whole number; lower goes first."""
    if type(value) is not int:
        raise ConfigurationError(option, value, "a whole number; lower goes first")
    return value


def seconds(option: str, value: object, *, zero: bool = True) -> float:
    """A finite length of time in seconds, 0 allowed if *zero*."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (value > 0 or (zero and value == 0))
    ):
        return float(value)
    wanted = "0 or more" if zero else "above 0"
    raise ConfigurationError(option, value, f"a number of seconds, {wanted}")


def positive(option: str, value: object) -> float:
    """A finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(option, value, "a number above 0")
    if not (math.isfinite(value) and value > 0):
        raise ConfigurationError(option, value, "a number above 0")
    return float(value)


def flag(option: str, value: object) -> bool:
    """True or False, and nothing that only behaves like it."""
    if not isinstance(value, bool):
        raise ConfigurationError(option, value, "True or False")
    return value


def choice(option: str, value: object, allowed: Collection[str]) -> str:
    """One of the words in *allowed*."""
    if not isinstance(value, str) or value not in allowed:
        raise ConfigurationError(option, value, f"one of {', '.join(map(repr, allowed))}")
    return value


def name(option: str, value: object) -> str:
    """A name for an actor, stage or flow: not empty, no slash, no control characters."""
    if (
        isinstance(value, str)
        and value
        and "/" not in value
        and value.isprintable()
        and len(value) <= 200
    ):
        return value
    raise ConfigurationError(option, value, "1 to 200 printable characters without '/'")


def function(option: str, value: object, *given: str) -> Callable[..., Any]:
    """A function, plain or async, that can be called with what is *given* by position."""
    listed = ", ".join(given)
    wanted = f"a function of {listed if len(given) == 1 else f'({listed})'}"
    if not callable(value):
        raise ConfigurationError(option, value, wanted)
    try:  # A wrapper is called as it is, whatever it passes on to what it wraps.
        signature = inspect.signature(value, follow_wrapped=False)
    except Exception:  # It cannot be looked into, as many in C, and some mocks.
        return value
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ConfigurationError(option, value, f"{wanted} ({error})") from None
    return value


def plain_function(option: str, value: object) -> Callable[[Any], Any]:
    """A function of the value that answers at once."""
    found = function(option, value, "the value")
    if any(map(inspect.iscoroutinefunction, (found, type(found).__call__))):
        raise ConfigurationError(option, value, "a plain function, not an `async def`")
    return found


def optional(check: Callable[..., T], option: str, value: object, **rules: bool | int) -> T | None:
    """`None`, or what *check* makes of the value."""
    return None if value is None else check(option, value, **rules)


def known_names(where: str, given: Collection[str], allowed: Collection[str]) -> None:
    """Every name in *given* is one of *allowed*."""
    for each in given:
        if each not in allowed:
            near = difflib.get_close_matches(each, allowed, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigurationError(
                f"{where} option", each, f"one of {', '.join(map(repr, allowed))}{hint}"
            )
