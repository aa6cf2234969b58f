"""`yield Failed(error)`: one piece is a dead letter, and the generator goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from actorflow import (
    Chunk,
    ConfigurationError,
    Context,
    Failed,
    Fixed,
    Parallel,
    Retry,
    StageError,
    Turn,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Boom, counted, increment, pipeline
from tests.flows.lives import Mortal, TapeSink, fed_and_killed, finished
from tests.stages import handlers


async def pages(value: int) -> AsyncIterator[int | Failed]:
    for page in range(value):
        yield Failed(Boom(f"page {page}")) if page % 2 else page


def pages_in_thread(value: int) -> Iterator[int | Failed]:
    for page in range(value):
        yield Failed(Boom(f"page {page}")) if page % 2 else page


DECLARED = [
    stage(pages),
    stage(pages, atomic=True),
    stage(pages_in_thread),
    stage(pages_in_thread, runs_in="loop"),
    stage(pages_in_thread, atomic=True),
    handlers.broken_pages,
]


@pytest.mark.parametrize("declared", DECLARED)
async def test_a_failed_piece_is_a_dead_letter_and_the_others_go_on(declared: Any) -> None:
    async with pipeline([declared, increment]).open() as run:
        results = run.results()
        await run.feed([5])
        report = await run.finish()
        out = [result.value async for result in results if result.ok]

    assert out == [1, 3, 5]
    assert report.counts == counted(fed=1, dead=1)
    assert [(each.body, each.reason, str(each.error)) for each in report.dead] == [
        (5, "failed", "page 1"),
        (5, "failed", "page 3"),
    ]
    assert {each.stage_or_actor for each in report.dead} == {declared.name}
    assert len({each.id for each in report.dead}) == 2
    assert report.stages[declared.name].failed == 2


@pytest.mark.parametrize("declared", DECLARED[:2])
async def test_an_item_with_a_failed_piece_fails_with_its_error(declared: Any) -> None:
    with pytest.raises(StageError, match="page 1") as caught:
        await pipeline([declared]).invoke_all(5)

    assert type(caught.value.__cause__) is Boom


async def test_the_letter_has_the_value_as_it_came_in() -> None:
    async def eats(value: list[int]) -> AsyncIterator[Failed]:
        value.clear()
        yield Failed(Boom())

    report = await pipeline([stage(eats, policies=[Retry(2)])]).run([[1, 2]])

    assert [each.body for each in report.dead] == [[1, 2]]


async def test_a_generator_that_gives_nothing_but_failed_pieces_is_dead_and_not_skipped() -> None:
    async def only(value: int) -> AsyncIterator[Failed]:
        yield Failed(Boom())

    report = await pipeline([only]).run([1])

    assert report.counts == counted(fed=1, dead=1)


async def test_on_failure_hears_of_each_failed_piece() -> None:
    heard: list[str] = []
    declared = stage(pages, on_failure=lambda letter: heard.append(str(letter.error)))

    await pipeline([declared]).run([5])

    assert heard == ["page 1", "page 3"]


async def test_halt_ends_the_run_at_the_first_failed_piece() -> None:
    with pytest.raises(StageError, match="page 1"):
        await pipeline([stage(pages, on_failure="halt")]).run([5])


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_retry_gives_no_failed_piece_twice(atomic: bool) -> None:
    tried: list[int] = []

    async def breaks(value: int) -> AsyncIterator[int | Failed]:
        yield 1
        yield Failed(Boom("piece"))
        tried.append(value)
        if len(tried) < 3:
            raise Boom("whole")
        yield 2

    retry = Retry(3, backoff=Fixed(0))
    flow = pipeline([stage(breaks, policies=[retry], atomic=atomic)])
    async with flow.open() as run:
        results = run.results()
        await run.feed([0])
        report = await run.finish()
        out = [result.value async for result in results if result.ok]

    assert out == [1, 2]
    assert [str(each.error) for each in report.dead] == ["piece"]


async def test_a_restart_gives_no_failed_piece_twice() -> None:
    blocked = [True]

    async def some(value: int) -> AsyncIterator[int | Failed]:
        yield 1
        yield Failed(Boom("piece"))
        if blocked:
            await trio.sleep_forever()
        yield 2

    flow = pipeline([some], name="f")
    disk, tape = MemoryDisk(), list[int]()
    await fed_and_killed(flow, Mortal(disk), [0], sink=TapeSink(tape))
    blocked.clear()
    report = await finished(flow, Mortal(disk), sink=TapeSink(tape))

    assert report.counts == counted(fed=1, dead=1)
    assert [(each.id, each.body, each.reason) for each in report.dead] == [("0.1", 0, "failed")]
    assert tape == [1, 2]


def test_failed_takes_an_exception() -> None:
    with pytest.raises(ConfigurationError, match=r"^Failed.error must be an exception, got 'no'$"):
        Failed("no")  # type: ignore[arg-type]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_failed_piece_is_nothing_that_its_stage_received(killed: bool) -> None:
    disk = MemoryDisk()
    flow = pipeline([increment, pages], name="f")
    if killed:
        async with flow.open(store=MemoryStore(disk=disk), run_id="run") as run:
            await run.feed([4])
            await run.stop()
    options: dict[str, Any] = {}
    if killed:
        options = {"store": MemoryStore(disk=disk), "run_id": "run"}

    report = await flow.run([4, 4], **options)

    figures = [(each.received, each.emitted, each.failed) for each in report.stages.values()]
    assert figures[0][:2] == (2 + killed, 2 + killed)
    assert figures[1] == (2 + killed, 3 * (2 + killed), 2 * (2 + killed))


@pytest.mark.parametrize("chunks", [False, True])
async def test_a_failed_piece_of_a_context_is_a_dead_letter_and_no_value(chunks: bool) -> None:
    async def scan(context: Context, ctx: Turn) -> AsyncIterator[Any]:
        yield 1
        yield Failed(Boom("two"))
        yield 3
        if ctx.attempt == 1:
            raise Boom("once")
        yield Failed(Boom("four"))

    async def left(context: Context) -> dict[str, Any]:
        return {"left": context["scan_chunks"]}

    async def right(context: Context) -> dict[str, Any]:
        return {"right": context["scan_chunks"]}

    flow = pipeline([stage(scan, policies=[Retry(2, backoff=Fixed(0))]), Parallel([left, right])])
    async with flow.stream([{}], chunks=chunks) as results:
        pieces = [each.value async for each in results if isinstance(each, Chunk)]
    report = await flow.run([{}])

    assert pieces == ([1, 3] if chunks else [])
    assert [repr(each.error) for each in report.dead] == ["Boom('two')", "Boom('four')"]
    assert len({each.id for each in report.dead}) == 2
    assert report.counts == counted(fed=1, dead=1)


async def test_a_failed_piece_may_be_emitted_by_any_stage() -> None:
    async def some(value: int, ctx: Turn) -> int:
        ctx.emit(Failed(Boom("part")))
        ctx.emit(value + 1)
        return value

    tape: list[int] = []
    report = await pipeline([some, increment]).run([1], sink=tape.append)

    assert sorted(tape) == [2, 3]
    assert [repr(each.error) for each in report.dead] == ["Boom('part')"]
    assert report.counts == counted(fed=1, dead=1)
