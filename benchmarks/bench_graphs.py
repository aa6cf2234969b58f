"""How fast are flows that are no straight line, and single values?

Load:

    graphs-fan      a value goes from one stage to two, and from both to a fourth, each with 4
                    workers, Retry(3) and counters on
    graphs-invoke   one value at a time through three stages that each add a key to a `Context`,
                    each with Retry(3)
    graphs-batch    values through one stage that takes them a hundred at a time

Baselines: the same graph in async-graph-data-flow, which does not retry; the same three
functions called one after the other under asyncio, each with three attempts by tenacity,
on a dict. Answers are checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import trio

from actorflow import Batch, Context, Graph, Pipeline, Retry, stage
from benchmarks.question import Figure, Question, Side, Target, checked

__all__ = ["QUESTIONS"]

ITEMS, QUICK = 100_000, 10_000

WORKERS = 4

#: Values in a batch.
SIZE = 100


async def first(value: int) -> int:
    return value + 1


async def left(value: int) -> int:
    return value * 2


async def right(value: int) -> int:
    return value * 3


async def last(value: int) -> int:
    return value


def expected(items: int) -> int:
    """The sum of all that comes out."""
    return sum(5 * (number + 1) for number in range(items))


class Total:
    """Adds up what comes out."""

    def __init__(self) -> None:
        self.sum = 0

    def add(self, value: int) -> None:
        self.sum += value


def actorflow_graph(items: int) -> Mapping[str, float]:
    """A graph of four stages."""
    stages = [
        stage(each, workers=WORKERS, policies=[Retry(3)]) for each in (first, left, right, last)
    ]
    graph: Graph[int, int] = Graph("fan").add(*stages)
    graph.connect(first, left).connect(first, right).connect(left, last).connect(right, last)
    total = Total()
    return _timed(items, total, lambda: graph.run_sync(range(items), sink=total.add))


def data_flow_graph(items: int) -> Mapping[str, float]:
    """async-graph-data-flow; its source is a node."""
    import async_graph_data_flow as graphs

    total = Total()

    async def source() -> AsyncGenerator[int, None]:
        for number in range(items):
            yield number

    async def one(value: int) -> AsyncGenerator[int, None]:
        yield await first(value)

    async def two(value: int) -> AsyncGenerator[int, None]:
        yield await left(value)

    async def three(value: int) -> AsyncGenerator[int, None]:
        yield await right(value)

    async def four(value: int) -> AsyncGenerator[int, None]:
        total.add(await last(value))
        yield value

    graph = graphs.AsyncGraph()
    graph.add_node(source)
    for node in (one, two, three, four):
        graph.add_node(node, max_tasks=WORKERS)
    for before, after in (
        ("source", "one"),
        ("one", "two"),
        ("one", "three"),
        ("two", "four"),
        ("three", "four"),
    ):
        graph.add_edge(before, after)
    return _timed(items, total, graphs.AsyncExecutor(graph).execute)


def _timed(items: int, total: Total, run: Callable[[], object]) -> Mapping[str, float]:
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    checked("the sum", expected(items), total.sum)
    return {"rate": items / seconds}


# Single values ----------------------------------------------------------------------------


async def price(context: Context) -> Context:
    return context.set("price", context["id"] * 2)


async def stock(context: Context) -> Context:
    return context.set("stock", context["id"] * 3)


async def page(context: Context) -> Context:
    return context.set("page", context["price"] + context["stock"])


def invoked(items: int) -> Mapping[str, float]:
    """`Pipeline.invoke`, again and again."""
    flow: Pipeline[Any, Any] = Pipeline(
        [stage(each, policies=[Retry(3)]) for each in (price, stock, page)], name="page"
    )

    async def main() -> Mapping[str, float]:
        await flow.invoke({"id": 0})
        started = time.perf_counter()
        for number in range(items):
            found = await flow.invoke({"id": number})
            checked("the page", number * 5, found["page"])
        return {"rate": items / (time.perf_counter() - started)}

    return trio.run(main)


async def price_of(context: dict[str, int]) -> dict[str, int]:
    return {**context, "price": context["id"] * 2}


async def stock_of(context: dict[str, int]) -> dict[str, int]:
    return {**context, "stock": context["id"] * 3}


async def page_of(context: dict[str, int]) -> dict[str, int]:
    return {**context, "page": context["price"] + context["stock"]}


def by_hand(items: int) -> Mapping[str, float]:
    """The functions one after the other, each with three attempts."""
    import tenacity

    again = tenacity.retry(stop=tenacity.stop_after_attempt(3), reraise=True)
    chain = [again(each) for each in (price_of, stock_of, page_of)]

    async def main() -> Mapping[str, float]:
        started = time.perf_counter()
        for number in range(items):
            context = {"id": number}
            for step in chain:
                context = await step(context)
            checked("the page", number * 5, context["page"])
        return {"rate": items / (time.perf_counter() - started)}

    return asyncio.run(main())


# Batches ----------------------------------------------------------------------------------


async def count(values: list[int]) -> int:
    return len(values)


def batched(items: int) -> Mapping[str, float]:
    """One stage that takes a hundred values at a time."""
    flow: Pipeline[Any, Any] = Pipeline([stage(count, batch=Batch(SIZE))], name="batches")
    total = Total()
    started = time.perf_counter()
    flow.run_sync(range(items), sink=total.add)
    seconds = time.perf_counter() - started
    checked("values in batches", items, total.sum)
    return {"rate": items / seconds}


# The questions ----------------------------------------------------------------------------

GRAPH = Side(
    name="async-graph-data-flow", run=data_flow_graph, needs="async_graph_data_flow", share=0.3
)
CHAIN = Side(name="asyncio and tenacity", run=by_hand, needs="tenacity")

QUESTIONS = (
    Question(
        name="graphs-fan",
        ours=Side(name="actorflow", run=actorflow_graph),
        peers=(GRAPH,),
        figures=(
            Figure(
                key="rate",
                title="a fork and a join of 4 stages x 4 workers, Retry(3)",
                unit="items/s",
                targets=(Target(over=GRAPH.name, must=4),),
            ),
        ),
        items=ITEMS,
        quick_items=QUICK,
    ),
    Question(
        name="graphs-invoke",
        ours=Side(name="actorflow", run=invoked),
        peers=(CHAIN,),
        figures=(
            Figure(
                key="rate",
                title="invoke of 3 stages on a Context, Retry(3)",
                unit="items/s",
                targets=(Target(over=CHAIN.name, must=1),),
            ),
        ),
        items=20_000,
        quick_items=2_000,
    ),
    Question(
        name="graphs-batch",
        ours=Side(name="actorflow", run=batched),
        peers=(),
        figures=(
            Figure(
                key="rate",
                title="a stage that takes batches of 100",
                unit="items/s",
                targets=(Target(must=300_000),),
            ),
        ),
        items=1_000_000,
        quick_items=100_000,
    ),
)
