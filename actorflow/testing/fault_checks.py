"""Checks of what faults are made of: one that can never happen would let every test pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from actorflow import options
from actorflow.errors import ConfigurationError

__all__ = ["Check", "a_duration", "a_path", "a_reason", "a_time", "perhaps_whole", "some", "whole"]

#: As attrs has validators: of the fault, the field and the value.
Check: TypeAlias = "Callable[[Any, Any, Any], object]"

REASONS = ("full", "readonly", "busy", "io", "lost")


def _name(fault: Any, field: Any) -> str:
    return f"{type(fault).__name__} {field.name}"


def whole(fault: Any, field: Any, value: Any) -> None:
    """Counted from 1."""
    options.count(_name(fault, field), value)


def some(fault: Any, field: Any, value: Any) -> None:
    """A number, or none."""
    options.count(_name(fault, field), value, least=0)


def perhaps_whole(fault: Any, field: Any, value: Any) -> None:
    """Counted from 1, if it is given."""
    options.optional(options.count, _name(fault, field), value)


def a_duration(fault: Any, field: Any, value: Any) -> None:
    """Of time that passes."""
    options.seconds(_name(fault, field), value)


def a_time(fault: Any, field: Any, value: Any) -> None:
    """Forth or back."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value)):
        raise ConfigurationError(_name(fault, field), value, "a number of seconds")


def a_reason(fault: Any, field: Any, value: Any) -> None:
    """Of a commit that failed."""
    options.choice(_name(fault, field), value, REASONS)


def a_path(fault: Any, field: Any, value: Any) -> None:
    """Of an actor or a stage."""
    if not (isinstance(value, str) and value.startswith("/") and all(value[1:].split("/"))):
        raise ConfigurationError(_name(fault, field), value, "a path, such as '/shop/charge'")
