"""Lives of a process that one message ends, each a fork of this one.

    python -m tests.durability.poisoned restored|cursor|child|thread|emission|two ATTEMPTS DIRECTORY

Prints how often it was killed, what came out and the dead letters, as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio

from actorflow import Fixed, JsonLinesSink, Pipeline, Retry, stage

#: More than any law allows.
MOST_KILLS = 20

ITEMS = 24


def die_at(poison: tuple[int, ...], value: int) -> None:
    if value in poison:
        os.kill(os.getpid(), signal.SIGKILL)


async def work(value: int, *, poison: tuple[int, ...] = (13,)) -> int:
    die_at(poison, value)
    await trio.lowlevel.checkpoint()
    return value


def thread(value: int) -> int:
    die_at((13,), value)
    return value


async def split(value: int) -> AsyncIterator[int]:
    for index in range(4):
        yield value * 4 + index


async def several(value: int) -> AsyncIterator[int]:
    """Waits for room before each emission, as the next stage is slow."""
    for index in range(4):
        die_at((13,), value * 4 + index)
        yield value * 4 + index


async def slow(value: int) -> int:
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    return value


async def life(where: str, attempts: int, directory: Path) -> Any:
    poison = (12, 13) if where == "two" else (13,)
    handler: Any = thread if where == "thread" else functools.partial(work, poison=poison)
    retry = [Retry(attempts, backoff=Fixed(0.001))] if attempts > 1 else []
    last = stage(
        handler,
        name="work",
        workers=3,
        capacity=ITEMS if where == "restored" else 4,
        policies=retry,
    )
    stages: dict[str, list[Any]] = {
        "child": [split, last],
        "emission": [stage(several, policies=retry), stage(slow, capacity=1)],
    }
    flow: Pipeline[Any, Any] = Pipeline(stages.get(where, [last]), name="f")
    options: dict[str, Any] = {
        "store": f"sqlite:///{directory}/runs.db",
        "run_id": "run",
        "sink": JsonLinesSink(directory / "out.jsonl"),
    }
    items = range(ITEMS // 4 if where in stages else ITEMS)
    if where != "restored":
        return await flow.run(items, **options)
    async with flow.open(**options) as run:
        if not run.stats().counts["fed"]:
            await run.pause("work")
            await run.feed(range(ITEMS))
            await run.resume("work")
        return await run.finish()


def main() -> None:
    where, attempts, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    for kills in range(MOST_KILLS):
        child = os.fork()
        if not child:
            report = trio.run(life, where, attempts, directory)
            dead = [[each.reason, each.body, each.attempts] for each in report.dead]
            out = [int(line) for line in (directory / "out.jsonl").read_text().splitlines()]
            print(json.dumps({"kills": kills, "out": out, "dead": dead}), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))
    sys.exit("still killed")


if __name__ == "__main__":
    main()
