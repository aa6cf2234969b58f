"""Many scenarios, one after the other, over several processes."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from tests.scenarios.drawing import play, scenario

__all__ = ["Summary", "run_scenarios"]

#: Scenarios that a process is handed at a time.
CHUNK = 200

#: Scenarios between two rounds of the garbage collector.
ROUND = 200

#: Real seconds between two lines of progress.
EVERY = 60.0


@attrs.define
class Summary:
    """What came of many scenarios; prints as one line.

    Attributes:
        first: The first seed.
        count: How many scenarios.
        steps: Of all their lives.
        lives: How many.
        faults: By kind, as planned.
        systems: How often which.
        violations: The lines that do them again, and what is wrong.
        seconds: Real ones.
    """

    first: int
    count: int = 0
    steps: int = 0
    lives: int = 0
    faults: Counter[str] = attrs.Factory(Counter)
    systems: Counter[str] = attrs.Factory(Counter)
    violations: list[tuple[str, str]] = attrs.Factory(list)
    seconds: float = 0.0

    def add(self, other: Summary) -> None:
        """Those of another part."""
        self.count += other.count
        self.steps += other.steps
        self.lives += other.lives
        self.faults.update(other.faults)
        self.systems.update(other.systems)
        self.violations += other.violations

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.count:,} scenarios, seeds {self.first}-{self.first + self.count - 1}: "
            f"{self.steps:,} steps, {self.lives:,} lives, "
            f"{self.faults.total():,} faults ({faults}), "
            f"{len(self.violations)} violations, {self.seconds:.0f} s"
        )


def run_scenarios(
    count: int,
    *,
    seed: int = 0,
    processes: int = 1,
    progress: Callable[[str], object] = lambda text: None,
) -> Summary:
    """Run the scenarios of *count* seeds from *seed* on.

    Args:
        count: How many.
        seed: The first one.
        processes: Over how many processes they are spread.
        progress: Called with a line every minute, and with one for each violation.
    """
    began, whole = time.monotonic(), Summary(seed)
    chunks = [
        range(first, min(first + CHUNK, seed + count)) for first in range(seed, seed + count, CHUNK)
    ]
    said = began
    with contextlib.ExitStack() as stack:
        parts: Iterator[Summary]
        if processes == 1:
            parts = map(_part, chunks)
        else:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(processes))
            parts = pool.imap_unordered(_part, chunks)
        for part in parts:
            whole.add(part)
            whole.seconds = time.monotonic() - began
            for line, _ in part.violations:
                progress(f"violation: {line}")
            if time.monotonic() - said > EVERY:
                said = time.monotonic()
                progress(str(whole))
    whole.violations.sort()
    return whole


def _part(seeds: range) -> Summary:
    """One after the other, in this process."""
    part = Summary(seeds.start)
    with _quietly():
        for seed in seeds:
            if not seed % ROUND:
                gc.collect()
            one = scenario(seed)
            outcome = play(one)
            part.count += 1
            part.steps += outcome.steps
            part.lives += outcome.lives
            part.systems[one.name] += 1
            part.faults.update(type(each).__name__ for each in one.faults.faults)
            if outcome.violation is not None:
                part.violations.append((outcome.line, outcome.violation))
    return part


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without log lines, and with garbage collected between scenarios only."""
    disabled, collects = logging.root.manager.disable, gc.isenabled()
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        logging.disable(disabled)
        gc.unfreeze()
        if collects:
            gc.enable()
