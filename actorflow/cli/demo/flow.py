"""The demo as a flow, and the same flow with workers that die under it.

    sound       read ──► tokenise ────────► measure ─────────► summarise
    crashing    read ──► os._exit(70) ────► SystemExit ──────► SystemExit
                         in the process     in the thread      in the loop

A crash comes at the first attempt only and is drawn by a seed, so that the result can
be compared with that of a sound run: it must be the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import attrs

from actorflow.cli.demo.tally import Tally
from actorflow.cli.demo.work import Record, measure, read, summarise, tokenise
from actorflow.flows.pipeline import Pipeline
from actorflow.graph.stage import stage
from actorflow.policies import Exponential, RateLimit, Retry
from actorflow.runtime.turn import Turn

__all__ = ["Crashes", "Deps", "demo_flow", "draw_crashes"]

#: Files read per second at the most: what a polite guest does to a disk it shares.
FILES_PER_SECOND = 500.0

#: Seconds that one file may take; the largest takes one.
TIMEOUT = 60.0

#: One file in so many kills its worker: a process takes half a second to start again, the
#: others no time.
PROCESS_CRASHES, LOOP_CRASHES = 80, 20

SEED = 20


@attrs.frozen
class Crashes:
    """Files by path that crash the worker of a stage the first time it has them.

    Attributes:
        folder: Where a process leaves word for the next one that it has died already.
    """

    folder: str
    tokenise: frozenset[str]
    measure: frozenset[str]
    summarise: frozenset[str]


@attrs.frozen
class Deps:
    """What the handlers find in ``ctx.deps``."""

    tally: Tally
    crashes: Crashes | None = None


def draw_crashes(paths: Sequence[str], folder: str) -> Crashes:
    """The crashes of a run over *paths*: at least one in each of three stages."""
    draw = random.Random(SEED)

    def some(share: int) -> frozenset[str]:
        return frozenset(draw.sample(paths, min(len(paths), 1 + len(paths) // share)))

    return Crashes(folder, some(PROCESS_CRASHES), some(LOOP_CRASHES), some(LOOP_CRASHES))


def demo_flow(processes: int, *, crashing: bool = False) -> Pipeline[Record, Record]:
    """The flow.

    Args:
        processes: Worker processes for the heavy stage.
        crashing: Whether workers die as `Deps.crashes` says.
    """
    retry = Retry(3, backoff=Exponential(0.05, max=1.0), retry_on=OSError)
    polite = RateLimit(FILES_PER_SECOND, burst=50)
    heavy = tokenise_or_die if crashing else tokenise
    shape = measure_or_exit if crashing else measure
    last = summarise_or_exit if crashing else summarise_here
    return Pipeline(
        [
            stage(read, workers=4, policies=[polite, retry]),
            stage(
                heavy,
                name="tokenise",
                workers=processes,
                runs_in="process",
                timeout=TIMEOUT,
                policies=[retry],
            ),
            stage(shape, name="measure", workers=2, policies=[retry]),
            stage(last, name="summarise", workers=2, runs_in="loop", policies=[retry]),
        ],
        name="demo",
    )


def summarise_here(found: Record, ctx: Turn) -> Record:
    """`summarise`, with the tally of this run."""
    return summarise(found, ctx.deps.tally)


def tokenise_or_die(source: Record) -> Record:
    """`tokenise`, but the process may end in the middle of it."""
    fuse = source.pop("fuse", None)
    if fuse is not None and _burns(fuse):
        os._exit(70)
    return tokenise(source)


def _burns(fuse: str) -> bool:
    """Whether *fuse* is still there to burn; it is not, the next time."""
    try:
        os.close(os.open(fuse, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def measure_or_exit(source: Record, ctx: Turn) -> Record:
    """`measure`, but the thread may try to end the program."""
    if ctx.attempt == 1 and source["path"] in ctx.deps.crashes.measure:
        raise SystemExit("measure: a crash, drawn for --kill-workers")
    return measure(source)


def summarise_or_exit(found: Record, ctx: Turn) -> Record:
    """`summarise`, but the worker may try to end the program."""
    if ctx.attempt == 1 and found["path"] in ctx.deps.crashes.summarise:
        raise SystemExit("summarise: a crash, drawn for --kill-workers")
    return summarise_here(found, ctx)
