"""Flows that Hypothesis draws: real ones, shrinking to one stage, printing as Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from actorflow import ConfigurationError, Graph, Pipeline
from actorflow.flows.flow import Flow
from actorflow.testing import World, fault_plans, flow_script, flows, plain, simulate
from actorflow.testing.draws import Seeded
from actorflow.testing.flow_handlers import AGAIN
from actorflow.testing.flow_plans import Choice, Fork, Net, steps_of
from actorflow.testing.flow_strategies import DEEDS, draw_flow

FIND = settings(max_examples=500, database=None, derandomize=True, deadline=None)
SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def made_again(flow: Any) -> Any:
    names: dict[str, Any] = {}
    exec(flow_script(flow), names)
    return names["flow"]


@given(flow=flows())
@SOME
def test_what_it_prints_makes_it_again(flow: Any) -> None:
    again = made_again(flow)

    assert isinstance(again, Flow)
    assert again.version == flow.version
    assert again.explain() == flow.explain()


@given(flow=flows(policies=[AGAIN]), items=st.integers(1, 4), plan=fault_plans(max_faults=2))
@SOME
def test_it_gives_what_a_plain_function_says_over_any_fault(
    flow: Any, items: int, plan: Any
) -> None:
    expected = plain(flow, range(items))

    async def main(world: World) -> None:
        report = await flow.run(range(items), store=world.store, run_id="run", results="store")
        assert Counter(str(each.value) for each in world.results("run") if each.ok) == (
            expected.values
        )
        assert expected.counts in (None, dict(report.counts))

    simulate(main, faults=plan)


def smallest(condition: Callable[[Any], bool]) -> Any:
    return find(flows(max_stages=4), condition, settings=FIND)


def test_the_simplest_flow_is_one_stage() -> None:
    assert repr(smallest(lambda flow: True)) == "Pipeline([stage(mark, name='a')], name='drawn')"


@pytest.mark.parametrize("deed", ["several", "flaky", "remote"])
def test_each_handler_shrinks_to_a_flow_of_its_own(deed: str) -> None:
    flow = smallest(lambda flow: any(step.does == deed for step in steps_of(flow.row)))

    assert [step.does for step in steps_of(flow.row)] == [deed]


@pytest.mark.slow
def test_batches_routes_branches_and_graphs_shrink_to_little() -> None:
    def with_a(kind: Any) -> Callable[[Any], bool]:
        return lambda flow: any(isinstance(each, kind) for each in flow.row)

    fork, choice = smallest(with_a(Fork)), smallest(with_a(Choice))
    assert "Parallel([[stage(mark, name=" in repr(fork)
    assert "Route({'even': [stage(mark, name=" in repr(choice)
    assert len(list(steps_of(fork.row))) <= 2
    assert len(list(steps_of(choice.row))) <= 4
    batch = smallest(lambda flow: any(each.does == "gather" for each in steps_of(flow.row)))
    assert "batch=Batch(size=1, seconds=None, key=None)" in repr(batch)
    assert len(list(steps_of(batch.row))) <= 2


@pytest.mark.slow
def test_a_way_back_shrinks_to_one_stage() -> None:
    back = smallest(lambda flow: any(isinstance(each, Net) and each.back for each in flow.row))

    assert "feedback=True, max_depth=1" in repr(back)
    assert len(back.plan.stages) <= 2


def test_it_may_be_a_graph_or_a_pipeline() -> None:
    assert isinstance(smallest(lambda flow: isinstance(flow, Graph)), Graph)
    assert isinstance(smallest(lambda flow: True), Pipeline)


def test_every_handler_and_option_is_drawn() -> None:
    drawn = [draw_flow(Seeded(seed), 8, "f") for seed in range(300)]
    deeds = {step.does for flow in drawn for step in steps_of(flow.row)}
    options = {name for flow in drawn for step in steps_of(flow.row) for name, _ in step.options}

    assert deeds == {*DEEDS, "gather", "odd_or_even"}
    assert options == {"workers", "capacity", "key", "batch", "policies", "runs_in"}
    assert max(len(flow.plan.stages) for flow in drawn) > 8  # Joins are stages too.
    assert max(sum(1 for _ in steps_of(flow.row)) for flow in drawn) <= 8


@given(flow=flows(max_stages=1, name="tiny"))
def test_size_and_name_are_chosen(flow: Any) -> None:
    assert (flow.name, len(flow.plan.stages)) == ("tiny", 1)


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"max_stages": 0}, "flows() max_stages"),
        ({"max_stages": 27}, "26 at most"),
        ({"name": "a/b"}, "flows() name"),
    ],
)
def test_a_wrong_argument_is_named(given_: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        flows(**given_)

    assert text in str(wrong.value)


def test_an_option_of_the_flow_is_in_its_script() -> None:
    flow = draw_flow(Seeded(0), 1, "f", policies=[AGAIN])

    assert "policies=[AGAIN]" in flow_script(flow)
    assert made_again(flow).policies == flow.policies
