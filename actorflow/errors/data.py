"""What can be wrong with the data of a flow: its Context, and what its schemas ask for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

import attrs

from actorflow.errors.base import ActorFlowError, ConfigurationError, shown

__all__ = [
    "DataError",
    "MergeConflictError",
    "MissingKey",
    "Problem",
    "SchemaError",
    "UndeclaredKey",
    "UnknownRoute",
]

#: Most keys or problems that a text names; all of them are in the attributes.
NAMED = 10


class DataError(ActorFlowError):
    """The data of a flow is not what was asked for."""


class MissingKey(DataError, KeyError):
    """A Context has no such key.

    Attributes:
        key: What was looked for.
        known: The keys there are, in alphabetical order.
    """

    def __init__(self, key: object, known: Collection[str]) -> None:
        super().__init__(key, known)  # Both, so that it can be pickled.
        self.key = key
        self.known = tuple(known)

    def __str__(self) -> str:
        """Made when asked: to look for near misses takes longer than most that catch this."""
        text = f"the Context has no key {shown(self.key):.80}; "
        if not self.known:
            return text + "it is empty"
        near = difflib.get_close_matches(str(self.key), self.known, n=3)
        rest = [key for key in self.known if key not in near]
        return f"{text}it has {_listed([*near, *rest])}"


class UndeclaredKey(DataError):
    """A stage reads or writes a key of its Context that it does not declare.

    Attributes:
        stage: Name of the stage.
        option: "reads" or "writes".
        key: The key.
        declared: The keys that it does declare.
    """

    def __init__(self, stage: str, option: str, key: str, declared: Sequence[str]) -> None:
        super().__init__(stage, option, key, tuple(declared))
        self.stage = stage
        self.option = option
        self.key = key
        self.declared = tuple(declared)

    def __str__(self) -> str:
        listed = _listed(self.declared) if self.declared else "nothing"
        return (
            f"stage {self.stage!r} {self.option} {self.key!r:.80}, which it does not declare; "
            f"{self.option}= has {listed}"
        )


class UnknownRoute(ConfigurationError):
    """A stage has sent a value to a route that does not follow it; it is not tried again.

    Attributes:
        stage: Name of the stage.
        route: Where it sent it.
        known: The routes there are.
    """

    def __init__(self, stage: str, route: object, known: Sequence[str]) -> None:
        listed = ", ".join(map(repr, known))
        super().__init__(f"stage {stage!r} Send.route", route, f"one of {listed}")
        self.stage = stage
        self.route = route
        self.known = tuple(known)


class MergeConflictError(DataError):
    """Branches of one fork have written the same keys.

    Attributes:
        keys: The keys, in alphabetical order.
        branches: The branches concerned, in their order.
        conflicts: The branches that wrote each key.
    """

    def __init__(self, conflicts: Mapping[str, Sequence[str]]) -> None:
        self.conflicts = {key: tuple(conflicts[key]) for key in sorted(conflicts)}
        self.keys = tuple(self.conflicts)
        self.branches = tuple(dict.fromkeys(name for names in conflicts.values() for name in names))
        told = [f"{key!r:.80} by {', '.join(names)}" for key, names in self.conflicts.items()]
        super().__init__(
            f"branches wrote the same keys: {_cut(told)}; give each a key of its own, and let "
            "a stage after the join make one of them"
        )

    def __reduce__(self) -> tuple[type[MergeConflictError], tuple[dict[str, tuple[str, ...]]]]:
        return type(self), (self.conflicts,)


@attrs.frozen
class Problem:
    """One thing that does not fit a schema.

    Args:
        key: The key, and the way down from it: ``"user.address.zip"``; empty for the whole.
        rule: What was asked for.
        value: What was there; `None` if nothing was.
        missing: Whether nothing was.
    """

    key: str
    rule: str
    value: object = None
    missing: bool = False

    def __str__(self) -> str:
        if not self.key:
            return self.rule
        got = "but is missing" if self.missing else f"got {shown(self.value):.80}"
        return f"{self.key!r}: {self.rule}, {got}"


class SchemaError(DataError):
    """What a stage got or gave does not fit its schema.

    Attributes:
        stage: Name of the stage.
        side: "input" or "output".
        schema: Name of the schema.
        problems: All that does not fit.
    """

    def __init__(self, stage: str, side: str, schema: str, problems: Sequence[Problem]) -> None:
        told = _cut([str(problem) for problem in problems])
        super().__init__(f"stage {stage!r}: its {side} does not fit {schema}: {told}")
        self.stage = stage
        self.side = side
        self.schema = schema
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[SchemaError], tuple[object, ...]]:
        return type(self), (self.stage, self.side, self.schema, self.problems)


def _listed(keys: Sequence[str]) -> str:
    return _cut([f"{key!r:.80}" for key in keys], ", ")


def _cut(texts: Sequence[str], joint: str = "; ") -> str:
    more = len(texts) - NAMED
    return joint.join(texts[:NAMED]) + (f"{joint}and {more} more" if more > 0 else "")
