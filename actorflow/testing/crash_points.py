"""Kill a system at every step of its scheduler and at every commit, and let it recover.

twice, undisturbed ──► so many steps, so many commits
for each of them   ──► die there ──► the laws ──► live again on what the disk has ──► the laws
"""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from typing import Any, Literal

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing.exploring import (
    CAUSES,
    Exploration,
    Main,
    NotReplayable,
    Violation,
    explore,
    quietly,
    spread,
)
from actorflow.testing.faults import Fault, FaultPlan
from actorflow.testing.laws import stored_results
from actorflow.testing.life import Mark
from actorflow.testing.lines import MAX_STEPS, line_for
from actorflow.testing.points import point_at, points_for
from actorflow.testing.progress import Tell, Teller
from actorflow.testing.simulate import Lives, check_call
from actorflow.testing.trace import Trace

__all__ = ["CrashReport", "crash_points"]

#: Steps that a life may take beyond ten times those of the undisturbed one.
MORE_STEPS = 100_000


@attrs.frozen
class CrashReport:
    """What came of `crash_points`.

    Attributes:
        points: How many points, or pairs of them, were explored. What did not happen, as something
            was wrong before, does not count.
        pairs: How many of them were pairs.
        lives: How many lives that took, the two undisturbed ones included.
        violations: Where something is wrong.
        seconds: Real seconds.
        steps: Steps of the undisturbed life.
        commits: Its commits.
    """

    points: int
    lives: int
    violations: tuple[Violation, ...]
    seconds: float
    steps: int
    commits: int
    pairs: int = 0

    def check(self) -> CrashReport:
        """This report, if nothing is wrong.

        Raises:
            AssertionError: Something is; the text has a line for each that does it again.
        """
        if self.violations:
            shown = "\n".join(map(str, self.violations[:10]))
            raise AssertionError(
                f"{len(self.violations)} of {self.points} crash points break something:\n{shown}"
            )
        return self


def crash_points(
    main: Main,
    *,
    steps: Literal["all"] | int = "all",
    pairs: int = 0,
    cancel: bool = False,
    seed: int = 0,
    processes: int = 1,
    shared_past: bool = False,
    same_results: bool = False,
    max_steps: int | None = None,
    within: float | None = None,
    progress: Tell | None = None,
) -> CrashReport:
    """Kill ``main(world)`` at every step and commit; each time begin it anew on what the disk has,
    and let that life come to its end.

    At a commit it dies three times: before anything is written, with a part of it written, and
    when it is on disk and nobody has been told. The assertions of *main* and the laws must hold
    in each life that is not killed, and the laws of the disk at each death. What *main* keeps
    outside of the `World`, such as in a list, is not put back between two points.

    Args:
        main: As `simulate` takes it. It must come to its end undisturbed.
        steps: All points, or so many of them, drawn by the seed.
        pairs: So many pairs, drawn by the seed, on top: the second one in the life after the first,
            at any point that it has.
        cancel: Cancel *main* before each step instead; the store lives on.
        seed: Of scheduling and chance.
        processes: Over how many processes the points are spread; above 1, *main* must be a
            function of a module that they can import, and in a script the call must be behind
            ``if __name__ == "__main__":``, as they import that too.
        shared_past: Live up to all points once, and begin the second lives on the world as it was
            at each, which is the same and nearly twice as fast. Only for a *main* that keeps
            nothing outside of the `World`; not with *cancel*.
        same_results: Runs must have the results in the store, at the end, that they have there
            undisturbed: the same values and errors of the same messages, in any order. Only for
            a *main* in which neither time nor the number of attempts decides what comes out.
        max_steps: Most steps of a life that recovers; by default ten times those of the
            undisturbed one, and 100,000. A line has them where they have ended something.
        within: Most virtual seconds that *main* may take to its end after the last death.
        progress: Called with a `CrashProgress`, twice a second at most, and with the last one. By
            default a line on stderr shows it, if that is a terminal.

    Raises:
        Exception: What *main* raises undisturbed.
        NotReplayable: It goes another way undisturbed when it is run again.
        ConfigurationError: An argument is wrong, or something that is kept in the `World` cannot be
            copied.
    """
    flags = {"cancel": cancel, "shared_past": shared_past, "same_results": same_results}
    for option, value in flags.items():
        options.flag(f"crash_points() {option}", value)
    if progress is not None:
        options.function("crash_points() progress", progress, "a CrashProgress")
    _check(main, steps, pairs, processes, shared=shared_past and cancel)
    check_call("crash_points()", main, seed, within)
    options.optional(options.count, "crash_points() max_steps", max_steps)
    task = Exploration(main, seed, max_steps or 0, within, (), {}, cancel, shared_past, None)
    return _explored(task, steps, pairs, processes, same_results, progress)


