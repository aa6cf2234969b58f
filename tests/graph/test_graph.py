"""Nodes and edges become one plan, or an error that names the nodes that are in the way."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from actorflow.errors import CompilationError
from actorflow.graph import Edge, Plan, compile_pipeline, stage, to_dot, to_mermaid, to_text
from actorflow.graph.graph import compile_graph
from actorflow.graph.nodes import Batch, Parallel
from actorflow.graph.stage import Stage


async def echo(value: Any) -> Any:
    return value


def named(name: str, **options: Any) -> Stage[Any, Any]:
    return stage(echo, name=name, **options)


def parts(*nodes: Any) -> dict[str, Plan]:
    """Each of *nodes* as a plan, by name: a text is a stage of that name."""
    plans = [
        each if isinstance(each, Plan) else compile_pipeline([_stage(each)], name=str(each))
        for each in nodes
    ]
    return {each.name: each for each in plans}


def _stage(node: Any) -> Any:
    return named(node) if isinstance(node, str) else node


def graph(nodes: Any, *edges: Edge) -> Plan:
    return compile_graph("crawl", parts(*nodes), edges)


def refused(nodes: Any, *edges: Edge) -> CompilationError:
    with pytest.raises(CompilationError) as caught:
        graph(nodes, *edges)
    return caught.value


def ways(plan: Plan) -> list[tuple[str, str]]:
    return [(edge.start, edge.end) for edge in plan.edges]


def back(start: str, end: str, **options: Any) -> Edge:
    return Edge(start, end, feedback=True, **options)


# Where values come in and go out ----------------------------------------------------------


def test_the_only_stage_that_no_edge_leads_to_is_fed() -> None:
    plan = graph("abc", Edge("b", "a"), Edge("b", "c"))

    assert (plan.entry, plan.exits) == ("b", ("a", "c"))
    assert ways(plan) == [("b", "a"), ("b", "c")]


def test_where_there_are_several_all_are_fed_by_a_stage_before_them() -> None:
    plan = graph("abc", Edge("b", "c"))

    assert (plan.entry, plan.exits) == ("before a+b", ("a", "c"))
    assert ways(plan) == [("before a+b", "a"), ("before a+b", "b"), ("b", "c")]


def test_two_graphs_with_several_starts_fit_into_one_flow() -> None:
    first, second = graph("ab"), graph("cd")
    nodes = [type("Inner", (), {"plan": each})() for each in (first, second)]

    plan = compile_pipeline(nodes)

    assert [each.name for each in plan.stages if "before" in each.name] == [
        "before a+b",
        "before c+d",
    ]


def test_a_stage_that_only_feedback_leads_to_is_fed_from_outside() -> None:
    assert graph("ab", Edge("a", "b"), back("b", "a")).entry == "a"


def test_what_only_leads_back_comes_out_if_nothing_else_does() -> None:
    assert graph("ab", Edge("a", "b"), back("b", "a")).exits == ("b",)
    assert graph("abc", Edge("a", "b"), Edge("a", "c"), back("b", "a")).exits == ("c",)


def test_a_graph_without_edges_has_every_stage_at_both_ends() -> None:
    assert graph("ab").exits == ("a", "b")
    assert graph("a").entry == "a"


def test_an_edge_of_a_whole_flow_begins_at_each_of_its_exits_and_ends_at_its_entry() -> None:
    inner = compile_graph("inner", parts("p", "q", "r"), [Edge("p", "q"), Edge("p", "r")])

    plan = graph(["a", inner, "b"], Edge("a", "inner"), Edge("inner", "b"))

    assert ways(plan) == [("p", "q"), ("p", "r"), ("a", "p"), ("q", "b"), ("r", "b")]


def test_joins_of_an_inner_flow_are_those_of_the_graph() -> None:
    inner = compile_pipeline([Parallel([named("p"), named("q")])], name="inner")

    plan = graph(["a", inner], Edge("a", "inner"), back("inner", "a"))

    (join,) = plan.joins
    assert set(plan.inside(join)) == {"p", "q"}  # Not "a", though it comes round again.


# What cannot work -------------------------------------------------------------------------


def test_a_graph_needs_a_stage() -> None:
    assert str(refused([])) == "flow 'crawl': it has no stages; add at least one"


@pytest.mark.parametrize(
    ("edges", "circle", "last"),
    [
        ([("a", "a")], "'a' -> 'a'", "'a', 'a'"),
        ([("a", "b"), ("b", "a")], "'a' -> 'b' -> 'a'", "'b', 'a'"),
        (
            [("d", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")],
            "'a' -> 'b' -> 'c' -> 'a'",
            "'c', 'a'",
        ),
    ],
)
def test_a_circle_is_named_with_the_edge_to_mark(
    edges: list[tuple[str, str]], circle: str, last: str
) -> None:
    error = refused("abcd", *(Edge(*each) for each in edges))

    assert str(error) == (
        f"flow 'crawl': {circle} is a circle; if that is meant, mark the edge that leads back: "
        f"connect({last}, feedback=True)"
    )
    assert error.nodes == tuple(each.strip("'") for each in circle.split(" -> ")[:-1])


def test_what_leads_into_a_circle_or_out_of_it_is_no_part_of_it() -> None:
    error = refused("abcd", Edge("a", "b"), Edge("b", "c"), Edge("c", "b"), Edge("c", "d"))

    assert error.nodes == ("b", "c")


def test_a_circle_of_a_thousand_stages_is_found_without_recursion() -> None:
    names = [f"s{number}" for number in range(1_100)]
    edges = [Edge(here, there) for here, there in itertools.pairwise(names)]

    assert len(graph(names, *edges).stages) == 1_100
    assert len(refused(names, *edges, Edge(names[-1], names[0])).nodes) == 1_100


def test_feedback_that_closes_no_circle_is_a_mistake() -> None:
    error = refused("abc", Edge("a", "b"), Edge("a", "c"), back("b", "c"))

    assert str(error) == (
        "flow 'crawl': the edge 'b' -> 'c' is marked feedback=True and closes no circle; leave the "
        "mark out"
    )
    assert error.nodes == ("b", "c")


def test_feedback_may_lead_from_a_stage_to_itself() -> None:
    assert graph("a", back("a", "a")).exits == ("a",)


def test_feedback_is_no_way_ahead_for_other_feedback() -> None:
    assert graph("abc", Edge("c", "a"), Edge("a", "b"), back("b", "c")).entry == "c"
    error = refused("abc", Edge("a", "b"), Edge("a", "c"), back("b", "a"), back("b", "c"))

    assert error.nodes == ("b", "c")


def test_two_edges_to_one_stage_tell_keys_apart_in_one_way() -> None:
    edges = [Edge("a", "b"), Edge("a", "c"), back("b", "a", dedupe=str)]

    assert graph("abc", *edges, back("c", "a", dedupe=str)).entry == "a"
    assert str(refused("abc", *edges, back("c", "a", dedupe=repr))) == (
        "flow 'crawl': the edges 'b' -> 'a' and 'c' -> 'a' have different functions for dedupe; "
        "give both the same one"
    )


def test_batches_lead_to_no_stage_of_contexts() -> None:
    nodes = ["a", compile_pipeline([named("b", reads=["id"])], name="b")]

    assert str(refused(nodes, Edge("a", "b", batch=Batch(2)))) == (
        "flow 'crawl': the edge 'a' -> 'b' makes batches, and stage 'b' works on one Context at a "
        "time"
    )


def test_a_name_may_stand_once_in_all_parts() -> None:
    inner = compile_pipeline([named("p"), named("a")], name="inner")

    assert str(refused(["a", inner])) == (
        "flow 'crawl': node 'a' and node 'inner' are both named 'a'; "
        "rename one: stage(fn, name='a-2')"
    )


def test_a_branch_with_a_batch_on_an_edge_cannot_be_joined() -> None:
    inner = compile_graph("inner", parts("p", "q"), [Edge("p", "q", batch=Batch(2))])
    node = type("Inner", (), {"plan": inner})()

    with pytest.raises(CompilationError) as caught:
        compile_pipeline([named("a"), Parallel([node, named("b")])], name="shop")

    assert str(caught.value) == (
        "flow 'shop': nodes[1] joins a branch with a batch, in stage 'q'; put the batch before or "
        "behind the Parallel, or say join=False"
    )


# What makes it another flow ---------------------------------------------------------------


def crawl(edge: Edge, **options: Any) -> Plan:
    b = compile_pipeline([named("b", **options)], name="b")
    return compile_graph("crawl", {**parts("a"), "b": b}, [Edge("a", "b"), edge])


FIRST = crawl(back("b", "a"))


@pytest.mark.parametrize(
    ("edge", "line"),
    [
        (back("b", "a", when=bool), "edge 'b' to 'a', when, feedback"),
        (back("b", "a", map=str), "edge 'b' to 'a', map, feedback"),
        (back("b", "a", batch=Batch(2)), "edge 'b' to 'a', feedback, batches"),
        (back("b", "a", dedupe=str), "edge 'b' to 'a', feedback, each key once"),
    ],
)
def test_an_edge_with_another_meaning_makes_another_version_and_is_named(
    edge: Edge, line: str
) -> None:
    assert crawl(edge).version != FIRST.version
    assert set(crawl(edge).identity()) - set(FIRST.identity()) == {line}


def test_a_stage_that_gets_batches_is_another_stage() -> None:
    batched = crawl(back("b", "a"), batch=Batch(2))

    assert set(batched.identity()) - set(FIRST.identity()) == {
        "stage 'b': version 1, gives one value, gets batches"
    }


def test_how_large_and_how_deep_is_not_in_the_version() -> None:
    tuned = crawl(back("b", "a", max_depth=9))
    small, large = (crawl(back("b", "a", batch=Batch(size))) for size in (2, 200))

    assert tuned.version == FIRST.version
    assert small.version == large.version
    assert (
        crawl(back("b", "a"), batch=Batch(2)).version
        == crawl(back("b", "a"), batch=Batch(9, 1.0)).version
    )


def test_a_branch_more_makes_another_version() -> None:
    def joined(*names: str) -> Plan:
        return compile_pipeline([named("a"), Parallel(list(map(named, names)), name="all")])

    assert joined("b", "c").version != joined("b", "c", "d").version
    assert "edge 'a' to 'd', branch 2 of 'all'" in joined("b", "c", "d").identity()


# Batches ----------------------------------------------------------------------------------


def test_a_plan_says_where_the_values_of_a_batch_wait() -> None:
    plan = graph(
        ["a", compile_pipeline([named("b", batch=Batch(2))], name="b"), "c", "d"],
        Edge("a", "b"),
        Edge("a", "c", batch=Batch(2)),
        Edge("a", "d", batch=Batch(2)),
        Edge("b", "d"),
    )

    assert [plan.gather(name) for name in "abcd"] == ["", "gather", "from a", None]


# Drawings ---------------------------------------------------------------------------------

DRAWN = graph(
    "abc",
    Edge("a", "b", when=bool),
    Edge("a", "c", map=str, batch=Batch(3)),
    back("b", "a", max_depth=2),
)


def test_text_says_of_an_edge_what_is_special() -> None:
    assert to_text(DRAWN) == (
        "crawl\n  a -> b (when), c (map, batches of 3)\n  b -> a (feedback)\n  c\n"
    )


def test_mermaid_draws_feedback_dotted() -> None:
    assert to_mermaid(DRAWN).splitlines()[-3:] == [
        '    s0 -->|"when"| s1',
        '    s0 -->|"map#44; batches of 3"| s2',
        '    s1 -.->|"feedback"| s0',
    ]


def test_dot_draws_feedback_dashed() -> None:
    assert to_dot(DRAWN).splitlines()[-4:-1] == [
        '    s0 -> s1 [label="when"];',
        '    s0 -> s2 [label="map, batches of 3"];',
        '    s1 -> s0 [label="feedback", style=dashed, constraint=false];',
    ]


def test_the_table_says_what_each_stage_feeds() -> None:
    rows = DRAWN.explain().splitlines()[3:]

    assert [row.split()[-2:] for row in rows] == [["b,", "c"], ["-", "a"], ["-", "-"]]
