"""What may observe a run: checked before it starts, where a mistake is still cheap."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from actorflow import options
from actorflow.errors import ConfigurationError

__all__ = ["check_observer", "check_observers"]

WANTED = "an object with a plain method on_event, or on_stats and `every` in seconds"


def check_observers(option: str, observers: Iterable[Any]) -> tuple[Any, ...]:
    """*observers* as a tuple, if each of them is one.

    Raises:
        ConfigurationError: One is not; or there is one, and not a list of them.
    """
    if not isinstance(observers, Iterable) or hasattr(observers, "on_event"):
        raise ConfigurationError(option, observers, "a list of observers")
    found = tuple(observers)
    for index, each in enumerate(found):
        check_observer(f"{option}[{index}]", each)
    return found


def check_observer(option: str, observer: Any) -> None:
    """Whether *observer* can be told of anything.

    Raises:
        ConfigurationError: It has neither method; one is asynchronous, so that nothing would ever
            happen; or it wants what is no event.
    """
    verbs = [getattr(observer, name, None) for name in ("on_event", "on_stats")]
    unfit = any(inspect.iscoroutinefunction(each) for each in verbs)
    if isinstance(observer, type) or unfit or not any(map(callable, verbs)):
        raise ConfigurationError(option, observer, WANTED)
    if callable(verbs[1]):
        options.positive(f"{option}.every", getattr(observer, "every", None))
    wants = getattr(observer, "wants", None)
    if callable(verbs[0]) and wants is not None:
        types = isinstance(wants, tuple) and all(isinstance(each, type) for each in wants)
        if not types:
            raise ConfigurationError(f"{option}.wants", wants, "a tuple of types of events")
