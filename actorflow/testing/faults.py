"""What can go wrong in a simulation, as values that print as the source they are made by.

    simulate(main, seed=17, faults=FaultPlan(CommitFails(3, times=2), Died(step=120)))

Steps and commits count from 1 in each life of the system: a life ends when the process
dies, and the next one begins on what the disk has. A try of a commit counts as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing import fault_checks as checks

__all__ = [
    "ClockJumps",
    "CommitFails",
    "CommitHangs",
    "CommitRepeated",
    "CommitSlow",
    "CommitTorn",
    "CommitUnreported",
    "Died",
    "DiskFull",
    "Fault",
    "FaultPlan",
    "HandlerCancelled",
    "HandlerCrashes",
    "HandlerHangs",
    "HandlerSlow",
    "LoadRepeated",
    "LoadStale",
    "MainCancelled",
    "RunTaken",
    "SuffixLost",
    "WorkerProcessDies",
]

F = TypeVar("F", bound="Fault")


def _short(fault: Any) -> str:
    """The call that makes *fault*, without what is as it is anyway."""
    placed, named = [], []
    for field in attrs.fields(type(fault)):
        value = getattr(fault, field.name)
        if not field.kw_only:
            placed.append(repr(value))
        elif value != field.default:
            named.append(f"{field.name}={value!r}")
    return f"{type(fault).__name__}({', '.join(placed + named)})"


@attrs.frozen(repr=False)
class Fault:
    """One thing that goes wrong.

    Attributes:
        life: In this life of the system, from 1.
    """

    life: int = attrs.field(default=1, kw_only=True, validator=checks.whole)

    __repr__ = _short

    @property
    def lasts(self) -> float:
        """For how many virtual seconds it goes on once it has begun; of what never ends by itself
        the system must get on without it, so that is none."""
        return 0.0

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As Hypothesis prints it in a script."""
        printer.text(_short(self))


@attrs.frozen(repr=False, kw_only=True)
class Died(Fault):
    """The process dies as by ``kill -9``: before a step of the scheduler, or at a commit.

    Attributes:
        step: The step before which it dies.
        commit: The commit at which it dies.
        when: Where it dies in that: before anything is written, with a part of it written, or
            when it is on disk and nobody has been told.
    """

    step: int | None = attrs.field(default=None, validator=checks.perhaps_whole)
    commit: int | None = attrs.field(default=None, validator=checks.perhaps_whole)
    when: Literal["before", "torn", "after"] = "before"

    def __attrs_post_init__(self) -> None:
        if (self.step is None) == (self.commit is None):
            raise ConfigurationError("Died", self, "either a step or a commit")
        options.choice("Died when", self.when, ("before", "torn", "after"))
        if self.commit is None and self.when != "before":
            wanted = "left out with step=, as it says where in a commit= it dies"
            raise ConfigurationError("Died when", self.when, wanted)


@attrs.frozen(repr=False, kw_only=True)
class MainCancelled(Fault):
    """``main`` is cancelled before this step; the store goes on, and another life follows."""

    step: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False, kw_only=True)
class ClockJumps(Fault):
    """Before this step somebody sets the wall clock, forth or, with a number below 0, back."""

    step: int = attrs.field(validator=checks.whole)
    seconds: float = attrs.field(validator=checks.a_time)


@attrs.frozen(repr=False)
class CommitFails(Fault):
    """Tries of commits fail, from this one on so many *times*; nothing of them is on disk.

    Attributes:
        commit: The first.
        times: How many.
        reason: As `CommitFailed` has it.
    """

    commit: int = attrs.field(validator=checks.whole)
    times: int = attrs.field(default=1, kw_only=True, validator=checks.whole)
    reason: str = attrs.field(default="io", kw_only=True, validator=checks.a_reason)


@attrs.frozen(repr=False)
class CommitTorn(Fault):
    """This commit fails with a part of it written, which the store takes back."""

    commit: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class CommitSlow(Fault):
    """This commit takes so many seconds before anything is written."""

    commit: int = attrs.field(validator=checks.whole)
    seconds: float = attrs.field(validator=checks.a_duration)

    @property
    def lasts(self) -> float:
        return self.seconds


@attrs.frozen(repr=False)
class CommitHangs(Fault):
    """This commit never returns, and holds up the store for ever."""

    commit: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class CommitUnreported(Fault):
    """This commit is on disk, but the answer that says so is lost."""

    commit: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class CommitRepeated(Fault):
    """This commit reaches the store once more when the next one is on disk, as by a connection that
    sends again what it got no answer for. The store must refuse it."""

    commit: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class LoadRepeated(Fault):
    """The store hands out its last *cuts* twice when this life loads them."""

    cuts: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class LoadStale(Fault):
    """The store hands out what it had before its last *cuts* when this life loads, as a replica
    does that lags behind: with messages in it that have left since, and without those that came.
    The runtime must refuse it (`StoreCorrupt`) before any of them is handled again."""

    cuts: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class DiskFull(Fault):
    """There is no space for the commits from *first* to *last*."""

    first: int = attrs.field(validator=checks.whole)
    last: int = attrs.field(validator=checks.whole)

    def __attrs_post_init__(self) -> None:
        if self.last < self.first:
            raise ConfigurationError("DiskFull last", self.last, f"{self.first} or more")


