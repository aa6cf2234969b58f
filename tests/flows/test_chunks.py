"""Generators in flows of contexts: chunks for whoever wants them, and one value for the Context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from actorflow import Chunk, Context, ItemResult, Retry, Turn, stage
from tests.flows.flowing import Boom, pipeline
from tests.flows.test_contexts import final, one

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def tokens(context: Context) -> AsyncIterator[str]:
    for each in context["text"].split():
        yield each
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("options", "key"), [({}, "tokens_chunks"), ({"writes": ["words"]}, "words")]
)
async def test_what_a_generator_yields_is_one_value_of_its_context(options: Any, key: str) -> None:
    assert await final([stage(tokens, **options)], {"text": "a b"}) == {
        "text": "a b",
        key: ["a", "b"],
    }


async def test_one_that_writes_nothing_is_there_for_its_chunks_alone() -> None:
    assert await final([stage(tokens, writes=[])], {"text": "a b"}) == {"text": "a b"}


def squares(context: Context) -> Iterator[int]:
    for each in range(3):
        yield each**2


async def test_a_plain_generator_is_one_too() -> None:
    assert await final([stage(squares, runs_in="loop")], {}) == {"squares_chunks": [0, 1, 4]}


async def test_a_stream_gives_chunks_while_the_generator_runs_if_they_are_wanted() -> None:
    flow = pipeline([tokens])
    found: list[Any] = []

    async with flow.stream([{"text": "a b"}, {"text": "c"}], chunks=True) as results:
        async for each in results:
            what = each if isinstance(each, Chunk) else (each.id, each.status)
            found.append((trio.current_time(), what))

    assert found == [
        (0, Chunk("tokens", 0, "a")),
        (1, Chunk("tokens", 0, "b")),
        (2, (0, "done")),
        (2, Chunk("tokens", 1, "c")),
        (3, (1, "done")),
    ]


async def test_without_being_asked_for_there_are_none() -> None:
    assert (await one([tokens], {"text": "a b"})).ok


async def test_chunks_that_were_handed_out_are_not_handed_out_again_by_a_retry() -> None:
    async def flaky(context: Context, ctx: Turn) -> AsyncIterator[int]:
        for each in range(4):
            if each == 2 and ctx.attempt == 1:
                raise Boom
            yield each

    flow = pipeline([stage(flaky, policies=[Retry(2)])])
    async with flow.stream([{}], chunks=True) as results:
        found = [each async for each in results]

    assert [each.value for each in found[:-1]] == [0, 1, 2, 3]
    assert found[-1].value == {"flaky_chunks": [0, 1, 2, 3]}


async def test_a_generator_waits_for_who_takes_its_chunks_and_its_timeout_does_not_run() -> None:
    given: list[int] = []

    async def many(context: Context) -> AsyncIterator[int]:
        for each in range(10):
            given.append(each)
            yield each

    flow = pipeline([stage(many, timeout=5)])
    async with flow.stream([{}], chunks=True, window=3) as results:
        await anext(results)
        await trio.sleep(100)
        assert len(given) == 5
        rest = [each async for each in results]

    assert isinstance(rest[-1], ItemResult)
    assert rest[-1].ok
