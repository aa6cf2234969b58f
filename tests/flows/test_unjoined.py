"""Branches that nobody waits for; and ways into and out of those that somebody does."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import (
    CircuitBreaker,
    ConfigurationError,
    Divert,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    StageError,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, counted, outcomes, pipeline
from tests.flows.test_graphs import named, passing
from tests.flows.test_parallel import died, fails, slow, soon

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_the_item_comes_out_at_once_and_ends_when_all_have_ended() -> None:
    flow = pipeline([named("a"), Parallel([slow], join=False), named("z")])

    async with flow.open() as run:
        results = run.results()
        await run.feed([1])
        assert ((await anext(results)).value, trio.current_time()) == ("z(a(1))", 0)
        assert run.stats().counts == counted(fed=1, held=1)
        report = await run.finish()

    assert (report.counts, report.duration) == (counted(fed=1, done=1), 100)


async def test_what_such_a_branch_gives_is_dropped() -> None:
    flow = pipeline([named("a"), Parallel([named("b"), [named("c"), named("d")]], join=False)])

    (result,) = await outcomes(flow, [1])
    assert (result.value, result.stage) == ("a(1)", "a")


async def test_one_that_fails_is_a_dead_letter_and_no_fault_of_the_item() -> None:
    flow = pipeline([named("a"), Parallel([fails, named("b")], join=False), named("z")])

    results = await outcomes(flow, [1])

    assert [(each.status, each.stage) for each in results] == [("done", "z")]
    report = await flow.run([1])
    assert (report.counts, len(report.dead)) == (counted(fed=1, done=1), 1)
    assert report.stages["fails"].failed == 1


async def test_invoke_returns_when_the_value_is_out_and_hears_of_no_failure() -> None:
    done: list[Any] = []

    async def late(value: Any) -> None:
        await trio.sleep(300)
        done.append(value)

    flow = pipeline([named("a"), Parallel([late, fails], join=False), stage(slow, name="z")])
    async with flow:
        assert (await flow.invoke(1), trio.current_time()) == ("a(1)", 100)
        assert await flow.map([1, 2]) == ["a(1)", "a(2)"]

    assert sorted(done) == ["a(1)", "a(1)", "a(2)"]


async def test_closing_a_flow_gives_them_time_to_end() -> None:
    done: list[Any] = []

    async def late(value: Any) -> None:
        await trio.sleep(20)
        done.append(value)

    async def for_ever(value: Any) -> None:
        await trio.sleep_forever()

    async with pipeline([named("a"), Parallel([late, for_ever], join=False)]) as flow:
        assert (await flow.invoke(1), trio.current_time()) == ("a(1)", 0)

    assert done == ["a(1)"]
    assert 30 <= trio.current_time() < 35


async def test_a_failure_of_the_item_itself_is_told_at_once_though_a_branch_goes_on() -> None:
    flow = pipeline([named("a"), Parallel([slow], join=False), fails])

    with pytest.raises(StageError) as caught:
        await flow.invoke(1)

    assert (caught.value.stage, trio.current_time()) == ("fails", 0)


async def test_branches_that_are_joined_in_one_that_nobody_waits_for_fail_together() -> None:
    inner = [Parallel([fails, slow]), named("never")]
    flow = pipeline([named("a"), Parallel([inner], join=False), named("z")])

    report = await flow.run([1])

    assert (report.counts, report.stages["never"].received) == (counted(fed=1, done=1), 0)
    assert {(each.stage_or_actor, each.reason) for each in report.dead} == {
        ("fails", "failed"),
        ("slow", "sibling_failed"),
    }


async def test_in_a_joined_branch_nobody_waits_for_it_either() -> None:
    inner = [named("b"), Parallel([slow], join=False), named("d")]
    flow = pipeline([named("a"), Parallel([inner, named("c")]), named("z")])

    async with flow.open() as run:
        results = run.results()
        await run.feed([1])
        value = (await anext(results)).value
        assert (value, trio.current_time()) == ("z(['d(b(a(1)))', 'c(a(1))'])", 0)
        assert (await run.finish()).counts == counted(fed=1, done=1)


async def test_there_its_failure_calls_nobody_off() -> None:
    inner = [named("b"), Parallel([fails], join=False)]
    flow = pipeline([Parallel([inner, slow]), named("z")])

    results = await outcomes(flow, [1])

    assert [(each.status, each.stage) for each in results] == [("done", "z")]
    report = await flow.run([1])
    assert (report.counts, len(report.dead)) == (counted(fed=1, done=1), 1)


async def test_nor_is_it_called_off_itself() -> None:
    done: list[Any] = []

    async def late(value: Any) -> None:
        await trio.sleep(50)
        done.append(value)

    inner = [named("b"), Parallel([late], join=False), stage(slow, name="d")]
    flow = pipeline([Parallel([inner, soon])])

    report = await flow.run([1])

    assert (done, trio.current_time()) == (["b(1)"], 50)
    assert {each.stage_or_actor for each in report.dead} == {"soon", "d"}


async def test_a_branch_that_sends_all_it_has_there_has_skipped() -> None:
    async def only_aside(value: Any, ctx: Turn) -> None:
        ctx.emit(value, to="late")
        ctx.skip()

    inner = [stage(only_aside), Parallel([named("late")], join=False), named("d")]
    flow = pipeline([Parallel([inner, named("c")]), named("z")])

    assert [each.value for each in await outcomes(flow, [1])] == ["z([None, 'c(1)'])"]


async def test_what_left_a_branch_and_what_goes_on_behind_the_join_have_ids_of_their_own() -> None:
    ids: list[str] = []

    async def tell(value: Any, ctx: Turn) -> Any:
        ids.append(ctx.message_id)
        if ctx.stage.startswith("late"):
            await trio.sleep(50)
        return value

    def both(number: int) -> Parallel:
        leaves = Parallel([stage(tell, name=f"late{number}")], join=False)
        return Parallel([[stage(tell, name=f"b{number}"), leaves], passing(f"c{number}")])

    await pipeline([both(1), both(2)]).run([1])

    assert ids == ["0.-1", "0.-1.0", "0.0.-1", "0.0.-1.0"]


async def test_in_order_nobody_waits_for_a_branch_either() -> None:
    async def uneven(value: str) -> None:
        await trio.sleep(100 if value == "a(0)" else 0)

    flow = pipeline([named("a"), Parallel([stage(uneven, workers=3)], join=False)])

    async with flow.stream(range(3), ordered=True) as results:
        found = [(result.value, trio.current_time()) async for result in results]

    assert found == [("a(0)", 0), ("a(1)", 0), ("a(2)", 0)]


# Ways in and out --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["b", "c", "b+c"])
async def test_nothing_is_fed_into_branches_that_are_joined(where: str) -> None:
    flow = pipeline([named("a"), Parallel([named("b"), named("c")]), named("d")])

    async with flow.open() as run:
        for feed in (run.feed([1], stage=where), run.submit(1, stage=where)):
            with pytest.raises(ConfigurationError) as caught:
                await feed
            assert str(caught.value) == (
                "feed() stage must be a stage outside the branches that are joined in 'b+c', "
                f"got {where!r}"
            )
        assert (await run.feed([1], stage="d")) == [0]
        assert (await run.finish()).counts == counted(fed=1, done=1)


async def test_stages_that_run_side_by_side_on_their_own_are_such_branches() -> None:
    def declared(name: str) -> Any:
        return stage(passing(name), reads=["id"], writes=[name])

    stages = [declared("price"), declared("stock")]
    async with pipeline(stages).open() as run:
        with pytest.raises(ConfigurationError, match="joined in 'price\\+stock'"):
            await run.feed([{}], stage="stock")

    async with pipeline(stages, auto_parallel=False).open() as run:
        assert await run.feed([{"id": 1}], stage="stock") == [0]


async def test_a_branch_that_nobody_waits_for_can_be_fed() -> None:
    inner = [named("b"), Parallel([named("late")], join=False)]
    flow = pipeline([Parallel([inner, named("c")])])

    async with flow.open() as run:
        await run.feed([1], stage="late")
        assert (await run.finish()).counts == counted(fed=1, skipped=1)


def broken(to: str) -> Any:
    """A stage whose circuit is open after the first item."""
    breaker = CircuitBreaker(1, recovery_timeout=1000, when_open=Divert(to))
    return stage(fails, name="bad", policies=[breaker])


@pytest.mark.parametrize(
    ("nodes", "to"),
    [
        ([broken("b"), Parallel([named("b"), named("c")])], "b"),
        ([broken("b+c"), Parallel([named("b"), named("c")])], "b+c"),
        ([Parallel([broken("z"), named("c")]), named("z")], "z"),
        ([Parallel([Parallel([broken("z"), named("b")]), named("z")])], "z"),
    ],
    ids=["into a branch", "to a join", "out of a branch", "out of an inner one"],
)
async def test_a_divert_across_the_border_of_a_branch_is_a_dead_letter(nodes: Any, to: str) -> None:
    report = await pipeline(nodes).run(range(2))

    assert report.counts == counted(fed=2, dead=2)
    (error,) = (e.error for e in report.dead if type(e.error) is ConfigurationError)
    assert str(error) == (
        f"Divert.to must be a stage of the same branches, where some are joined, got {to!r}"
    )


async def test_a_divert_inside_a_branch_goes_where_it_should() -> None:
    branch: Graph[Any, Any] = Graph("branch").add(broken("other"), named("other"))
    flow = pipeline([Parallel([[passing("p"), branch], named("c")])])

    results = await outcomes(flow, range(2))

    # The first item fails; the second is given to "other" by both ways.
    assert [each.status for each in results] == ["failed", "done"]
    assert results[1].value == [["other(1)", "other(1)"], "c(1)"]


async def test_policies_of_the_flow_are_not_about_the_stages_that_only_join() -> None:
    async def conflict(value: Any) -> dict[str, Any]:
        return {"same": value["id"]}

    stages = [stage(conflict, name=name, reads=["id"]) for name in "ab"]
    flow: Pipeline[Any, Any] = pipeline(
        [Parallel(stages)], policies=[Retry(9, backoff=Fixed(9)), CircuitBreaker(1)]
    )

    report = await flow.run([{"id": 1}, {"id": 2}])

    assert (report.counts, report.duration) == (counted(fed=2, dead=2), 0)
    assert [each.attempts for each in report.dead] == [1, 1]


async def test_an_ordinary_error_of_a_branch_is_tried_again_there() -> None:
    calls: list[str] = []

    async def flaky(value: Any, ctx: Turn) -> Any:
        calls.append(ctx.message_id)
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([Parallel([flaky, named("c")])], policies=[Retry(2, backoff=Fixed(3))])

    assert died(await flow.run([1])) == []
    assert calls == ["0.-1", "0.-1"]