def _explored(
    asked: Exploration,
    steps: Literal["all"] | int,
    pairs: int,
    processes: int,
    same_results: bool,
    progress: Tell | None,
) -> CrashReport:
    """What comes of an exploration, the points of which are not known yet."""
    main, seed, cancel = asked.main, asked.seed, asked.cancel
    began, threads = time.monotonic(), threading.active_count()
    with quietly():
        lives, marks = _undisturbed(main, seed, cancel)
        end = lives.ends[1]
        points = points_for(end.step, end.commits, steps, pairs, cancel=cancel, seed=seed)
        task = attrs.evolve(
            asked,
            max_steps=asked.max_steps or lives.steps * 10 + MORE_STEPS,
            marks=marks,
            results=stored_results(lives.world._disk) if same_results else None,
        ).part(points)
        tell = Teller(len(points), progress).went
        found = explore(task, tell) if processes == 1 else spread(task, processes, tell)
    violations = found.in_order()
    if threading.active_count() > threads:
        text = f"no orphan: {threading.active_count() - threads} threads are left"
        violations.append(Violation(FaultPlan(), text, line_for(main, seed, FaultPlan())))
    return CrashReport(
        points=found.singles + found.pairs,
        lives=2 * lives.last.number + found.lives,
        violations=tuple(violations),
        seconds=time.monotonic() - began,
        steps=end.step,
        commits=end.commits,
        pairs=found.pairs,
    )


def _undisturbed(main: Main, seed: int, cancel: bool) -> tuple[Lives, dict[Fault, Mark]]:
    """The second of two times that it is not killed, and how far it was at each point."""
    marks: dict[Fault, Mark] = {}
    first, again = (Lives(main, seed, FaultPlan(), MAX_STEPS, Trace()) for _ in range(2))

    def note(when: str) -> None:
        if not (cancel and when):
            mark = again.last.mark()
            marks[point_at(mark, when, cancel=cancel)] = mark

    again.watch = note
    for lives in first, again:
        error = lives.live()
        if error is not None and lives is first:
            error.add_note(f"again: {line_for(main, seed, FaultPlan())}")
            raise error
        if error is not None:
            text = f"undisturbed it came to its end, and again to {error!r}: {CAUSES}"
            raise NotReplayable(text) from error
    assert first.trace is not None
    assert again.trace is not None
    if first.trace.digest == again.trace.digest and _told(first) == _told(again):
        again.world._copied()  # Each death will.
        return again, marks
    ways = itertools.zip_longest(first.trace, again.trace)
    apart = next((each for each in ways if each[0] != each[1]), None)
    where = "its history" if apart is None else f"first {apart[0]}, then {apart[1]}"
    raise NotReplayable(f"undisturbed it went another way when it was run again: {where}: {CAUSES}")


def _told(lives: Lives) -> list[tuple[Any, ...]]:
    """The history, but for keys, which may be drawn by chance."""
    return [(each.life, each.at, each.kind, each.count) for each in lives.world.history]


def _check(main: Any, steps: Any, pairs: int, processes: int, *, shared: bool) -> None:
    if steps != "all":
        options.count("crash_points() steps", steps)
    options.count("crash_points() pairs", pairs, least=0)
    options.count("crash_points() processes", processes)
    if processes > 1:
        try:
            pickle.dumps(main)
        except Exception as error:
            wanted = "a function of a module, which other processes can import; or processes=1"
            raise ConfigurationError("crash_points() main", main, wanted) from error
    if shared:
        raise ConfigurationError("crash_points() shared_past", True, "False with cancel=True")
