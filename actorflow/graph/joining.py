"""The stages that a flow needs and nobody wrote: one that joins, one that only passes on."""

from __future__ import annotations

import functools
from typing import Any

from actorflow.graph.stage import Stage, stage

__all__ = ["as_they_are", "is_wiring", "joining"]


def joining(name: str, keys: tuple[str, ...] | None) -> Stage[Any, Any]:
    """What goes on from a joined `Parallel`, whose branches have *keys*, if they have names."""
    fn = functools.partial(_joined, keys=keys)
    return stage(fn, name=name, runs_in="loop", isolation="share")


def as_they_are(name: str) -> Stage[Any, Any]:
    """Passes every value on."""
    return stage(_same, name=name, runs_in="loop", isolation="share")


def is_wiring(stage: Stage[Any, Any]) -> bool:
    """Whether *stage* is one of these: hooks, middleware and caches are not about it."""
    return getattr(stage.fn, "func", stage.fn) in (_same, _joined)


def _same(value: Any) -> Any:
    return value


def _joined(values: Any, *, keys: tuple[str, ...] | None) -> Any:
    """Those of a flow of contexts come as a tuple: the one that was forked, and its forks."""
    if type(values) is tuple:
        base, *forks = values
        return base.merge(forks)
    return values if keys is None else dict(zip(keys, values, strict=True))
