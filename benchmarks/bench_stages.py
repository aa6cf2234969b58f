"""How many items a second go through three stages that do next to nothing?

Question: what does the runtime cost per item: mailboxes, leases, retries, counters,
policies, timeouts? The handlers add one, double, and take one away again, so all
the time that is measured is the runtime's.

Load: ITEMS integers through three stages of four workers. Every side counts what
comes out and adds it up. Ours has `Retry(3)` on each stage and its counters on.

    stages-plain        handlers that never wait
    stages-policies     the same, plus a breaker, a rate limit and a bulkhead on each
                        stage, none of which ever has anything to say
    stages-suspending   handlers that wait once, for nothing, under a timeout of 10 s

Baselines: AntFlow (a fifth of the items: the rate is per item, and it is slow);
async-graph-data-flow with a source; the same by hand with trio's memory channels and
with `asyncio.Queue`, both of capacity 256, which is also the size of our mailboxes.
`stages-policies` is held against ours without them; `stages-suspending` against
channels without a timeout, and with `trio.fail_after(10)` for each item.

    python -m benchmarks stages
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import trio

from actorflow import Bulkhead, CircuitBreaker, Pipeline, RateLimit, Retry, stage
from benchmarks.question import Figure, Question, Side, Target, checked

__all__ = ["QUESTIONS", "actorflow_stages", "asyncio_queues", "trio_channels"]

Handler: TypeAlias = Callable[[int], Awaitable[int]]

ITEMS = 100_000
WORKERS = 4
CAPACITY = 256
TIMEOUT = 10.0

END = object()


async def add_one(value: int) -> int:
    return value + 1


async def double(value: int) -> int:
    return value * 2


async def take_one(value: int) -> int:
    return value - 1


async def add_one_later(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value + 1


async def double_later(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value * 2


async def take_one_later(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value - 1


QUICK: Sequence[Handler] = (add_one, double, take_one)
SUSPENDING: Sequence[Handler] = (add_one_later, double_later, take_one_later)

#: Policies that look at every turn and never hold one up.
SILENT = (CircuitBreaker(), RateLimit(1e9, burst=1_000_000), Bulkhead(1_000))


class Total:
    """A sink that counts and adds up, in blocks: what every side must agree on."""

    def __init__(self) -> None:
        self.count = self.sum = 0

    def add(self, value: int) -> None:
        """Take one value."""
        self.count += 1
        self.sum += value

    async def open(self) -> None:
        """Begin anew."""
        self.count = self.sum = 0

    async def write(self, values: Sequence[int]) -> None:
        """Take a block of values."""
        self.count += len(values)
        self.sum += sum(values)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def check(self, items: int) -> None:
        """Raise `WrongAnswer` unless all of *items* came out, each as it should."""
        checked("values that came out", items, self.count)
        checked("their sum", sum((each + 1) * 2 - 1 for each in range(items)), self.sum)


# Ours -------------------------------------------------------------------------------------


def actorflow_stages(
    items: int,
    handlers: Sequence[Handler] = QUICK,
    policies: Sequence[Any] = (),
    timeout: float | None = None,
) -> Mapping[str, float]:
    """Our own: a pipeline, its values to a sink."""
    flow: Pipeline[int, int] = Pipeline(
        [
            stage(each, workers=WORKERS, policies=[Retry(3), *policies], timeout=timeout)
            for each in handlers
        ]
    )
    total = Total()
    started = time.perf_counter()
    report = flow.run_sync(range(items), sink=total)
    seconds = time.perf_counter() - started
    total.check(items)
    checked("items that the report says are done", items, report.counts["done"])
    for name, counted in report.stages.items():
        checked(f"messages that {name} says it received", items, counted.received)
    return {"rate": items / seconds}


def with_policies(items: int) -> Mapping[str, float]:
    return actorflow_stages(items, policies=SILENT)


def with_timeout(items: int) -> Mapping[str, float]:
    return actorflow_stages(items, SUSPENDING, timeout=TIMEOUT)


# By hand, on trio -------------------------------------------------------------------------


def trio_channels(
    items: int, handlers: Sequence[Handler] = QUICK, timeout: float | None = None
) -> Mapping[str, float]:
    """What one writes with trio alone: tasks that read one channel and write the next."""
    total = Total()

    async def work(handler: Handler, source: Any, target: Any) -> None:
        async with source, target:
            async for value in source:
                if timeout is None:
                    value = await handler(value)
                else:
                    with trio.fail_after(timeout):
                        value = await handler(value)
                await target.send(value)

    async def feed(target: Any) -> None:
        async with target:
            for number in range(items):
                await target.send(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            target, source = trio.open_memory_channel[int](CAPACITY)
            nursery.start_soon(feed, target)
            for handler in handlers:
                target, following = trio.open_memory_channel[int](CAPACITY)
                async with source, target:
                    for _ in range(WORKERS):
                        nursery.start_soon(work, handler, source.clone(), target.clone())
                source = following
            async for value in source:
                total.add(value)

    return _timed(items, total, lambda: trio.run(main))


def channels_suspending(items: int) -> Mapping[str, float]:
    return trio_channels(items, SUSPENDING)


def channels_with_timeout(items: int) -> Mapping[str, float]:
    return trio_channels(items, SUSPENDING, TIMEOUT)


# By hand, on asyncio ----------------------------------------------------------------------


def asyncio_queues(items: int, handlers: Sequence[Handler] = QUICK) -> Mapping[str, float]:
    """What one writes with asyncio alone: tasks that read one queue and write the next."""
    total = Total()

    async def work(
        handler: Handler, source: asyncio.Queue[Any], target: asyncio.Queue[Any]
    ) -> None:
        while (value := await source.get()) is not END:
            await target.put(await handler(value))

    async def feed(target: asyncio.Queue[Any]) -> None:
        for number in range(items):
            await target.put(number)

    async def take(source: asyncio.Queue[Any]) -> None:
        for _ in range(items):
            total.add(await source.get())

    async def main() -> None:
        queues: list[asyncio.Queue[Any]] = [asyncio.Queue(CAPACITY) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            feeder = group.create_task(feed(queues[0]))
            rows = [
                [group.create_task(work(each, queues[i], queues[i + 1])) for _ in range(WORKERS)]
                for i, each in enumerate(handlers)
            ]
            taker = group.create_task(take(queues[-1]))
            await feeder
            for queue, row in zip(queues, rows, strict=False):
                for _ in row:
                    await queue.put(END)
                await asyncio.wait(row)
            await taker

    return _timed(items, total, lambda: asyncio.run(main()))


# Peers ------------------------------------------------------------------------------------


def antflow_pipeline(items: int) -> Mapping[str, float]:
    """AntFlow's own pipeline; it hands the results over as a list."""
    import antflow

    pipeline = antflow.Pipeline(
        [antflow.Stage(name=each.__name__, workers=WORKERS, tasks=[each]) for each in QUICK]
    )
    total = Total()

    def run() -> None:
        for result in asyncio.run(pipeline.run(range(items))):
            total.add(result.value)

    return _timed(items, total, run)


