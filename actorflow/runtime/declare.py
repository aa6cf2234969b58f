"""What users declare: `Supervisor` and `DynamicSupervisor`. Values; nothing runs here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.backoff import Backoff
from actorflow.policies.supervision import (
    AutoShutdown,
    ChildSpec,
    OnExhausted,
    Strategy,
    as_call,
)

__all__ = ["DynamicSupervisor", "Plan", "Supervisor"]


@attrs.frozen(kw_only=True)
class Plan:
    """What a supervisor in the tree goes by.

    Attributes:
        max_restarts: Restarts within *window* that it allows in all; `None`: it does not count.
        on_exhausted: As users say it, or "end": only the child ends, for good.
        forgives_turns: A crash that a message has paid for with an attempt is not counted.
        dynamic: Its children are added while it runs, and are not its own to start again.
    """

    children: tuple[ChildSpec, ...] = ()
    strategy: Strategy = "one_for_one"
    max_restarts: int | None = 3
    window: float = 30.0
    auto_shutdown: AutoShutdown = "never"
    on_exhausted: str = "escalate"
    backoff: Backoff | None = None
    forgives_turns: bool = False
    dynamic: bool = False
    max_children: int | None = None


class Supervisor:
    """A fixed set of children, started left to right and stopped right to left.

    Args:
        children: What it starts, in this order.
        strategy: `"one_for_one"`: a crashed child is restarted alone. `"one_for_all"`: all are.
            `"rest_for_one"`: it and those started after it.
        max_restarts: *More than* so many restarts within *window* exhaust it.
        window: Seconds.
        auto_shutdown: Whether it ends when `"any_significant"` or `"all_significant"` children
            have ended by themselves; `"never"` by default.
        on_exhausted: `"escalate"`: stop the children and crash, so that its own supervisor
            decides. `"stop"`: stop them and end. `"park"`: the crashed child stays down, its
            mailbox accepts until it is full, and an operator may `resume` it.
        backoff: Default for the children's restart delays.

    Raises:
        ConfigurationError: An option is out of range, or two children have one id.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        window: float = 30.0,
        auto_shutdown: AutoShutdown = "never",
        on_exhausted: OnExhausted = "escalate",
        backoff: Backoff | None = None,
    ) -> None:
        options.choice("Supervisor.strategy", strategy, get_args(Strategy))
        options.choice("Supervisor.auto_shutdown", auto_shutdown, get_args(AutoShutdown))
        options.choice("Supervisor.on_exhausted", on_exhausted, get_args(OnExhausted))
        seen: set[str] = set()
        for position, child in enumerate(children):
            if not isinstance(child, ChildSpec):
                raise ConfigurationError(
                    f"Supervisor.children[{position}]", child, "a ChildSpec(id, start)"
                )
            if child.id in seen:
                raise ConfigurationError(
                    f"Supervisor.children[{position}].id", child.id, "different from its siblings'"
                )
            seen.add(child.id)
        self.plan = Plan(
            children=tuple(children),
            strategy=strategy,
            max_restarts=options.count("Supervisor.max_restarts", max_restarts, least=0),
            window=options.seconds("Supervisor.window", window, zero=False),
            auto_shutdown=auto_shutdown,
            on_exhausted=on_exhausted,
            backoff=backoff,
        )

    def __repr__(self) -> str:
        """As Python that makes it again, without what is as usual."""
        return _shown(self, [repr(list(self.plan.children))], _OPTIONS)


class DynamicSupervisor:
    """Children that come and go: ``await ref.start_child(spec)``. They have no order.

    Args:
        max_children: Most children at a time; `None`: no limit.
        max_restarts: *More than* so many restarts within *window* exhaust it.
        window: Seconds.
        on_exhausted: As for `Supervisor`.
        backoff: Default for the children's restart delays.
    """

    def __init__(
        self,
        *,
        max_children: int | None = None,
        max_restarts: int = 3,
        window: float = 30.0,
        on_exhausted: OnExhausted = "escalate",
        backoff: Backoff | None = None,
    ) -> None:
        options.choice("DynamicSupervisor.on_exhausted", on_exhausted, get_args(OnExhausted))
        self.plan = Plan(
            max_restarts=options.count("DynamicSupervisor.max_restarts", max_restarts, least=0),
            window=options.seconds("DynamicSupervisor.window", window, zero=False),
            on_exhausted=on_exhausted,
            backoff=backoff,
            dynamic=True,
            max_children=options.optional(
                options.count, "DynamicSupervisor.max_children", max_children
            ),
        )

    def __repr__(self) -> str:
        """As Python that makes it again, without what is as usual."""
        return _shown(self, [], _DYNAMIC_OPTIONS)


_OPTIONS = ("strategy", "max_restarts", "window", "auto_shutdown", "on_exhausted", "backoff")
_DYNAMIC_OPTIONS = ("max_children", "max_restarts", "window", "on_exhausted", "backoff")


def _shown(
    start: Supervisor | DynamicSupervisor, positional: list[str], names: Sequence[str]
) -> str:
    given = {name: getattr(start.plan, name) for name in names}
    usual = {field.name: field.default for field in attrs.fields(Plan)}
    return as_call(type(start).__name__, positional, given, usual, {})


def plan_of(start: Any) -> Plan | None:
    """The plan of a declared supervisor; `None` for anything else."""
    return start.plan if isinstance(start, (Supervisor, DynamicSupervisor)) else None
