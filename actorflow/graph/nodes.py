"""What a flow is made of besides stages: branches side by side, routes, batches.

    Parallel([spell, price])             both, for every item; joined to one value
    Route({"gold": vip, "*": [a, b]})    where the stage before says `Send("gold")`
    Batch(100, seconds=1.0)              wait for a hundred values, and work on a list

These are declarations. What they become is in `graph.compile`: edges, and stages
that wait for what belongs together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError

__all__ = ["UNCHANGED", "Batch", "Parallel", "Route", "Send"]

#: A `Send` without a patch: the value goes on as it came in.
UNCHANGED: Any = type("_Unchanged", (), {"__repr__": lambda _: "unchanged"})()


@attrs.frozen
class Batch:
    """Work on lists of values instead of one at a time.

    A batch is one message: its handler gets a list, and what it returns is one value. That, and all
    that a generator yields, is the result of its first item; `map` has `None` for the others, or
    an empty list in a flow with generators. If a batch is given up, each of its items is a dead
    letter, with its own value. A batch has the most urgent priority and the earliest deadline of
    its values, and of their metadata what all of them have, with the greatest depth.

    One that is not full goes when *seconds* have passed since its first value. It also goes when
    nothing else in the run can move and there is no more input, or no room for more; a run that
    could be fed more keeps it, also while somebody waits for a future of it.

    Attributes:
        size: Values in a full batch; at least 1.
        seconds: How long the first value of a batch waits at most; `None` is no limit. After a
            restart that time begins anew.
        key: Batches hold values of one key only; a plain function. A value for which it raises is
            a dead letter.
    """

    size: int
    seconds: float | None = None
    key: Callable[[Any], Any] | None = None

    def __attrs_post_init__(self) -> None:
        options.count("Batch.size", self.size)
        options.optional(options.seconds, "Batch.seconds", self.seconds, zero=False)
        options.optional(options.plain_function, "Batch.key", self.key)


class Parallel:
    """Branches that each get every value, side by side.

    Args:
        branches: Nodes, or lists of nodes; a mapping gives them names, which then are the
            keys of the joined value.
        join: Whether the item waits for all branches: it then goes on as a list of what they
            gave, in their order (a dict if they have names), or as one `Context` in a flow of
            contexts. A branch that skipped gave `None`; one with a generator, or that gave
            several values, gave a list. If a branch fails for good, its siblings are given up as
            ``sibling_failed``. Without *join* the item goes on at once, and what the branches
            give is dropped; it ends when they have ended too, and dead if one failed.
        name: Of the stage that joins; made of the branches by default.

    Raises:
        ConfigurationError: There is no branch.
    """

    def __init__(
        self,
        branches: Iterable[Any] | Mapping[str, Any],
        *,
        join: bool = True,
        name: str | None = None,
    ) -> None:
        if isinstance(branches, (str, bytes, Set)) or not isinstance(branches, Iterable):
            raise ConfigurationError(
                "Parallel.branches", branches, "a list, such as [spell, price]"
            )
        named = isinstance(branches, Mapping)
        self.keys: tuple[str, ...] | None = tuple(branches) if named else None
        self.branches = tuple(branches.values() if isinstance(branches, Mapping) else branches)
        self.join = options.flag("Parallel.join", join)
        #: Whether an item that one branch skips is skipped; see `Join`.
        self.strict = False
        self.name = options.optional(options.name, "Parallel.name", name)
        if not self.branches:
            raise ConfigurationError("Parallel.branches", branches, "at least one branch")

    def __repr__(self) -> str:
        return f"<Parallel of {len(self.branches)}{'' if self.join else ', not joined'}>"


class Route:
    """Where an item goes when the stage before it returns `Send`.

    Args:
        table: Nodes or lists of nodes by the name of the route.
        default: For names that are not in *table*; without it such a name fails the item.

    Raises:
        ConfigurationError: There is no route, or one has a name that is no text.
    """

    def __init__(self, table: Mapping[str, Any], *, default: Any = None) -> None:
        if not isinstance(table, Mapping):
            raise ConfigurationError("Route.table", table, "a dict, such as {'gold': [vip]}")
        if not table and default is None:
            raise ConfigurationError("Route.table", table, "at least one route")
        for name in table:
            if not isinstance(name, str):
                wanted = (
                    f"a text, such as {str(name)!r}, which a stage chooses by Send({str(name)!r})"
                )
                raise ConfigurationError("Route.table key", name, wanted)
        self.table = dict(table)
        self.default = default

    def __repr__(self) -> str:
        return f"<Route {', '.join(map(repr, self.table))}>"


@attrs.frozen
class Send:
    """What a stage returns to choose a route.

    Attributes:
        route: Name of the route.
        patch: What goes on: in a flow of contexts, what is added to the context; in any other,
            the value. Left out, the item goes on as it came in.
    """

    route: str
    patch: Any = UNCHANGED
