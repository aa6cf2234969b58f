"""A list of nodes becomes one plan, or an error that names flow, position and value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest

from actorflow.errors import CompilationError, ConfigurationError
from actorflow.graph import Edge, Plan, compile_pipeline, stage


async def fetch(url: str) -> str:
    return url


def parse(page: str) -> int:
    return len(page)


def save(size: int) -> None: ...


async def crawl(url: str) -> AsyncIterator[str]:
    yield url


@attrs.frozen
class Flow:
    """What the public `Pipeline` is to the compiler: something with a plan."""

    plan: Plan


def flow(*nodes: Any, name: str) -> Flow:
    return Flow(compile_pipeline(nodes, name=name))


def pairs(plan: Plan) -> tuple[tuple[str, str], ...]:
    """From where to where the edges go, which all are plain."""
    assert all(edge.plain for edge in plan.edges)
    return tuple((edge.start, edge.end) for edge in plan.edges)


def message(nodes: Any, name: str | None = "crawl") -> str:
    with pytest.raises(CompilationError) as caught:
        compile_pipeline(nodes, name=name)
    return str(caught.value)


def test_each_node_feeds_the_next() -> None:
    download = stage(fetch, name="download", workers=8)

    plan = compile_pipeline([download, parse, save], name="crawl")

    assert plan.name == "crawl"
    assert [each.name for each in plan.stages] == ["download", "parse", "save"]
    assert pairs(plan) == (("download", "parse"), ("parse", "save"))
    assert (plan.entry, plan.exits) == ("download", ("save",))


def test_a_stage_is_used_as_it_is_and_a_function_with_the_defaults() -> None:
    download = stage(fetch, workers=8)

    first, second = compile_pipeline([download, parse]).stages

    assert first is download
    assert (second.fn, second.workers, second.runs_in) == (parse, 1, "thread")


def test_one_node_is_entry_and_exit() -> None:
    plan = compile_pipeline([fetch])

    assert (plan.entry, pairs(plan), plan.exits) == ("fetch", (), ("fetch",))


def test_a_flow_without_a_name_is_called_pipeline() -> None:
    assert compile_pipeline([fetch]).name == "pipeline"
    assert compile_pipeline([fetch], name=None).name == "pipeline"


@pytest.mark.parametrize("nodes", [[fetch, parse], (fetch, parse), iter([fetch, parse])])
def test_any_ordered_collection_of_nodes_will_do(nodes: Any) -> None:
    assert pairs(compile_pipeline(nodes)) == (("fetch", "parse"),)


def test_a_flow_inside_a_flow_is_laid_out_in_its_place() -> None:
    inner = flow(parse, stage(parse, name="count"), name="reading")
    outer = flow(fetch, inner, save, name="crawl")

    assert [each.name for each in outer.plan.stages] == ["fetch", "parse", "count", "save"]
    assert pairs(outer.plan) == (("fetch", "parse"), ("parse", "count"), ("count", "save"))
    assert (outer.plan.entry, outer.plan.exits) == ("fetch", ("save",))


def test_flows_nest_as_deep_as_one_likes_and_stand_at_either_end() -> None:
    nested = flow(flow(flow(fetch, name="a"), parse, name="b"), flow(save, name="c"), name="d")

    assert pairs(nested.plan) == (("fetch", "parse"), ("parse", "save"))
    assert (nested.plan.entry, nested.plan.exits) == ("fetch", ("save",))


def test_a_part_with_several_ends_feeds_the_next_from_each() -> None:
    a, b, c = (stage(parse, name=name) for name in "abc")
    fork = Plan(
        name="fork",
        stages=(a, b, c),
        edges=(Edge("a", "b"), Edge("a", "c")),
        entry="a",
        exits=("b", "c"),
    )

    plan = compile_pipeline([fetch, Flow(fork), save])

    assert pairs(plan) == (
        ("fetch", "a"),
        ("a", "b"),
        ("a", "c"),
        ("b", "save"),
        ("c", "save"),
    )


def test_two_stages_of_one_name_are_an_error_that_says_how_to_rename_one() -> None:
    with pytest.raises(CompilationError) as caught:
        compile_pipeline([fetch, parse, fetch], name="crawl")

    assert str(caught.value) == (
        "flow 'crawl': nodes[0] and nodes[2] are both named 'fetch'; "
        "rename one: stage(fn, name='fetch-2')"
    )
    assert (caught.value.flow, caught.value.nodes) == ("crawl", ("fetch",))


def test_the_name_that_the_error_proposes_works() -> None:
    again = stage(stage(fetch, workers=3), name="fetch-2")

    assert pairs(compile_pipeline([fetch, again])) == (("fetch", "fetch-2"),)


def test_a_name_doubled_by_an_inner_flow_is_placed_there() -> None:
    assert message([fetch, flow(parse, fetch, name="inner")]) == (
        "flow 'crawl': nodes[0] and nodes[1] (flow 'inner') are both named 'fetch'; "
        "rename one: stage(fn, name='fetch-2')"
    )


def test_two_lambdas_need_names() -> None:
    assert message([lambda value: value, lambda value: value]) == (
        "flow 'crawl': nodes[0] and nodes[1] are both named 'lambda'; "
        "rename one: stage(fn, name='lambda-2')"
    )


def test_a_flow_needs_a_node() -> None:
    assert message([]) == "flow 'crawl': it has no nodes; give it at least one stage or function"


@pytest.mark.parametrize(
    "nodes", ["fetch", b"", 5, None, fetch, stage(fetch), {"a": fetch}, {fetch}]
)
def test_nodes_that_are_no_list_are_an_error(nodes: Any) -> None:
    assert message(nodes) == (
        f"flow 'crawl': nodes must be a list, such as [fetch, parse], got {nodes!r}"
    )


@pytest.mark.parametrize("value", ["parse", None, 5, [parse], b""])
def test_what_is_no_node_is_named_with_its_position(value: Any) -> None:
    assert message([fetch, value]) == (
        f"flow 'crawl': nodes[1] must be a stage, a function or a flow, got {value!r}"
    )


@pytest.mark.parametrize("fn", [fetch, crawl])
def test_a_call_among_the_nodes_is_an_error_that_shows_the_function(fn: Callable[..., Any]) -> None:
    called = fn("a")

    assert message([fetch, called]) == (
        f"flow 'crawl': nodes[1] must be the function itself: write {fn.__name__}, "
        f"not {fn.__name__}(...), got {called!r}"
    )


def test_a_function_that_cannot_be_a_stage_is_named_with_its_position() -> None:
    def nothing() -> None: ...

    assert message([fetch, nothing]) == (
        "flow 'crawl': nodes[1]: stage 'nothing' must be a function of one value, "
        "`def nothing(value)` or `def nothing(value, ctx)` (bind other parameters with "
        "functools.partial, or spread a tuple or dict with unpack=True), "
        "got \"def nothing() -> 'None'\""
    )


@pytest.mark.parametrize("name", ["", "a/b", 5, "two\nlines"])
def test_a_flow_has_a_name_that_can_stand_in_a_path(name: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_pipeline([fetch], name=name)

    assert str(caught.value) == (
        f"Pipeline.name must be 1 to 200 printable characters without '/', got {name!r}"
    )
