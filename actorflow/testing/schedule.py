"""Make trio's scheduling follow a seed; and end tasks that nothing else ends.

trio shuffles the tasks that can run, so that nobody relies on their order. The shuffle is
a function of a seed if it begins from the same order (`_ALLOW_DETERMINISTIC_SCHEDULING`
sorts the tasks by age first) and draws from the same numbers (`_r`). One alone does not
replay. A task that shields itself from cancellation is cancelled none the less, where the
process that it stands for is dead (`_cancel_status`, and its `_scope` and `_parent`).

All these names are private, and no other file of the house knows them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import trio
import trio._core._run as _run

__all__ = ["ScheduleNotSeedable", "lift_shields", "probe", "seeded_chance", "seeded_schedule"]

_FLAG = "_ALLOW_DETERMINISTIC_SCHEDULING"
_DRAWS = "_r"


class ScheduleNotSeedable(RuntimeError):
    """This release of trio has changed how it shuffles, so nothing could be replayed."""


def probe(loop: Any = _run) -> None:
    """Make sure that trio's event loop still shuffles as this file knows it.

    Args:
        loop: The module of that loop.

    Raises:
        ScheduleNotSeedable: It does not.
    """
    missing = [
        name
        for name, kind in ((_FLAG, bool), (_DRAWS, random.Random))
        if not isinstance(getattr(loop, name, None), kind)
    ]
    used = getattr(getattr(loop, "unrolled_run", None), "__code__", None)
    names = () if used is None else used.co_names
    missing += [f"{name} in unrolled_run" for name in (_FLAG, _DRAWS) if name not in names]
    if missing:
        raise ScheduleNotSeedable(
            f"trio {trio.__version__} cannot be scheduled by a seed: "
            f"{' and '.join(missing)} of trio._core._run is gone; "
            "use a release of trio that this release of actorflow was tested with"
        )


def lift_shields() -> list[trio.lowlevel.Task]:
    """Shield no task of this loop any more from a cancellation around it; answers all of them."""
    root = trio.lowlevel.current_root_task()
    tasks = [] if root is None else [root]
    for task in tasks:  # Which grows meanwhile.
        for nursery in task.child_nurseries:
            tasks += nursery.child_tasks
        status: Any = task._cancel_status
        while status is not None:
            status._scope.shield = False
            status = status._parent
    return tasks


@contextlib.contextmanager
def seeded_schedule(seed: int | str, loop: ModuleType = _run) -> Iterator[None]:
    """Schedule by *seed* every `trio.run` that begins in this block, in this process.

    Raises:
        ScheduleNotSeedable: trio has changed.
    """
    probe(loop)
    before = getattr(loop, _FLAG), getattr(loop, _DRAWS)
    setattr(loop, _FLAG, True)
    setattr(loop, _DRAWS, random.Random(seed))
    try:
        yield
    finally:
        setattr(loop, _FLAG, before[0])
        setattr(loop, _DRAWS, before[1])


@contextlib.contextmanager
def seeded_chance(seed: int | str) -> Iterator[None]:
    """Let the functions of the module `random` draw by *seed*; afterwards they go on as before."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
