"""The stages that a flow needs and nobody wrote: one that joins, one that only passes on."""

from __future__ import annotations

import functools
from typing import Any

from actorflow.graph.stage import Stage, stage

__all__ = ["as_they_are", "joining"]


def joining(name: str, keys: tuple[str, ...] | None) -> Stage[Any, Any]:
    """What goes on from a joined `Parallel`, whose branches have *keys*, if they have names."""
    fn = functools.partial(_joined, keys=keys)
    return stage(fn, name=name, runs_in="loop", isolation="share")


def as_they_are(name: str) -> Stage[Any, Any]:
    """Passes every value on."""
    return stage(_same, name=name, runs_in="loop", isolation="share")


def _same(value: Any) -> Any:
    return value


def _joined(values: list[Any], *, keys: tuple[str, ...] | None) -> Any:
    return values if keys is None else dict(zip(keys, values, strict=True))