@attrs.frozen(repr=False)
class RunTaken(Fault):
    """Before this commit another process takes the run over, and goes away."""

    commit: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class SuffixLost(Fault):
    """When the process dies in this life, its last *commits* are gone, which were acknowledged;
    `World.lost` counts them.

    Attributes:
        commits: How many.
        allowed: Whether the store never promised more, as SQLite with ``synchronous=NORMAL`` does
            not at a power loss: what was accepted may be lost then, and all other laws hold, as
            the run goes back to a checkpoint of before, whole. Else the disk lies, and the law of
            durable accept says so.
    """

    commits: int = attrs.field(validator=checks.whole)
    allowed: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        options.flag("SuffixLost allowed", self.allowed)


@attrs.frozen(repr=False)
class HandlerCrashes(Fault):
    """The handler of an actor or a stage's workers crashes.

    Attributes:
        path: Of the actor or stage, such as ``/bank/alice``.
        turn: In this turn, counted over all that have this path or are below it, from 1.
        resume: When it goes on after this wait of its own, from 1; 0 is before it begins. No such
            waits are those of the runtime around it, such as for room for what a generator gives,
            and those that hand something over: a nursery's end, a lock, a value of a channel.
    """

    path: str = attrs.field(validator=checks.a_path)
    turn: int = attrs.field(validator=checks.whole)
    resume: int = attrs.field(default=0, kw_only=True, validator=checks.some)


@attrs.frozen(repr=False)
class HandlerCancelled(Fault):
    """A cancel scope that is none of the runtime's fires in a turn: the turn fails with
    `StrayCancelled`, unless its handler takes that for its end and returns.

    Attributes:
        path: Of the actor or stage.
        turn: In this turn, counted as for `HandlerCrashes`.
        wait: At this wait, from 1, be it the handler's own or the runtime's inside it.
    """

    path: str = attrs.field(validator=checks.a_path)
    turn: int = attrs.field(validator=checks.whole)
    wait: int = attrs.field(default=1, kw_only=True, validator=checks.whole)


@attrs.frozen(repr=False)
class HandlerSlow(Fault):
    """A turn begins so many seconds late, within its own time."""

    path: str = attrs.field(validator=checks.a_path)
    turn: int = attrs.field(validator=checks.whole)
    seconds: float = attrs.field(validator=checks.a_duration)

    @property
    def lasts(self) -> float:
        return self.seconds


@attrs.frozen(repr=False)
class HandlerHangs(Fault):
    """A turn never ends by itself."""

    path: str = attrs.field(validator=checks.a_path)
    turn: int = attrs.field(validator=checks.whole)


@attrs.frozen(repr=False)
class WorkerProcessDies(Fault):
    """The worker process of this call, counted from 1, dies without an answer."""

    call: int = attrs.field(validator=checks.whole)


class FaultPlan:
    """The faults of one simulation; prints as the source that makes it.

    Args:
        *faults: What goes wrong.

    Raises:
        ConfigurationError: One of them is no fault.
    """

    __slots__ = ("faults",)

    faults: tuple[Fault, ...]

    def __init__(self, *faults: Fault) -> None:
        for each in faults:
            if not isinstance(each, Fault):
                raise ConfigurationError("FaultPlan", each, "a fault, such as Died(step=17)")
        object.__setattr__(self, "faults", faults)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a FaultPlan is frozen; make another one to change {name}")

    @staticmethod
    def of(faults: FaultPlan | Fault | Iterable[Fault] | None) -> FaultPlan:
        """The plan that *faults* mean."""
        if isinstance(faults, FaultPlan):
            return faults
        if isinstance(faults, Fault):
            return FaultPlan(faults)
        if isinstance(faults, (str, bytes)) or not isinstance(faults, Iterable | None):
            raise ConfigurationError("faults", faults, "a FaultPlan, or faults")
        return FaultPlan(*(faults or ()))

    def picked(self, kind: type[F], life: int) -> list[F]:
        """Those of one *kind* in one *life*."""
        return [each for each in self.faults if isinstance(each, kind) and each.life == life]

    def __reduce__(self) -> tuple[Any, ...]:
        return FaultPlan, self.faults

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultPlan) and other.faults == self.faults

    def __hash__(self) -> int:
        return hash(self.faults)

    def __len__(self) -> int:
        return len(self.faults)

    def __repr__(self) -> str:
        return f"FaultPlan({', '.join(map(repr, self.faults))})"
