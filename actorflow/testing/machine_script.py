"""What a `SystemMachine` writes down and keeps: its script, and how far it has come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs

from actorflow.testing.faults import FaultPlan, HandlerCrashes
from actorflow.testing.handlers import HandlerFaults

__all__ = ["Body", "Command", "PlannedCrashes", "Progress"]

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
        done: Commands that were done.
        spawned: Names of the actors that there are.
        model: Of the machine.
    """

    done: int
    spawned: list[str]
    model: Any


class PlannedCrashes(HandlerFaults):
    """Crashes of handlers that are planned while a script is run.

    Args:
        paths: Of the actors.
    """

    def __init__(self, paths: list[str]) -> None:
        never = FaultPlan(*(HandlerCrashes(path, 0) for path in paths))
        super().__init__(never, 1, lambda what: None)

    def plan(self, path: str, resume: int) -> None:
        """Let the next turn of this actor crash."""
        self._faults.append(HandlerCrashes(path, self._turns.get(path, 0) + 1, resume=resume))
