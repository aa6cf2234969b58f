"""What async-graph-data-flow documents, done with actorflow; and the page that says how."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from actorflow import (
    Batch,
    CompilationError,
    ConfigurationError,
    Failed,
    FlowLog,
    Graph,
    Report,
    StageError,
    TooManyFailures,
    Turn,
    stage,
)
from tests.programs import DOCS, names_in_tables, printed, programs

PAGE = "migration/async-graph-data-flow.md"

#: Every name that async-graph-data-flow documents, of releases 1 and 2.
NAMES = (
    *("AsyncGraph", "halt_on_exception=", "add_node", "func", "name=", "unpack_input="),
    *("max_tasks=", "queue_size=", "queue=", "check_async_gen=", "add_edge", "src_node"),
    *("dst_node", "edges", "nodes", "nodes_to_edges"),
    *("AsyncExecutor", "graph", "logger=", "max_exceptions=", "execute", "start_nodes="),
    *("start_nodes", "data_flow_stats", "in", "out", "err", "exceptions"),
    *("turn_on_data_flow_logging", "node_format=", "node_filter=", "time_interval="),
    *("turn_off_data_flow_logging", "InvalidAsyncGraphError", "args", "add_note"),
    *("with_traceback", "__version__"),
)


async def words(_: object) -> AsyncIterator[str]:
    yield "hello"
    yield "world"


async def title(text: str) -> AsyncIterator[str]:
    await trio.sleep(3)
    yield text.title()


def flow_of(report: Report) -> dict[str, tuple[int, int, int]]:
    """In, out and errors of each node."""
    return {
        name: (each.received, each.emitted, each.failed) for name, each in report.stages.items()
    }


# The page -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(programs(PAGE))))
def test_a_program_of_the_page_prints_what_the_page_says(number: int, tmp_path: Path) -> None:
    program = programs(PAGE)[number]

    assert program.prints, "the page does not say what it prints"
    assert printed(program, tmp_path) == program.prints


def test_every_before_on_the_page_has_its_after() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")

    assert text.count("```python\n# Before: async-graph-data-flow") == len(programs(PAGE)) - 1 > 0


def test_the_table_says_what_became_of_every_name() -> None:
    assert not set(NAMES) - names_in_tables(PAGE)


# Graphs -------------------------------------------------------------------------------


async def test_three_nodes_extract_transform_and_load(autojump_clock: object) -> None:
    heard: list[str] = []

    async def load(text: str) -> None:
        heard.append(text)

    graph: Graph[None, None] = Graph().add(words, title, load)
    graph.connect(words, title).connect(title, load)
    report = await graph.run([None])

    assert heard == ["Hello", "World"]
    assert flow_of(report) == {"words": (1, 2, 0), "title": (2, 2, 0), "load": (2, 2, 0)}


async def test_a_start_node_is_a_source_just_as_well(autojump_clock: object) -> None:
    graph: Graph[str, str] = Graph().add(title)

    kept: list[str] = []
    await graph.run(words(None), sink=kept.append)

    assert kept == ["Hello", "World"]


async def test_a_branch_that_is_slow_holds_up_no_other(autojump_clock: object) -> None:
    told: list[str] = []

    async def extract(_: object) -> AsyncIterator[str]:
        yield "hello"
        await trio.sleep(5)
        yield "world"

    async def load(text: str) -> str:
        await trio.sleep(5)
        told.append(f"loading {text}")
        return text

    async def show(text: str) -> None:
        told.append(f"printing {text}")

    async def end(_: object) -> None:
        told.append("ending")

    graph: Graph[None, None] = Graph().add(extract, title, load, show, end)
    graph.connect(extract, title).connect(title, load).connect(title, show).connect(load, end)
    await graph.run([None])

    assert told[0] == "printing Hello"
    assert [each for each in told if not each.startswith("printing")] == [
        *("loading Hello", "ending", "loading World", "ending"),
    ]
    assert told.index("printing World") < told.index("loading World")


async def test_two_branches_meet_again_and_every_value_comes_on_both() -> None:
    async def first(_: object) -> AsyncIterator[str]:
        for number in range(2):
            yield f"from first: {number}"

    async def second(text: str) -> str:
        return f"from second: {text}"

    async def third(text: str) -> tuple[str, str]:
        return text, "from third"

    async def fourth(text: str) -> tuple[str, str]:
        return text, "from fourth"

    @stage(unpack=True)
    async def fifth(text: str, more: str) -> str:
        return f"{text} + {more}"

    graph: Graph[None, str] = Graph().add(first, second, third, fourth, fifth)
    graph.connect(first, second).connect(second, third).connect(second, fourth)
    graph.connect(third, fifth).connect(fourth, fifth)

    (found,) = await graph.map([None])
    assert sorted(found) == [
        f"from second: from first: {number} + from {node}"
        for number in range(2)
        for node in ("fourth", "third")
    ]


@pytest.mark.parametrize(("workers", "seconds"), [(1, 10), (5, 2)])
async def test_a_node_with_workers_takes_that_many_at_a_time(
    workers: int, seconds: int, autojump_clock: object
) -> None:
    received: list[int] = []

    async def count(_: object) -> AsyncIterator[int]:
        for number in range(5):
            yield number

    async def slow(number: int) -> None:
        await trio.sleep(2)
        received.append(number)

    graph: Graph[None, None] = Graph().add(count, stage(slow, workers=workers))
    graph.connect(count, slow)
    began = trio.current_time()
    await graph.run([None])

    assert trio.current_time() - began == pytest.approx(seconds)
    assert sorted(received) == [0, 1, 2, 3, 4]


async def test_nodes_without_edges_run_side_by_side(autojump_clock: object) -> None:
    async def rest(_: object) -> None:
        await trio.sleep(2)

    nodes = [stage(rest, name=f"node{number}") for number in (1, 2, 3)]
    began = trio.current_time()
    report = await Graph[None, None]().add(*nodes).run([None])

    assert trio.current_time() - began == pytest.approx(2)
    assert [report.stages[each.name].emitted for each in nodes] == [1, 1, 1]


async def test_a_node_takes_a_partial_and_a_name_of_its_own() -> None:
    async def power(number: int, exponent: int) -> int:
        return int(number**exponent)

    graph: Graph[int, int] = Graph().add(
        stage(partial(power, exponent=2), name="square"),
        stage(partial(power, exponent=3), name="cube"),
    )
    graph.connect("square", "cube")

    assert await graph.map([2]) == [64]


def test_the_structure_can_be_read() -> None:
    graph: Graph[None, str] = Graph("etl").add(words, title).connect(words, title)

    assert [each.name for each in graph.plan.stages] == ["words", "title"]
    assert {(each.start, each.end) for each in graph.plan.edges} == {("words", "title")}
    assert graph.to_text() == "etl\n  words -> title\n  title\n"


def test_an_edge_to_a_stranger_and_a_circle_are_refused() -> None:
    graph: Graph[None, str] = Graph().add(words, title).connect(words, title)

    with pytest.raises(CompilationError, match=r"no node is named 'load'; add\(\) it first"):
        graph.connect(title, "load")
    with pytest.raises(CompilationError, match="is a circle"):
        graph.connect(title, words).check()


def test_a_function_that_takes_nothing_is_refused_when_it_is_declared() -> None:
    async def nothing() -> None: ...

    with pytest.raises(ConfigurationError, match="must be a function of one value"):
        Graph().add(nothing)


# Beginning elsewhere ------------------------------------------------------------------


async def test_a_run_begins_at_a_node_in_the_middle() -> None:
    heard: list[str] = []

    async def middle(text: str) -> AsyncIterator[str]:
        heard.append(f"middle {text}")
        yield "data1"
        yield "data2"

    async def last(text: str) -> None:
        heard.append(f"last {text}")

    graph: Graph[Any, None] = Graph().add(words, middle, last)
    graph.connect(words, middle).connect(middle, last)
    async with graph.open() as run:
        await run.feed(["new_data"], stage="middle")
        report = await run.finish()

    assert heard == ["middle new_data", "last data1", "last data2"]
    assert flow_of(report) == {"words": (0, 0, 0), "middle": (1, 2, 0), "last": (2, 2, 0)}


async def test_each_start_node_is_fed_with_its_own() -> None:
    heard: list[str] = []

    async def one(text: str) -> AsyncIterator[str]:
        for each in (text, "hello", "world"):
            yield each

    async def two(text: str) -> AsyncIterator[str]:
        for each in (text, "data1", "data2"):
            yield each

    async def three(text: str) -> None:
        heard.append(text)

    graph: Graph[str, None] = Graph().add(one, two, three).connect(one, three).connect(two, three)
    async with graph.open() as run:
        await run.feed(["foo"], stage="one")
        await run.feed(["bar"], stage="two")

    assert sorted(heard) == sorted(["foo", "hello", "world", "bar", "data1", "data2"])
    assert heard.index("foo") < heard.index("hello") < heard.index("world")


# Arguments ----------------------------------------------------------------------------


async def test_a_tuple_and_a_dict_are_spread_only_if_that_is_said() -> None:
    async def spread(a: int, b: int = 0) -> tuple[int, int]:
        return a, b

    async def whole(value: Any) -> Any:
        return value

    values: list[Any] = [(1, 2), {"a": 3, "b": 4}]

    assert await Graph().add(stage(spread, unpack=True)).map(values) == [(1, 2), (3, 4)]
    assert await Graph().add(whole).map(values) == values


async def test_too_many_arguments_cost_one_value_and_the_graph_goes_on() -> None:
    loaded: list[int] = []

    async def transform(number: int) -> AsyncIterator[tuple[int, ...]]:
        if number == 2:
            yield 0, 1
        yield (number,)

    @stage(unpack=True)
    async def load(number: int) -> None:
        loaded.append(number)

    graph: Graph[int, None] = Graph().add(transform, load).connect(transform, load)
    report = await graph.run(range(4))

    assert loaded == [0, 1, 2, 3]
    assert flow_of(report)["load"] == (5, 4, 1)
    (letter,) = report.dead
    assert letter.body == (0, 1)
    assert "takes 1 positional argument but 2 were given" in str(letter.error)


# Failing ------------------------------------------------------------------------------


def risky(**options: Any) -> Graph[str, str]:
    """Two of five values fail in the middle."""

    async def load(text: str) -> str:
        if text in ("World", "Analytics"):
            raise RuntimeError(f"intentional error for {text}")
        return text

    graph: Graph[str, str] = Graph(on_failure=options.pop("anywhere", None))
    return graph.add(title, stage(load, name="load", **options)).connect(title, "load")


FIVE = ("hello", "world", "somebody", "analytics", "done")


async def test_an_error_costs_one_value_and_is_kept_with_it(autojump_clock: object) -> None:
    kept: list[str] = []
    report = await risky().run(FIVE, sink=kept.append)

    assert kept == ["Hello", "Somebody", "Done"]
    assert [(each.stage_or_actor, each.body, str(each.error)) for each in report.dead] == [
        ("load", "World", "intentional error for World"),
        ("load", "Analytics", "intentional error for Analytics"),
    ]
    assert flow_of(report)["load"] == (5, 3, 2)


@pytest.mark.parametrize("options", [{"on_failure": "halt"}, {"anywhere": "halt"}])
async def test_an_error_halts_the_graph_and_is_raised(
    options: dict[str, Any], autojump_clock: object
) -> None:
    graph, kept = risky(**options), list[str]()

    for _ in range(2):  # A graph that was halted runs again.
        kept.clear()
        with pytest.raises(StageError, match="intentional error for World") as raised:
            await graph.run(FIVE, sink=kept.append)
        assert isinstance(raised.value.__cause__, RuntimeError)
        assert kept == ["Hello"]


async def test_all_errors_of_a_node_can_be_read_and_raised() -> None:
    async def bad(text: str) -> None:
        raise ValueError(f"bad data: {text}")

    graph: Graph[None, None] = Graph().add(words, bad).connect(words, bad)
    report = await graph.run([None])
    errors = [letter.error for letter in report.dead if letter.stage_or_actor == "bad"]

    assert [repr(each) for each in errors] == [
        "ValueError('bad data: hello')",
        "ValueError('bad data: world')",
    ]
    assert [(each.stage, each.type, each.count) for each in report.errors] == [
        ("bad", "ValueError", 2)
    ]


async def test_an_error_that_is_yielded_counts_and_the_generator_goes_on() -> None:
    async def some(_: object) -> AsyncIterator[Any]:
        yield 1
        yield Failed(ValueError("a bad part"))
        yield 3

    graph: Graph[None, int] = Graph().add(some)
    kept: list[int] = []
    report = await graph.run([None], sink=kept.append)

    assert kept == [1, 3]
    assert [str(letter.error) for letter in report.dead] == ["a bad part"]


async def test_more_errors_than_may_be_kept_end_the_run() -> None:
    async def bad(number: int) -> None:
        raise ValueError(number)

    with pytest.raises(TooManyFailures):
        await Graph[int, None]().add(bad).run(range(10), max_dead=3)


# Figures ------------------------------------------------------------------------------


async def test_figures_of_chosen_nodes_are_logged_every_so_often(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def extract(_: object) -> AsyncIterator[str]:
        for _ in range(3):
            await trio.sleep(3)
            yield "hello"

    async def transform(text: str) -> str:
        return text.title()

    async def load(text: str) -> None: ...

    log = FlowLog(
        every=4, format="{stage} - in={in}, out={out}, err={err}", stages=["transform", "load"]
    )
    graph: Graph[None, None] = Graph().add(extract, transform, load)
    graph.connect(extract, transform).connect(transform, load)
    with caplog.at_level(logging.INFO, logger="actorflow.flow"):
        await graph.run([None], observers=[log])

    assert caplog.messages == [
        *("transform - in=1, out=1, err=0", "load - in=1, out=1, err=0"),
        *("transform - in=2, out=2, err=0", "load - in=2, out=2, err=0"),
        *("transform - in=3, out=3, err=0", "load - in=3, out=3, err=0"),
    ]


async def test_the_log_is_turned_off_while_the_graph_runs(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    log = FlowLog(every=2)
    with caplog.at_level(logging.INFO, logger="actorflow.flow"):
        async with Graph[str, str]().add(title).open(observers=[log]) as run:
            await run.feed(["hello"])
            run.unobserve(log)

    assert not caplog.messages


# Edges --------------------------------------------------------------------------------


async def test_an_edge_makes_batches_and_the_last_one_is_what_is_left() -> None:
    received: list[list[int]] = []

    async def source(_: object) -> AsyncIterator[int]:
        for number in range(1, 11):
            yield number

    async def batched(numbers: list[int]) -> None:
        received.append(numbers)

    graph: Graph[None, None] = Graph().add(source, batched)
    graph.connect(source, batched, batch=Batch(4))
    await graph.run([None])

    assert received == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_values_of_several_nodes_are_combined_by_their_place() -> None:
    received: list[tuple[int, ...]] = []

    def yielding(value: int) -> Any:
        async def some(_: object) -> AsyncIterator[tuple[int, int]]:
            for place in range(value):
                yield place, value

        return stage(some, name=f"some-{value}")

    @stage(batch=Batch(3, key=lambda pair: pair[0]))
    async def final(pairs: list[tuple[int, int]], ctx: Turn) -> None:
        if len(pairs) < 3:
            ctx.skip()  # What is left at the end has no partners.
        else:
            received.append(tuple(sorted(value for _, value in pairs)))

    graph: Graph[None, None] = Graph().add(*map(yielding, (3, 4, 5)), final)
    for value in (3, 4, 5):
        graph.connect(f"some-{value}", final)
    await graph.run([None])

    assert received == [(3, 4, 5)] * 3


async def test_a_range_of_numbers_is_transformed_and_flushed_in_threes() -> None:
    flushed: list[list[int]] = []

    async def extract(_: object) -> AsyncIterator[int]:
        for number in range(1, 11):
            yield number**2

    async def transform(number: int) -> int:
        return int(number**3)

    @stage(batch=Batch(3))
    async def load(numbers: list[int]) -> None:
        flushed.append(numbers)

    graph: Graph[None, None] = Graph().add(extract, transform, load)
    graph.connect(extract, transform).connect(transform, load)
    await graph.run([None])

    assert flushed == [
        [1, 64, 729],
        [4096, 15625, 46656],
        [117649, 262144, 531441],
        [1000000],
    ]


async def test_an_edge_takes_some_values_and_makes_others_of_them() -> None:
    async def double(number: int) -> int:
        return number * 2

    async def small(number: int) -> str:
        return f"small {number}"

    async def large(text: str) -> str:
        return text

    graph: Graph[int, str] = Graph().add(double, small, large)
    graph.connect(double, small, when=lambda number: number < 10)
    graph.connect(double, large, when=lambda number: number >= 10, map="large {}".format)

    assert await graph.map([1, 50]) == ["small 2", "large 100"]


# Beside the graph ---------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread_and_yields_there() -> None:
    threads: set[int] = set()

    async def load(text: str) -> AsyncIterator[str]:
        for number in range(3):
            yield f"load1 {number} {text}"

    def load_plainly(text: str) -> Iterator[str]:
        threads.add(threading.get_ident())
        for number in range(3):
            yield f"load2 {number} {text}"

    async def transform(text: str) -> str:
        return text.title()

    graph: Graph[str, str] = Graph().add(transform, load, load_plainly)
    graph.connect(transform, load).connect(transform, load_plainly)
    found = await graph.map(["hello"])

    assert sorted(found[0]) == [f"load{node} {n} Hello" for node in (1, 2) for n in range(3)]
    assert threading.get_ident() not in threads


async def test_nodes_share_what_the_run_was_given() -> None:
    received: list[str] = []

    async def first(_: object, ctx: Turn) -> AsyncIterator[str]:
        for text in ("hello", "world"):
            ctx.deps[text] = True
            yield text

    async def second(text: str, ctx: Turn) -> None:
        assert ctx.deps[text]
        received.append(text)

    shared: dict[str, bool] = {}
    graph: Graph[None, None] = Graph().add(first, second).connect(first, second)
    await graph.run([None], deps=shared)

    assert received == ["hello", "world"]
    assert shared == {"hello": True, "world": True}


async def test_each_branch_has_a_copy_of_its_own() -> None:
    seen: list[dict[str, int]] = []

    async def source(_: object) -> dict[str, int]:
        return {"count": 0}

    async def change(row: dict[str, int]) -> None:
        row["count"] += 1
        seen.append(row)

    nodes = [stage(change, name=name) for name in ("left", "right")]
    graph: Graph[None, None] = Graph().add(source, *nodes)
    graph.connect(source, "left").connect(source, "right")
    await graph.run([None])

    assert seen == [{"count": 1}, {"count": 1}]
