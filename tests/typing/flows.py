"""Never run: a type checker reads here which types a declaration keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from actorflow import Chunk, Graph, ItemResult, Pipeline, Report, RunOptions
from actorflow.graph import Plan, Stage, compile_pipeline, stage
from actorflow.policies import Bulkhead, CircuitBreaker, Deadline, RateLimit, Retry, Timeout


class Turn: ...


@stage
async def fetch(url: str) -> bytes:
    return url.encode()


@stage(workers=2, timeout=5, runs_in="thread", policies=[Retry(), RateLimit(5), Timeout(1)])
def parse(page: bytes, ctx: Turn) -> list[int]:
    return list(page)


@stage(policies=(CircuitBreaker(), Bulkhead(2), Deadline(3)))
async def crawl(url: str, *, turn: Turn | None = None) -> AsyncIterator[bytes]:
    yield b""


@stage(atomic=True)
def split(page: bytes, limit: int = 10) -> Iterator[int]:
    yield from page


@stage(unpack=True)
async def save(name: str, size: int) -> None: ...


@stage(reads=frozenset({"url"}), writes={"page"})
async def load(url: str) -> bytes:
    return url.encode()


class Parser:
    async def __call__(self, page: bytes) -> int:
        return len(page)


def plain(page: bytes) -> str | None:
    return None


assert_type(fetch, Stage[str, bytes])
assert_type(parse, Stage[bytes, list[int]])
assert_type(crawl, Stage[str, bytes])
assert_type(split, Stage[bytes, int])
assert_type(save, Stage[Any, Any])
assert_type(load, Stage[str, bytes])
assert_type(stage(Parser()), Stage[bytes, int])
assert_type(stage(plain, workers=2), Stage[bytes, str | None])
assert_type(stage(fetch, name="again"), Stage[str, bytes])
assert_type(stage(plain, unpack=True), Stage[Any, Any])
assert_type(fetch.timeout, float | None)
assert_type(compile_pipeline([fetch, parse, plain, Parser()]), Plan)

# A stage that takes more and gives less fits where one is wanted that does the reverse.
wide: Stage[bool, object] = stage(abs)


def no_parameter() -> None: ...


stage(no_parameter)  # type: ignore[arg-type]
stage(plain, worker=2)  # type: ignore[call-overload]
stage(plain, runs_in="fiber")  # type: ignore[call-overload]
stage(plain, policies=[3])  # type: ignore[arg-type, list-item]
stage(5)  # type: ignore[call-overload]
not_bytes: Stage[str, str] = stage(plain)  # type: ignore[arg-type]

bare = Pipeline([fetch, parse])
assert_type(bare, Pipeline[Any, Any])
assert_type(Graph().add(fetch), Graph[Any, Any])
typed: Pipeline[str, bytes] = Pipeline([fetch])
assert_type(typed, Pipeline[str, bytes])


async def verbs(flow: Pipeline[str, int], bare: Graph) -> None:
    assert_type(await flow.invoke("a"), int)
    assert_type(await flow.invoke_all("a"), list[int])
    assert_type(await bare.invoke("a"), Any)
    async with flow.stream(["a"], ordered=True) as results:
        async for each in results:
            assert_type(each, ItemResult[int])
            assert_type(each.value, int)
    async with flow.stream(["a"], chunks=True) as either:
        async for one in either:
            assert_type(one, ItemResult[int] | Chunk)
    async with flow.open(store="sqlite:///a.db", results="store") as run:
        assert_type([each.id async for each in run.results()], list[Any])
    options: RunOptions = {"window": 3, "progress": "compact"}
    assert_type(await flow.run(["a"], **options), Report)
    await flow.run(["a"], windw=3)  # type: ignore[call-arg]
    await flow.run(["a"], progress="loud")  # type: ignore[arg-type]
    await flow.run([1])  # type: ignore[list-item]
