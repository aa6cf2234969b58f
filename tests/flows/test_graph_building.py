"""A graph is put together by hand, and every mistake is named when it is made."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Batch,
    CompilationError,
    ConfigurationError,
    Graph,
    Parallel,
    Pipeline,
    Route,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Gate, counted, outcomes
from tests.flows.test_graphs import graph, named, passing, values


def refused(make: Any) -> str:
    with pytest.raises(CompilationError) as caught:
        make()
    return str(caught.value)


async def later(value: Any) -> Any:
    return value


async def test_nodes_are_called_by_name_by_stage_by_function_or_by_flow() -> None:
    async def double(value: int) -> int:
        return 2 * value

    last, inner = named("last"), Pipeline[Any, Any]([passing("p")], name="inner")
    flow = graph(double, inner, last).connect(double, "inner").connect(inner, last)

    assert await values(flow, [3]) == ["last(6)"]


async def test_a_graph_is_compiled_when_it_is_used_and_may_grow_until_then() -> None:
    flow = graph(named("a"))
    assert await values(flow, [1]) == ["a(1)"]

    flow.add(named("b")).connect("a", "b")

    assert await values(flow, [1]) == ["b(a(1))"]
    assert flow.plan is flow.plan


async def test_a_graph_is_a_node_of_a_pipeline_and_a_pipeline_one_of_a_graph() -> None:
    inner = graph(named("p"), named("q"), named("r")).connect("p", "q").connect("p", "r")
    outer = Pipeline[Any, Any]([named("a"), inner, named("z")])
    assert await values(outer, [1]) == ["z(q(p(a(1))))", "z(r(p(a(1))))"]

    line = Pipeline[Any, Any]([named("b"), named("c")], name="line")
    flow = graph(named("a"), line, named("z")).connect("a", line).connect(line, "z")
    assert await values(flow, [1]) == ["z(c(b(a(1))))"]
    assert flow.plan.exits == ("z",)


async def test_a_flow_in_a_flow_says_of_its_results_which_stage_they_come_from() -> None:
    inner = graph(named("q"), named("r"), name="inner")
    flow = graph(named("a"), inner).connect("a", inner)

    assert {each.stage for each in await outcomes(flow, [1])} == {"q", "r"}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: graph(named("a")).connect("a", "b"),
            "no node is named 'b'; add() it first; it has 'a'",
        ),
        (
            lambda: graph().connect("a", "b"),
            "no node is named 'a'; add() it first; it has nothing yet",
        ),
        (
            lambda: graph(named("a"), named("b")).connect("a", "b").connect("a", "b"),
            "'a' and 'b' are connected already",
        ),
        (
            lambda: graph(named("a"), named("a")),
            "a node is named 'a' already; rename one: stage(fn, name='a-2')",
        ),
        (
            lambda: graph(Pipeline([named("a")]), Pipeline([named("b")])),
            "a node is named 'pipeline' already; rename one: Pipeline(..., name='pipeline-2')",
        ),
        (
            lambda: graph(Parallel([named("a"), named("b")], name="both")),
            "a Parallel is no node; add a Pipeline([...], name=...) with it instead",
        ),
        (
            lambda: graph({"x": named("a")}),
            "a Route is no node; add a Pipeline([...], name=...) with it instead",
        ),
        (
            lambda: graph(Route({"x": named("a")})),
            "a Route is no node; add a Pipeline([...], name=...) with it instead",
        ),
        (lambda: graph(5), "nodes[0] must be a stage, a function or a flow, got 5"),
        (lambda: graph().plan, "it has no stages; add at least one"),
        (
            lambda: graph(named("a"), named("b")).connect("a", "b").connect("b", "a").plan,
            "'a' -> 'b' -> 'a' is a circle; if that is meant, mark the edge that leads back: "
            "connect('b', 'a', feedback=True)",
        ),
        (
            lambda: graph(named("a"), named("b")).connect("b", "a").connect("a", "b").plan,
            "'b' -> 'a' -> 'b' is a circle; if that is meant, mark the edge that leads back: "
            "connect('a', 'b', feedback=True)",
        ),
    ],
)
def test_a_mistake_is_named(make: Any, text: str) -> None:
    assert refused(make) == f"flow 'graph': {text}"


def test_a_stage_object_stands_in_a_flow_once() -> None:
    once = named("once")

    assert "are both named 'once'" in refused(lambda: Pipeline([once, once]))
    assert "are both named 'once'" in refused(lambda: Pipeline([Parallel([once, once])]))
    assert "are both named 'once'" in refused(lambda: graph(Pipeline([once]), once).plan)


@pytest.mark.parametrize("option", ["when", "map", "dedupe"])
def test_what_would_have_to_be_awaited_is_refused(option: str) -> None:
    given: dict[str, Any] = {option: later}

    with pytest.raises(ConfigurationError) as caught:
        graph(named("a")).connect("a", "a", feedback=True, **given)

    assert str(caught.value).startswith(
        f"connect() {option} must be a plain function, not an `async def`, got <function later"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"when": 5}, "connect() when must be a function of the value, got 5"),
        ({"batch": 5}, "connect() batch must be Batch(size, seconds=None), got 5"),
        ({"max_depth": 0}, "connect() max_depth must be a whole number, 1 or more, got 0"),
        ({"max_depth": 2}, "connect() max_depth must be used with feedback=True, got 2"),
        ({"dedupe": str}, "connect() dedupe must be used with feedback=True, got <class 'str'>"),
        ({"feedback": 1}, "connect() feedback must be True or False, got 1"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        graph(named("a"), named("b")).connect("a", "b", **options)

    assert str(caught.value) == text


def test_the_name_of_a_graph_can_stand_in_a_path() -> None:
    with pytest.raises(ConfigurationError, match=r"^Graph\.name must be 1 to 200 printable"):
        Graph("a/b")


def test_the_drawings_of_a_graph_are_those_of_its_plan() -> None:
    flow = graph(named("a"), stage(later, name="b")).connect("a", "b", batch=Batch(2))

    assert flow.to_text() == "graph\n  a -> b (batches of 2)\n  b\n"
    assert '"batches of 2"' in flow.to_mermaid()
    assert 'label="batches of 2"' in flow.to_dot()
    assert flow.explain().startswith(f"flow 'graph', version {flow.version}")


# In which order ---------------------------------------------------------------------------

WAYS = [("a", "c"), ("b", "c"), ("c", "d"), ("c", "e")]


def woven(nodes: str, ways: list[tuple[str, str]] = WAYS) -> Graph[Any, Any]:
    made = graph(*map(named, nodes), name="v")
    for start, end in ways:
        made.connect(start, end)
    return made


def test_the_order_in_which_a_graph_is_put_together_is_no_part_of_its_version() -> None:
    flow = woven("abcde")

    for nodes in ("edcba", "cabed"):
        for ways in (WAYS, WAYS[::-1]):
            other = woven(nodes, ways)
            assert other.version == flow.version
            assert Pipeline([named("x"), other]).version == Pipeline([named("x"), flow]).version
            assert graph(other).version == graph(flow).version
    assert woven("abcde", WAYS[:3]).version != flow.version
    assert Pipeline([flow, named("x")]).version != Pipeline([named("x"), flow]).version
    assert Pipeline(map(named, "ab")).version != Pipeline(map(named, "ba")).version


@pytest.mark.parametrize("earlier", [False, True])
async def test_a_run_goes_on_with_a_graph_that_was_put_together_in_another_order(
    earlier: bool,
) -> None:
    disk, gate = MemoryDisk(), Gate()

    def waits(nodes: str) -> Any:
        made = graph(*(stage(gate, name="c") if each == "c" else named(each) for each in nodes))
        for start, end in WAYS:
            made.connect(start, end)
        return made

    flow = waits("abcde")
    if earlier:  # A release that had the lines in the order of declaration.
        flow._compiled = attrs.evolve(flow.plan, loose=())
        flow._compiled = attrs.evolve(flow.plan, stages=flow.plan.stages[::-1])
    async with flow.open(store=MemoryStore(disk=disk), run_id="run") as run:
        await run.feed([1, 2])
        await wait_all_tasks_blocked()
        await run.stop()

    gate.open()
    found: list[Any] = []
    other = waits("ecdba")
    report = await other.run(store=MemoryStore(disk=disk), run_id="run", sink=found.append)

    assert report.counts == counted(fed=2, done=2)
    ways = [f"{end}({way}({value}))" for end in "de" for way in "ab" for value in (1, 2)]
    assert sorted(found) == ways
    assert (other.version == flow.version) is not earlier
