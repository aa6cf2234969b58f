"""What a `SystemMachine` writes down and keeps: its script, and how far it has come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeAlias

import attrs

from actorflow.errors import ConfigurationError
from actorflow.testing.fault_strategies import OF_HANDLERS, SURVIVED
from actorflow.testing.faults import Fault

__all__ = ["Body", "Command", "Progress", "plannable"]

#: An async method of a machine.
Body: TypeAlias = "Callable[..., Awaitable[object]]"


@attrs.frozen
class Command:
    """One line of a script.

    Attributes:
        body: What is called with the machine, the system and *args*; `None` kills the process.
        args: Beside those.
    """

    body: Body | None
    args: Mapping[str, Any]


@attrs.define
class Progress:
    """How far a script has come; survives every death of the process.

    Attributes:
        done: Commands that were begun.
        interrupted: Whether the last of them has not come to its end.
        spawned: Names of the actors that there are.
        model: Of the machine.
    """

    done: int
    spawned: list[str]
    model: Any
    interrupted: bool = False


def plannable(where: str, kinds: Collection[type[Fault]]) -> tuple[type[Fault], ...]:
    """*kinds* of faults that may be planned while a script is run, the simplest first.

    Raises:
        ConfigurationError: One of them is none that a system gets over by itself.
    """
    usable = (*SURVIVED, *OF_HANDLERS)
    if any(each not in usable for each in kinds):
        names = ", ".join(each.__name__ for each in usable)
        raise ConfigurationError(f"{where}.faults", kinds, f"some of {names}")
    return tuple(each for each in usable if each in kinds)