def data_flow_graph(items: int) -> Mapping[str, float]:
    """async-graph-data-flow: nodes are async generators; the last one adds up."""
    import async_graph_data_flow as graphs

    total = Total()

    async def source() -> AsyncGenerator[int, None]:
        for number in range(items):
            yield number

    async def first(value: int) -> AsyncGenerator[int, None]:
        yield await add_one(value)

    async def second(value: int) -> AsyncGenerator[int, None]:
        yield await double(value)

    async def third(value: int) -> AsyncGenerator[int, None]:
        total.add(await take_one(value))
        yield value

    graph = graphs.AsyncGraph()
    graph.add_node(source)
    for node in (first, second, third):
        graph.add_node(node, max_tasks=WORKERS)
    for before, after in (("source", "first"), ("first", "second"), ("second", "third")):
        graph.add_edge(before, after)
    return _timed(items, total, graphs.AsyncExecutor(graph).execute)


def _timed(items: int, total: Total, run: Callable[[], object]) -> Mapping[str, float]:
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    total.check(items)
    return {"rate": items / seconds}


# The questions ----------------------------------------------------------------------------

OURS = Side(name="actorflow", run=actorflow_stages)
ANTFLOW = Side(name="AntFlow", run=antflow_pipeline, needs="antflow", share=0.2)
GRAPH = Side(name="async-graph-data-flow", run=data_flow_graph, needs="async_graph_data_flow")
CHANNELS = Side(name="trio channels by hand", run=trio_channels)
QUEUES = Side(name="asyncio.Queue by hand", run=asyncio_queues)
WITHOUT = Side(name="actorflow, Retry alone", run=actorflow_stages)
BARE = Side(name="trio channels, no timeout", run=channels_suspending)
FAILING_AFTER = Side(name="trio channels, fail_after", run=channels_with_timeout)

QUESTIONS = (
    Question(
        name="stages-plain",
        ours=OURS,
        peers=(ANTFLOW, GRAPH, CHANNELS, QUEUES),
        figures=(
            Figure(
                key="rate",
                title="3 no-op stages x 4 workers, Retry(3)",
                unit="items/s",
                targets=(
                    Target(must=200_000, reach=320_000),
                    Target(over=ANTFLOW.name, must=45),
                    Target(over=CHANNELS.name, must=5),
                    Target(over=QUEUES.name, reach=1),
                ),
            ),
        ),
        items=ITEMS,
        quick_items=20_000,
    ),
    Question(
        name="stages-policies",
        ours=Side(name="actorflow", run=with_policies),
        peers=(WITHOUT,),
        figures=(
            Figure(
                key="rate",
                title="3 no-op stages, + breaker, rate, bulkhead",
                unit="items/s",
                targets=(
                    Target(must=150_000, reach=250_000),
                    Target(over=WITHOUT.name, must=0.7),
                ),
            ),
        ),
        items=ITEMS,
        quick_items=20_000,
    ),
    Question(
        name="stages-suspending",
        ours=Side(name="actorflow", run=with_timeout),
        peers=(BARE, FAILING_AFTER),
        figures=(
            Figure(
                key="rate",
                title="3 stages, each suspends once, timeout=10",
                unit="items/s",
                targets=(
                    Target(must=70_000, reach=90_000),
                    Target(over=BARE.name, must=2),
                ),
            ),
        ),
        items=ITEMS,
        quick_items=20_000,
    ),
)
