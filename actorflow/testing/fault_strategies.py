"""Generate fault plans, for Hypothesis and by a seed.

    @given(plan=fault_plans(paths=["/night/charge"]))
    def test_every_order_is_charged_once(plan):
        simulate(main, faults=plan)

A plan shrinks towards few faults that come early, and prints as the Python that makes it
again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing.draws import Draws, chosen, one_more, perhaps, strategy_of
from actorflow.testing.faults import (
    ClockJumps,
    CommitFails,
    CommitHangs,
    CommitRepeated,
    CommitSlow,
    CommitTorn,
    CommitUnreported,
    Died,
    DiskFull,
    Fault,
    FaultPlan,
    HandlerCancelled,
    HandlerCrashes,
    HandlerHangs,
    HandlerSlow,
    LoadRepeated,
    LoadStale,
    MainCancelled,
    RunTaken,
    SuffixLost,
    WorkerProcessDies,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "FAULT_KINDS",
    "OF_HANDLERS",
    "SURVIVED",
    "Range",
    "draw_fault",
    "draw_fault_plan",
    "fault_plans",
]

#: Faults that a durable flow or system gets over by itself.
SURVIVED: tuple[type[Fault], ...] = (
    Died,
    CommitFails,
    CommitTorn,
    CommitUnreported,
    CommitRepeated,
    CommitSlow,
    DiskFull,
    MainCancelled,
    ClockJumps,
)

#: Those that the handlers under given paths get over if something retries them.
OF_HANDLERS: tuple[type[Fault], ...] = (HandlerCrashes, HandlerSlow, HandlerCancelled)

#: All there are, the simplest first. A hanging handler needs a timeout; of a run that is taken,
#: a store that hangs or one that hands out what is no more `main` hears by an error, and has to
#: begin anew; what a disk that lies has lost nothing brings back.
FAULT_KINDS: tuple[type[Fault], ...] = (
    *SURVIVED,
    *OF_HANDLERS,
    HandlerHangs,
    WorkerProcessDies,
    CommitHangs,
    RunTaken,
    LoadStale,
    LoadRepeated,
    SuffixLost,
)

#: Kinds that end a life, so that another one follows.
ENDS = Died, MainCancelled, RunTaken, CommitHangs, LoadStale, LoadRepeated

SECONDS = (0.05, 1.0, 20.0)
JUMPS = (60.0, -60.0, 86_400.0, -86_400.0)


@attrs.frozen(kw_only=True)
class Range:
    """How far faults reach: the arguments of `fault_plans`."""

    max_faults: int = 4
    max_step: int = 200
    max_commit: int = 10
    max_life: int = 3
    max_turn: int = 10
    paths: tuple[str, ...] = ()


def fault_plans(
    *,
    kinds: Collection[type[Fault]] | None = None,
    paths: Sequence[str] = (),
    max_faults: int = 4,
    max_step: int = 200,
    max_commit: int = 10,
    max_life: int = 3,
    max_turn: int = 10,
) -> SearchStrategy[FaultPlan]:
    """Plans of faults, from none to *max_faults*.

    A fault is in a later life only if another one ends the life before.

    Args:
        kinds: Of faults; by default those that a durable system gets over by itself, and with
            *paths* crashes, delays and stray cancellations of those handlers. `FAULT_KINDS` is
            all there are.
        paths: Of actors and stages whose handlers crash, come late or hang.
        max_faults: Most faults of a plan.
        max_step: The last step of the scheduler at which something happens.
        max_commit: The last commit at which something happens.
        max_life: The last life in which something happens.
        max_turn: The last turn, wait in a turn, or call of a worker process.

    Raises:
        MissingExtra: hypothesis is not installed.
        ConfigurationError: An argument is wrong.
    """
    for option, value in (
        ("max_faults", max_faults),
        ("max_step", max_step),
        ("max_commit", max_commit),
        ("max_life", max_life),
        ("max_turn", max_turn),
    ):
        options.count(f"fault_plans() {option}", value)
    if isinstance(paths, str):
        raise ConfigurationError("fault_plans() paths", paths, f"several, such as [{paths!r}]")
    reach = Range(
        max_faults=max_faults,
        max_step=max_step,
        max_commit=max_commit,
        max_life=max_life,
        max_turn=max_turn,
        paths=tuple(paths),
    )
    usable = _usable(kinds, reach)
    return strategy_of("fault_plans", lambda draws: draw_fault_plan(draws, usable, reach))


def _usable(kinds: Collection[type[Fault]] | None, reach: Range) -> tuple[type[Fault], ...]:
    """The kinds to draw from, in their order."""
    if kinds is None:
        return (*SURVIVED, *OF_HANDLERS) if reach.paths else SURVIVED
    several = isinstance(kinds, Collection) and len(kinds) > 0
    if not several or any(each not in FAULT_KINDS for each in kinds):
        names = ", ".join(each.__name__ for each in FAULT_KINDS)
        raise ConfigurationError("fault_plans() kinds", kinds, f"a list of one or more of {names}")
    handlers = *OF_HANDLERS, HandlerHangs
    usable = tuple(
        each for each in FAULT_KINDS if each in kinds and (reach.paths or each not in handlers)
    )
    if not usable:
        raise ConfigurationError("fault_plans() paths", (), "the paths of the handlers")
    return usable


def draw_fault(
    draws: Draws, kinds: Sequence[type[Fault]], reach: Range, max_life: int = 1
) -> Fault:
    """One fault of *kinds*."""
    kind = chosen(draws, kinds)
    return _MAKERS[kind](draws, reach, draws.number(1, max_life))


def draw_fault_plan(draws: Draws, kinds: Sequence[type[Fault]], reach: Range) -> FaultPlan:
    """A plan of faults of *kinds*."""
    faults: list[Fault] = []

    def fault() -> Fault:
        ended = sum(isinstance(each, ENDS) for each in faults)
        return draw_fault(draws, kinds, reach, min(1 + ended, reach.max_life))

    while len(faults) < reach.max_faults:
        following = one_more(draws, 3 if faults else 8, fault)
        if following is None:
            break
        faults.append(following)
    return FaultPlan(*faults)


def _died(draws: Draws, reach: Range, life: int) -> Fault:
    if perhaps(draws):
        when = chosen(draws, ("before", "torn", "after"))
        return Died(commit=draws.number(1, reach.max_commit), when=when, life=life)  # type: ignore[arg-type]
    return Died(step=draws.number(1, reach.max_step), life=life)


def _commit_fails(draws: Draws, reach: Range, life: int) -> Fault:
    commit, times = draws.number(1, reach.max_commit), draws.number(1, 3)
    return CommitFails(commit, times=times, life=life)


def _disk_full(draws: Draws, reach: Range, life: int) -> Fault:
    first = draws.number(1, reach.max_commit)
    return DiskFull(first, first + draws.number(0, 3), life=life)


def _jumps(draws: Draws, reach: Range, life: int) -> Fault:
    return ClockJumps(step=draws.number(1, reach.max_step), seconds=chosen(draws, JUMPS), life=life)


def _crashes(draws: Draws, reach: Range, life: int) -> Fault:
    path, turn = chosen(draws, reach.paths), draws.number(1, reach.max_turn)
    return HandlerCrashes(path, turn, resume=draws.number(0, 3), life=life)


def _cancelled(draws: Draws, reach: Range, life: int) -> Fault:
    path, turn = chosen(draws, reach.paths), draws.number(1, reach.max_turn)
    return HandlerCancelled(path, turn, wait=draws.number(1, 4), life=life)


def _slow(draws: Draws, reach: Range, life: int) -> Fault:
    path, turn = chosen(draws, reach.paths), draws.number(1, reach.max_turn)
    return HandlerSlow(path, turn, chosen(draws, SECONDS), life=life)


def _commit(draws: Draws, reach: Range) -> int:
    return draws.number(1, reach.max_commit)


_MAKERS: dict[type[Fault], Callable[[Draws, Range, int], Fault]] = {
    Died: _died,
    CommitFails: _commit_fails,
    CommitTorn: lambda draws, reach, life: CommitTorn(_commit(draws, reach), life=life),
    CommitUnreported: lambda draws, reach, life: CommitUnreported(_commit(draws, reach), life=life),
    CommitRepeated: lambda draws, reach, life: CommitRepeated(_commit(draws, reach), life=life),
    CommitSlow: lambda draws, reach, life: CommitSlow(
        _commit(draws, reach), chosen(draws, SECONDS), life=life
    ),
    DiskFull: _disk_full,
    MainCancelled: lambda draws, reach, life: MainCancelled(
        step=draws.number(1, reach.max_step), life=life
    ),
    ClockJumps: _jumps,
    HandlerCrashes: _crashes,
    HandlerSlow: _slow,
    HandlerCancelled: _cancelled,
    HandlerHangs: lambda draws, reach, life: HandlerHangs(
        chosen(draws, reach.paths), draws.number(1, reach.max_turn), life=life
    ),
    WorkerProcessDies: lambda draws, reach, life: WorkerProcessDies(
        draws.number(1, reach.max_turn), life=life
    ),
    CommitHangs: lambda draws, reach, life: CommitHangs(_commit(draws, reach), life=life),
    RunTaken: lambda draws, reach, life: RunTaken(_commit(draws, reach), life=life),
    LoadStale: lambda draws, reach, life: LoadStale(draws.number(1, 3), life=life),
    LoadRepeated: lambda draws, reach, life: LoadRepeated(draws.number(1, 3), life=life),
    SuffixLost: lambda draws, reach, life: SuffixLost(draws.number(1, 3), life=life),
}
