"""What the options of a stage are, what each is when left out, and what it may be.

`RULES` is the one list of them: the checks, the defaults and the signature that
`help(stage)` shows are read from it. What an option means stands at `Stage`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias, TypedDict

from actorflow import options
from actorflow.core.schemas import check_schema
from actorflow.errors import ConfigurationError
from actorflow.graph.nodes import Batch
from actorflow.policies.kinds import check_policies
from actorflow.policies.machine import Decider, Declaration, Policy
from actorflow.policies.ratelimit import RateLimit

__all__ = ["RULES", "StageOptions", "checked", "failure_hook"]


class StageOptions(TypedDict, total=False):
    """The options as a type checker knows them; `unpack` is apart, as it changes the input."""

    name: str | None
    workers: int
    policies: Sequence[Declaration | Policy | Decider]
    timeout: float | None
    runs_in: Literal["loop", "thread", "process"] | None
    capacity: int
    overflow: Literal["block", "fail", "drop_new", "drop_old"]
    key: Callable[[Any], Any] | None
    skip_if: Callable[..., Any] | None
    batch: Batch | None
    reads: Collection[str] | None
    writes: Collection[str] | None
    input_schema: type | None
    output_schema: type | None
    isolation: Literal["copy", "share"]
    atomic: bool
    on_success: Callable[..., Any] | None
    on_failure: Callable[..., Any] | Literal["halt"] | None
    on_skip: Callable[..., Any] | None
    limits: Mapping[str, int] | None
    rates: Mapping[str, RateLimit] | None
    priorities: bool
    version: int
    max_waiting: int | None
    crash_on: Sequence[type[BaseException]]
    effects: bool


def checked(place: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options, those not in *given* by default.

    Args:
        place: What messages call the stage, such as ``stage 'fetch'``.
        given: The options as the caller wrote them.

    Raises:
        ConfigurationError: One is unknown, or has a value that can never work.
    """
    options.known_names(place, given, RULES)
    return {
        name: check(f"{place}.{name}", given.get(name, default))
        for name, (default, check) in RULES.items()
    }


def _flag(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(option, value, "True or False")
    return value


def _of_the_value(option: str, value: object) -> Callable[..., Any]:
    return options.function(option, value, "the value")


def _of_the_result(option: str, value: object) -> Callable[..., Any]:
    return options.function(option, value, "the result")


def _batch(option: str, value: object) -> Batch:
    if not isinstance(value, Batch):
        raise ConfigurationError(option, value, "Batch(size, seconds=None)")
    return value


def _keys(option: str, value: object) -> tuple[str, ...]:
    listed = isinstance(value, (list, tuple, set, frozenset))
    if not listed or not all(isinstance(each, str) for each in value):  # type: ignore[attr-defined]
        raise ConfigurationError(option, value, "a list of keys, such as ['url']")
    return tuple(sorted(value))  # type: ignore[call-overload]


def _schema(option: str, value: object) -> object:
    check_schema(option, value)
    return value


def _key(option: str, value: object) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(value):
        wanted = "a plain function, as it is called before the message is leased"
        raise ConfigurationError(option, value, wanted)
    return options.function(option, value, "the value")


def failure_hook(option: str, value: object) -> Callable[..., Any] | str:
    """What `on_failure` may be: a function of the dead letter, plain or async, or ``"halt"``."""
    if value == "halt":
        return "halt"
    if not callable(value):
        raise ConfigurationError(option, value, "a function or 'halt'")
    options.function(option, value, "the dead letter")
    return value


def _rates(option: str, value: object) -> dict[str, RateLimit]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        wanted = "a dict of names and limits, such as {'api': RateLimit(10)}"
        raise ConfigurationError(option, value, wanted)
    for name, rate in value.items():
        options.name(f"{option} name", name)
        if not isinstance(rate, RateLimit):
            raise ConfigurationError(f"{option}[{name!r}]", rate, "a RateLimit")
        for part in ("key", "per_worker"):
            if getattr(rate, part):
                wanted = "left out, as whoever enters the section is counted"
                raise ConfigurationError(f"{option}[{name!r}].{part}", getattr(rate, part), wanted)
    return dict(value)


def _policies(option: str, value: object) -> tuple[object, ...]:
    return check_policies(option.removesuffix(".policies"), value)


def _exception_types(option: str, value: object) -> tuple[type[BaseException], ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigurationError(option, value, "a tuple of exception types")
    for position, each in enumerate(value):
        if not (inspect.isclass(each) and issubclass(each, BaseException)):
            raise ConfigurationError(f"{option}[{position}]", each, "an exception type")
    return tuple(value)


Rule: TypeAlias = tuple[object, Callable[[str, Any], Any]]

#: Default and check of every option, in the order of the documentation.
RULES: Mapping[str, Rule] = {
    "name": (None, partial(options.optional, options.name)),
    "workers": (1, options.count),
    "policies": ((), _policies),
    "timeout": (None, partial(options.optional, options.seconds, zero=False)),
    "runs_in": (
        None,
        partial(options.optional, partial(options.choice, allowed=("loop", "thread", "process"))),
    ),
    "capacity": (256, partial(options.count, least=0)),
    "overflow": (
        "block",
        partial(options.choice, allowed=("block", "fail", "drop_new", "drop_old")),
    ),
    "key": (None, partial(options.optional, _key)),
    "unpack": (False, _flag),
    "skip_if": (None, partial(options.optional, _of_the_value)),
    "batch": (None, partial(options.optional, _batch)),
    "reads": (None, partial(options.optional, _keys)),
    "writes": (None, partial(options.optional, _keys)),
    "input_schema": (None, partial(options.optional, _schema)),
    "output_schema": (None, partial(options.optional, _schema)),
    "isolation": ("copy", partial(options.choice, allowed=("copy", "share"))),
    "atomic": (False, _flag),
    "on_success": (None, partial(options.optional, _of_the_result)),
    "on_failure": (None, partial(options.optional, failure_hook)),
    "on_skip": (None, partial(options.optional, _of_the_value)),
    "limits": (None, options.counts),
    "rates": (None, _rates),
    "priorities": (True, _flag),
    "version": (1, options.count),
    "max_waiting": (None, partial(options.optional, options.count)),
    "crash_on": ((AssertionError, MemoryError, RecursionError), _exception_types),
    "effects": (False, _flag),
}
