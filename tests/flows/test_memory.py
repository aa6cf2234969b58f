"""What a run keeps in memory is bounded by its window, not by its input."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio

from actorflow import Fixed, Retry, Turn, stage
from actorflow.core.envelope import Envelope
from tests.flows.flowing import Boom, counted, pipeline

ITEMS = 20_000
WINDOW = 64
WORKERS = 4


def alive() -> int:
    return sum(type(each) is Envelope for each in gc.get_objects())


async def plain(value: int, ctx: Turn) -> int:
    if value % 1000 == 500:  # Every so often, note how many envelopes there are.
        await trio.lowlevel.checkpoint()
        ctx.deps.append(alive())
    return value


async def first_time_fails(value: int, ctx: Turn) -> int:
    if ctx.attempt == 1:
        raise Boom
    return await plain(value, ctx)


FLOWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (lambda: [plain, stage(plain, name="again", workers=WORKERS)], {}),
    "ordered": (lambda: [stage(plain, workers=WORKERS)], {"ordered": True}),
    "every item failing once": (
        lambda: [stage(first_time_fails, workers=WORKERS, policies=[Retry(2, backoff=Fixed(0))])],
        {},
    ),
}


@pytest.mark.parametrize(("nodes", "options"), FLOWS.values(), ids=FLOWS.keys())
async def test_twenty_thousand_items_keep_a_window_of_envelopes(
    nodes: Any, options: dict[str, Any]
) -> None:
    counts: list[int] = []
    written = 0

    def count(value: int) -> None:
        nonlocal written
        written += 1

    before = alive()
    flow = pipeline(nodes())
    report = await flow.run(range(ITEMS), window=WINDOW, sink=count, deps=counts, **options)

    assert report.counts == counted(fed=ITEMS, done=ITEMS)
    assert written == ITEMS
    # The frame of a worker may still hold what it has just finished.
    assert 0 < max(counts) - before <= WINDOW + WORKERS
    gc.collect()
    assert alive() <= before
