"""`ctx.emitted`: a generator that goes on by itself behind what it has sent on before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import Context, Fixed, Retry, Turn, stage
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom, counted, pipeline
from tests.flows.lives import Mortal, TapeSink, fed_and_killed, finished

AGAIN = Retry(3, backoff=Fixed(0))


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_generator_that_reads_it_goes_on_behind_what_it_has_sent(atomic: bool) -> None:
    begun: list[int] = []
    tape: list[int] = []

    async def pages(book: int, ctx: Turn) -> AsyncIterator[int]:
        begun.append(ctx.emitted)
        for page in range(ctx.emitted, 4):
            yield page
            if page == 1 and ctx.attempt == 1:
                raise Boom

    report = await pipeline([stage(pages, policies=[AGAIN], atomic=atomic)]).run(
        [0], sink=tape.append
    )

    assert tape == [0, 1, 2, 3]
    assert begun == ([0, 0] if atomic else [0, 2])
    assert report.counts == counted(fed=1, done=1)


async def test_one_that_reads_it_too_late_begins_anew_as_any_other() -> None:
    tape: list[int] = []

    async def pages(book: int, ctx: Turn) -> AsyncIterator[int]:
        for page in range(4):
            yield page
            if page == 1 and ctx.emitted == 2 and ctx.attempt == 1:
                raise Boom

    await pipeline([stage(pages, policies=[AGAIN])]).run([0], sink=tape.append)

    assert tape == [0, 1, 2, 3]


async def test_after_a_kill_it_goes_on_there_too() -> None:
    gate = trio.Event()

    async def pages(book: int, ctx: Turn) -> AsyncIterator[int]:
        for page in range(ctx.emitted, 4):
            if page == 2:
                await gate.wait()
            yield page

    disk, tape = MemoryDisk(), list[int]()
    flow = pipeline([stage(pages)], name="f")
    await fed_and_killed(flow, Mortal(disk), [7], sink=TapeSink(tape))
    gate.set()
    await finished(flow, Mortal(disk), sink=TapeSink(tape))

    assert tape == [0, 1, 2, 3]


async def test_where_a_context_gets_all_values_it_is_nought() -> None:
    seen: list[int] = []

    async def pages(context: Context, ctx: Turn) -> AsyncIterator[int]:
        seen.append(ctx.emitted)
        for page in range(ctx.emitted, 3):
            yield page
            if page == 1 and ctx.attempt == 1:
                raise Boom

    flow = pipeline([stage(pages, policies=[AGAIN])])
    async with flow.stream([{}], chunks=True) as results:
        found = [each.value async for each in results]

    assert seen == [0, 0]
    assert found == [0, 1, 2, Context({"pages_chunks": [0, 1, 2]})]


async def test_what_stands_around_a_generator_may_read_it() -> None:
    async def looks(call: Any, value: Any, ctx: Turn) -> Any:
        assert ctx.emitted >= 0
        return await call(value)

    async def pages(book: int, ctx: Turn) -> AsyncIterator[int]:
        for page in range(4):
            if page == 2 and ctx.attempt == 1:
                raise Boom
            yield page

    tape: list[int] = []
    flow = pipeline([stage(pages, policies=[AGAIN])], middleware=[looks])
    await flow.run([0], sink=tape.append)

    assert tape == [0, 1, 2, 3]
