"""Branches, routes and batches: what may be declared, and which edges come of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest

from actorflow.errors import CompilationError, ConfigurationError
from actorflow.graph import Plan, compile_pipeline, stage, to_text
from actorflow.graph.nodes import UNCHANGED, Batch, Parallel, Route, Send
from actorflow.graph.stage import Stage


async def echo(value: Any) -> Any:
    return value


async def pages(value: Any) -> AsyncIterator[Any]:
    yield value


def named(name: str, **options: Any) -> Stage[Any, Any]:
    return stage(echo, name=name, **options)


a, b, c, d, e = map(named, "abcde")

#: What a type checker would not let through.
any_batch: Any = Batch
any_parallel: Any = Parallel
any_route: Any = Route


def edges(plan: Plan) -> list[tuple[str, str, str]]:
    """From where, to where, and which branch of which join begins there."""
    return [
        (each.start, each.end, "" if each.join is None else f"{each.slot} of {each.join}")
        for each in plan.edges
    ]


def refused(nodes: Any, **options: Any) -> CompilationError:
    with pytest.raises(CompilationError) as caught:
        compile_pipeline(nodes, name="shop", **options)
    return caught.value


def declined(make: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make()
    return str(caught.value)


@attrs.define
class Order:
    count: int


async def later(value: Any) -> Any:
    return value


class Later:
    async def __call__(self, value: Any) -> Any:
        return value


# Declarations -----------------------------------------------------------------------------


def test_a_batch_has_a_size_and_perhaps_a_time_and_a_key() -> None:
    batch = Batch(100, 1.5, str)

    assert (batch.size, batch.seconds, batch.key) == (100, 1.5, str)
    assert Batch(1) == Batch(1, None, None)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Batch(0), "Batch.size must be a whole number, 1 or more, got 0"),
        (lambda: Batch(True), "Batch.size must be a whole number, 1 or more, got True"),
        (lambda: Batch(1, 0), "Batch.seconds must be a number of seconds, above 0, got 0"),
        (lambda: any_batch(1, key="x"), "Batch.key must be a function of the value, got 'x'"),
        (lambda: Parallel("ab"), "Parallel.branches must be a list, such as [spell, price], "),
        (lambda: Parallel({a, b}), "Parallel.branches must be a list, such as [spell, price], "),
        (
            lambda: any_parallel(5),
            "Parallel.branches must be a list, such as [spell, price], got 5",
        ),
        (lambda: Parallel([]), "Parallel.branches must be at least one branch, got []"),
        (lambda: Parallel({}), "Parallel.branches must be at least one branch, got {}"),
        (lambda: any_parallel([a], join=1), "Parallel.join must be True or False, got 1"),
        (lambda: Parallel([a], name=""), "Parallel.name must be 1 to 200 printable characters"),
        (lambda: Route({}), "Route.table must be at least one route, got {}"),
        (
            lambda: any_route({1: a}),
            "Route.table key must be a text, such as '1', which a stage chooses by Send('1'), "
            "got 1",
        ),
        (
            lambda: any_route([a]),
            "Route.table must be a dict, such as {'gold': [vip]}, got [<Stage",
        ),
    ],
)
def test_what_can_never_work_is_refused_when_it_is_declared(make: Any, text: str) -> None:
    assert declined(make).startswith(text)


@pytest.mark.parametrize("key", [later, Later()])
def test_a_key_that_would_have_to_be_awaited_is_refused(key: Any) -> None:
    wanted = "Batch.key must be a plain function, not an `async def`, got "

    assert declined(lambda: Batch(2, key=key)).startswith(wanted)


@pytest.mark.parametrize("options", [{"reads": ["a"]}, {"writes": ["a"]}, {"input_schema": Order}])
def test_a_stage_of_mappings_gets_no_batches(options: Any) -> None:
    text = declined(lambda: stage(echo, name="total", batch=Batch(2), **options))

    assert text.startswith(
        "stage 'total'.batch must be left out, as the stage works on one mapping at a time, "
        "and a batch is a list, got Batch("
    )


def test_nodes_show_what_they_are() -> None:
    assert repr(Parallel([a, b])) == "<Parallel of 2>"
    assert repr(Parallel([a], join=False)) == "<Parallel of 1, not joined>"
    assert repr(Route({"gold": a, "tin": b})) == "<Route 'gold', 'tin'>"
    assert (repr(Send("x")), Send("x").patch) == ("Send(route='x', patch=unchanged)", UNCHANGED)


# Parallel ---------------------------------------------------------------------------------


def test_branches_fork_behind_the_stage_before_and_meet_in_a_stage_of_their_names() -> None:
    plan = compile_pipeline([a, Parallel([b, [c, d]]), e])

    assert edges(plan) == [
        ("a", "b", "0 of b+c"),
        ("a", "c", "1 of b+c"),
        ("c", "d", ""),
        ("b", "b+c", ""),
        ("d", "b+c", ""),
        ("b+c", "e", ""),
    ]
    assert (plan.entry, plan.exits) == ("a", ("e",))
    assert plan.inside(plan.joins[0]) == ("c", "d", "b")


def test_branches_at_the_beginning_have_a_stage_before_them_that_passes_values_on() -> None:
    plan = compile_pipeline([Parallel([a, b], name="both")])

    assert [each.name for each in plan.stages] == ["before both", "a", "b", "both"]
    assert (plan.entry, plan.exits) == ("before both", ("both",))


def test_names_of_branches_are_kept_for_the_joined_value() -> None:
    plan = compile_pipeline([a, Parallel({"left": b, "right": c})])

    (join,) = plan.joins
    assert (join.stage, join.keys) == ("b+c", ("left", "right"))


def test_a_branch_with_a_generator_anywhere_gives_a_list() -> None:
    plan = compile_pipeline(
        [a, Parallel([[b, stage(pages)], c, Parallel([d, stage(e, name="f")])])]
    )

    assert [(join.stage, join.many) for join in plan.joins] == [
        ("d+f", (False, False)),
        ("b+c+d+f", (True, False, False)),
    ]


def test_parallels_nest_to_any_depth() -> None:
    plan = compile_pipeline([a, Parallel([Parallel([Parallel([b, c]), d]), e])])

    joins = [join.stage for join in plan.joins]
    assert joins == ["b+c", "b+c+d", "b+c+d+e"]
    assert [join.stage for join in plan.within("b")] == ["b+c+d+e", "b+c+d", "b+c"]
    assert [join.stage for join in plan.within("b+c")] == ["b+c+d+e", "b+c+d"]
    assert plan.within("a") == plan.within("b+c+d+e") == ()


def test_without_a_join_the_item_goes_on_from_where_it_was() -> None:
    plan = compile_pipeline([a, Parallel([b, c], join=False), d])

    assert edges(plan) == [("a", "b", ""), ("a", "c", ""), ("a", "d", "")]
    assert (plan.exits, plan.joins) == (("d",), ())


def test_a_branch_that_nobody_waits_for_is_not_inside_the_one_that_it_leaves() -> None:
    plan = compile_pipeline([a, Parallel([[b, Parallel([c], join=False)], d])])

    assert set(plan.inside(plan.joins[0])) == {"b", "d"}
    assert plan.within("c") == ()


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (
            [a, Parallel([b, b])],
            "nodes[1].branches[0][0] and nodes[1].branches[1][0] are both named 'b'; "
            "rename one: stage(fn, name='b-2')",
        ),
        (
            [a, Parallel([b, []])],
            "nodes[1].branches[1] is empty; give it at least one stage or function",
        ),
        (
            [a, Parallel([b, [c, 5]])],
            "nodes[1].branches[1][1] must be a stage, a function or a flow, got 5",
        ),
        (
            [a, Parallel([[b, named("total", batch=Batch(2))], c])],
            "nodes[1] joins a branch with a batch, in stage 'total'; put the batch before or "
            "behind the Parallel, or say join=False",
        ),
        (
            [Parallel([named("x", writes=["cents"]), [b, named("y", writes=["cents"])]])],
            "nodes[0]: 'x' and 'y' both write 'cents'; let each write a key of its own",
        ),
    ],
)
def test_a_mistake_in_a_branch_is_named_with_its_place(nodes: Any, text: str) -> None:
    assert str(refused(nodes)) == f"flow 'shop': {text}"


def test_the_error_has_the_nodes_that_it_is_about() -> None:
    both = [named("x", writes=["cents"]), named("y", writes=["cents"])]

    assert refused([Parallel(both)]).nodes == ("x", "y")


def test_a_batch_may_stand_in_a_branch_that_nobody_waits_for() -> None:
    total = named("total", batch=Batch(2))

    assert compile_pipeline([a, Parallel([[b, total]], join=False), c]).stage("total") is total


def test_what_two_branches_write_is_looked_at_only_where_they_are_joined() -> None:
    both = [named("x", writes=["cents"]), named("y", writes=["cents"])]

    assert compile_pipeline([a, Parallel(both, join=False)]).joins == ()


# Route ------------------------------------------------------------------------------------


def test_routes_begin_at_the_stage_before_and_all_go_on_to_the_one_behind() -> None:
    plan = compile_pipeline([a, Route({"gold": [b, c], "tin": d}), e])

    assert [(each.start, each.end, each.route) for each in plan.edges] == [
        ("a", "b", "gold"),
        ("b", "c", None),
        ("a", "d", "tin"),
        ("c", "e", None),
        ("d", "e", None),
    ]


def test_a_dict_is_short_for_a_route() -> None:
    table = {"gold": b, "tin": [c]}

    assert compile_pipeline([a, table]).edges == compile_pipeline([a, Route(table)]).edges


def test_the_default_takes_what_no_other_route_has() -> None:
    plan = compile_pipeline([a, Route({"gold": b}, default=c)])

    assert [(each.end, each.route, each.otherwise) for each in plan.edges] == [
        ("b", "gold", False),
        ("c", None, True),
    ]
    assert to_text(plan).splitlines()[1] == "  a -> b (gold), c (otherwise)"


def test_routes_nest_behind_a_stage_of_the_route() -> None:
    plan = compile_pipeline([a, {"gold": [b, {"new": c, "old": d}]}, e])

    assert [(each.start, each.end, each.route) for each in plan.edges if each.route] == [
        ("a", "b", "gold"),
        ("b", "c", "new"),
        ("b", "d", "old"),
    ]


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([{"x": a}], "nodes[0] is a Route; put the stage before it that returns Send(...)"),
        (
            [a, {"x": [{"y": b}]}],
            "nodes[1]['x'][0] is a Route; put the stage before it that returns Send(...)",
        ),
        (
            [a, Parallel([{"x": b}, c])],
            "nodes[1].branches[0][0] is a Route; put the stage before it that returns Send(...)",
        ),
        (
            [a, Parallel([b, c]), {"x": d}],
            "nodes[2] is a Route behind 'b+c', which returns no Send(...); put a stage between "
            "them that does",
        ),
        ([a, {"x": []}], "nodes[1]['x'] is empty; give it at least one stage or function"),
        (
            [a, {1: b}],
            "nodes[1]: Route.table key must be a text, such as '1', which a stage chooses by "
            "Send('1'), got 1",
        ),
        (
            [a, Route({"x": b}, default=[])],
            "nodes[1].default is empty; give it at least one stage or function",
        ),
        (
            [a, {"x": b, "y": b}],
            "nodes[1]['x'][0] and nodes[1]['y'][0] are both named 'b'; "
            "rename one: stage(fn, name='b-2')",
        ),
    ],
)
def test_a_mistake_in_a_route_is_named_with_its_place(nodes: Any, text: str) -> None:
    assert str(refused(nodes)) == f"flow 'shop': {text}"


# Side by side on their own ----------------------------------------------------------------


def declares(name: str, reads: list[str], writes: list[str], **options: Any) -> Stage[Any, Any]:
    return stage(echo, name=name, reads=reads, writes=writes, **options)


PRICE = declares("price", ["id"], ["price"])
STOCK = declares("stock", ["id"], ["stock"])
TOTAL = declares("total", ["price", "stock"], ["total"])


def test_stages_that_need_nothing_of_each_other_run_side_by_side() -> None:
    plan = compile_pipeline([a, PRICE, STOCK, TOTAL])

    assert edges(plan) == [
        ("a", "price", "0 of price+stock"),
        ("a", "stock", "1 of price+stock"),
        ("price", "price+stock", ""),
        ("stock", "price+stock", ""),
        ("price+stock", "total", ""),
    ]
    assert [join.strict for join in plan.joins] == [True]


def test_that_can_be_switched_off() -> None:
    plan = compile_pipeline([a, PRICE, STOCK], auto_parallel=False)

    assert edges(plan) == [("a", "price", ""), ("price", "stock", "")]


@pytest.mark.parametrize(
    "second",
    [
        declares("second", ["price"], ["x"]),  # reads what is written
        declares("second", ["x"], ["id"]),  # writes what is read
        declares("second", ["x"], ["price"]),  # writes the same
        stage(echo, name="second", reads=["x"]),  # does not say what it writes
        stage(echo, name="second", writes=["x"]),  # does not say what it reads
        b,
        compile_pipeline([b]),
    ],
)
def test_stages_stay_in_a_row_if_one_may_need_the_other(second: Any) -> None:
    node = second if isinstance(second, Stage) else type("Inner", (), {"plan": second})()
    plan = compile_pipeline([PRICE, node])

    assert (plan.joins, len(plan.edges)) == ((), 1)


def test_a_stage_before_a_route_stays_before_it() -> None:
    plan = compile_pipeline([a, PRICE, STOCK, {"x": b}])

    assert (plan.joins, plan.successors("stock")) == ((), ("b",))


def test_stages_in_a_branch_are_looked_at_too_and_places_are_those_that_were_written() -> None:
    plan = compile_pipeline([a, Parallel([[PRICE, STOCK], b])])

    assert [join.stage for join in plan.joins] == ["price+stock", "price+b"]
    assert str(refused([a, PRICE, STOCK, a])) == (
        "flow 'shop': nodes[0] and nodes[3] are both named 'a'; rename one: stage(fn, name='a-2')"
    )
