"""Kill a system at every step of its scheduler and at every commit, and let it recover.

once, undisturbed ──► so many steps, so many commits
for each of them  ──► die there ──► the laws ──► live again on what the disk has ──► the laws
"""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any, Literal

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing.exploring import (
    Exploration,
    Main,
    Violation,
    explore,
    points_for,
    quietly,
    spread,
)
from actorflow.testing.faults import FaultPlan
from actorflow.testing.laws import stored_results
from actorflow.testing.progress import Tell, Teller
from actorflow.testing.simulate import MAX_STEPS, Lives, line_for

__all__ = ["CrashReport", "crash_points"]

#: Steps that a life may take beyond ten times those of the undisturbed one.
MORE_STEPS = 10_000


@attrs.frozen
class CrashReport:
    """What came of `crash_points`.

    Attributes:
        points: How many points, or pairs of them, were explored.
        lives: How many lives that took, the undisturbed one included.
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
        pairs: So many pairs, drawn by the seed, on top: the second one in the life after the first.
        cancel: Cancel *main* before each step instead; the store lives on.
        seed: Of scheduling and chance.
        processes: Over how many processes the points are spread; above 1, *main* must be a
            function of a module that they can import.
        shared_past: Live up to all points once, and begin the second lives on the world as it was
            at each, which is the same and nearly twice as fast. Only for a *main* that keeps
            nothing outside of the `World`; not with *cancel*.
        same_results: Runs must have the results in the store, at the end, that they have there
            undisturbed: the same values and errors of the same messages, in any order. Only for
            a *main* in which neither time nor the number of attempts decides what comes out.
        progress: Called with a `CrashProgress`, twice a second at most, and with the last one. By
            default a line on stderr shows it, if that is a terminal.

    Raises:
        Exception: What *main* raises undisturbed.
        ConfigurationError: An argument is wrong.
    """
    _check(main, steps, pairs, processes, shared=shared_past and cancel)
    began, threads = time.monotonic(), threading.active_count()
    with quietly():
        lives = _undisturbed(main, seed)
        found, commits = lives.steps, lives.last.commits.commits
        plans = tuple(points_for(found, commits, steps, pairs, cancel=cancel, seed=seed))
        stored = stored_results(lives.world._disk) if same_results else None
        most = found * 10 + MORE_STEPS
        task = Exploration(main, seed, most, plans, shared_past, stored)
        tell = Teller(len(plans), progress).went
        count, violations = explore(task, tell) if processes == 1 else spread(task, processes, tell)
    if threading.active_count() > threads:
        text = f"no orphan: {threading.active_count() - threads} threads are left"
        violations.append(Violation(FaultPlan(), text, line_for(main, seed, FaultPlan())))
    seconds = time.monotonic() - began
    return CrashReport(len(plans), 1 + count, tuple(violations), seconds, found, commits)


def _undisturbed(main: Main, seed: int) -> Lives:
    """One life that is not killed."""
    lives = Lives(main, seed, FaultPlan(), MAX_STEPS, None)
    error = lives.live()
    if error is not None:
        error.add_note(f"again: {line_for(main, seed, FaultPlan())}")
        raise error
    return lives


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
