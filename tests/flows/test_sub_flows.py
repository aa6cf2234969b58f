"""A flow as a node of another: what it says of its stages holds there too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from actorflow import (
    Bulkhead,
    Cache,
    CompilationError,
    DeadLetter,
    Deadline,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    RateLimit,
    Retry,
    StageError,
    Timeout,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, double, increment, outcomes

pytestmark = pytest.mark.usefixtures("autojump_clock")

AGAIN = Retry(3, backoff=Fixed(0))


async def weak(value: int, ctx: Turn) -> int:
    """Works at the third attempt."""
    if ctx.attempt < 3:
        raise Boom(value)
    return ctx.attempt


async def down(value: int) -> int:
    raise Boom(value)


async def slow(value: int) -> int:
    await trio.sleep(10)
    return value


def policies_of(flow: Any, name: str) -> set[str]:
    return {repr(each) for each in flow.plan.stage(name).policies}


@pytest.mark.parametrize(
    "around",
    [
        lambda sub: Pipeline[Any, Any]([increment, sub]),
        lambda sub: Graph[Any, Any]().add(increment, sub).connect(increment, sub),
        lambda sub: Pipeline[Any, Any]([increment, Parallel([sub, [double]])]),
        lambda sub: Pipeline[Any, Any]([increment, Pipeline[Any, Any]([sub], name="middle")]),
    ],
    ids=["pipeline", "graph", "parallel", "twice"],
)
async def test_its_policies_hold_for_its_stages(around: Callable[[Any], Any]) -> None:
    flow = around(Pipeline[Any, Any]([weak], name="sub", policies=[AGAIN]))

    found = await flow.invoke(1)

    assert found in (3, [3, 4])
    assert policies_of(flow, "weak") == {repr(AGAIN)}
    assert policies_of(flow, "increment") == set()


async def test_of_each_kind_the_innermost_policy_holds() -> None:
    own = stage(weak, name="own", policies=[Retry(4)])
    sub = Pipeline[Any, Any]([own, weak], name="sub", policies=[AGAIN])
    middle = Pipeline[Any, Any]([sub, double], name="middle", policies=[Retry(9), Timeout(5)])
    flow = Pipeline[Any, Any]([middle, increment], policies=[Timeout(7)])

    assert policies_of(flow, "own") == {repr(Retry(4)), repr(Timeout(5))}
    assert policies_of(flow, "weak") == {repr(AGAIN), repr(Timeout(5))}
    assert policies_of(flow, "double") == {repr(Retry(9)), repr(Timeout(5))}
    assert policies_of(flow, "increment") == set()
    assert flow.version == Pipeline([own, weak, double, increment]).version


async def test_a_stages_own_timeout_counts_before_its_flows() -> None:
    patient = stage(slow, name="patient", timeout=20)
    sub = Pipeline[Any, Any]([patient, slow], name="sub", policies=[Timeout(1)])

    results = await outcomes(Pipeline([sub]), [1])

    assert [(each.status, each.stage) for each in results] == [("failed", "slow")]


def test_a_cache_of_it_leaves_generators_out() -> None:
    async def each(value: int) -> Any:
        yield value

    sub = Pipeline[Any, Any]([each, double], name="sub", policies=[Cache(60)])
    flow = Pipeline[Any, Any]([sub])

    assert policies_of(flow, "each") == set()
    assert policies_of(flow, "double") == {repr(Cache(60))}


async def test_its_on_failure_hears_of_its_own_dead_letters() -> None:
    heard: list[tuple[str, Any]] = []

    def hears(name: str) -> Callable[[DeadLetter], None]:
        return lambda letter: heard.append((name, letter.stage_or_actor))

    async def odd(value: int) -> int:
        if value % 2:
            raise Boom(value)
        return value

    own = stage(odd, name="own", on_failure=hears("stage"))
    sub = Pipeline[Any, Any]([own, down], name="sub", on_failure=hears("sub"))
    last = Pipeline[Any, Any]([double], name="last")
    flow = Pipeline[Any, Any]([odd, sub, last], on_failure=hears("outer"))

    await flow.run([1, 2])
    await flow.run([3], start="own")

    assert heard == [("outer", "odd"), ("sub", "down"), ("stage", "own")]


async def test_its_halt_ends_the_run() -> None:
    sub = Pipeline[Any, Any]([down], name="sub", on_failure="halt")
    flow = Pipeline[Any, Any]([sub])

    with pytest.raises(StageError, match="stage 'down', item 0"):
        await flow.run(range(100))
    with pytest.raises(StageError, match="stage 'down', item 0"):
        await flow.invoke(1)


@pytest.mark.parametrize("policy", [RateLimit(5), Bulkhead(2), Deadline(9)])
def test_what_is_about_whole_items_is_refused(policy: Any) -> None:
    sub = Pipeline[Any, Any]([double], name="sub", policies=[policy])
    kind = type(policy).__name__

    for build in (lambda: Pipeline([increment, sub]), lambda: Graph().add(sub)):
        with pytest.raises(CompilationError, match=rf"\(flow 'sub'\) has the policy {kind}, .*"):
            build()


class Observer:
    """Hears nothing that matters here."""

    def on_event(self, event: Any) -> None:
        assert event

    def before_stage(self, stage: str, item_id: Any, value: Any) -> None:
        assert stage


async def passing(call: Any, value: Any, ctx: Turn) -> Any:
    return await call(value)


@pytest.mark.parametrize(
    "given", [{"observers": [Observer()]}, {"middleware": [passing]}, {"hooks": [Observer()]}]
)
def test_what_is_about_a_whole_run_is_refused(given: dict[str, Any]) -> None:
    sub = Pipeline[Any, Any]([double], name="sub", **given)

    with pytest.raises(CompilationError) as caught:
        Pipeline([increment, sub], name="outer")

    (name,) = given
    text = f"(flow 'sub') has {name}=, which is about a whole run; give it to 'outer' instead"
    assert str(caught.value) == f"flow 'outer': nodes[1] {text}"
