"""A branch dies: the item fails once, and its other branches are called off."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Bulkhead,
    Fixed,
    Parallel,
    Retry,
    StageError,
    TooManyFailures,
    stage,
)
from tests.flows.flowing import Boom, Gate, counted, outcomes, pipeline
from tests.flows.test_graphs import named, passing
from tests.flows.test_parallel import died, fails, only, slow, soon, virtual


@virtual
async def test_the_item_fails_once_with_the_error_of_the_branch_and_nothing_comes_out() -> None:
    flow = pipeline([Parallel([fails, named("b"), stage(fails, name="c")]), named("z")])

    result = await only(flow, 7)
    assert (result.status, str(result.error)) == ("failed", "7")
    assert result.stage in ("fails", "c")
    assert (await flow.run([7])).counts == counted(fed=1, dead=1)


@virtual
async def test_a_sibling_that_waits_in_a_mailbox_is_called_off() -> None:
    done: list[Any] = []

    async def work(value: Any) -> None:
        done.append(value)
        await trio.sleep(10)

    report = await pipeline([Parallel([stage(work, name="b"), soon])]).run([0, 1])

    assert died(report) == [
        (f"{item}.{-2 if where == 'soon' else -1}", where, reason)
        for item, where, reason in [
            (0, "soon", "failed"),
            (0, "b", "sibling_failed"),
            (1, "soon", "failed"),
            (1, "b", "sibling_failed"),
        ]
    ]
    assert done == [0, 1]


@virtual
async def test_a_sibling_that_never_began_does_not_begin() -> None:
    done: list[Any] = []

    async def work(value: Any) -> None:
        done.append(value)
        await trio.sleep(10)

    async with pipeline([Parallel([stage(work, name="b"), soon])]).open() as run:
        await run.pause("b")
        await run.feed([0])
        await trio.sleep(5)
        await run.resume("b")
        report = await run.finish()

    assert (done, report.counts) == ([], counted(fed=1, dead=1))
    assert [each.attempts for each in report.dead] == [1, 0]


@virtual
async def test_a_sibling_that_sleeps_before_a_retry_is_called_off_at_once() -> None:
    policies = [Retry(2, backoff=Fixed(1000))]

    with trio.fail_after(10):
        report = await pipeline([Parallel([stage(fails, policies=policies), soon])]).run([0])

    assert died(report) == [("0.-2", "soon", "failed"), ("0.-1", "fails", "sibling_failed")]


@virtual
async def test_a_sibling_that_waits_for_its_key_or_a_permit_is_called_off() -> None:
    for options in ({"key": lambda _: "same"}, {"policies": [Bulkhead(1)]}):
        given: Any = options
        flow = pipeline([Parallel([stage(slow, workers=2, **given), stage(soon, workers=2)])])

        began = trio.current_time()
        report = await flow.run([0, 1])

        assert report.counts == counted(fed=2, dead=2)
        assert trio.current_time() - began == 1


@virtual
async def test_a_sibling_that_runs_is_cancelled_and_its_letter_blames_nobody_else() -> None:
    flow = pipeline([Parallel([slow, soon])])

    report = await flow.run([0])

    assert trio.current_time() == 1
    assert died(report) == [("0.-2", "soon", "failed"), ("0.-1", "slow", "sibling_failed")]
    assert [type(each.error) for each in report.dead] == [Boom, type(None)]


@virtual
async def test_a_sibling_that_has_arrived_is_given_up_where_they_meet() -> None:
    report = await pipeline([Parallel([named("b"), soon])]).run([0])

    assert died(report) == [("0.-2", "soon", "failed"), ("0.-1", "b+soon", "sibling_failed")]
    assert report.dead[1].body == "b(0)"


async def test_a_sibling_in_a_thread_is_given_up_when_the_thread_has_ended() -> None:
    free, done = threading.Event(), list[Any]()

    def work(value: Any) -> None:
        free.wait(10)
        done.append(value)

    gate = Gate()

    async def fails_when_open(value: Any) -> None:
        await gate(value)
        raise Boom

    async with pipeline([Parallel([work, fails_when_open])]).open() as run:
        await run.feed([0])
        await wait_all_tasks_blocked(0.01)
        gate.open()
        await wait_all_tasks_blocked(0.01)
        assert run.stats().counts == counted(fed=1, held=1)
        free.set()
        report = await run.finish()

    assert done == [0]
    assert report.dead[1].reason == "sibling_failed"


@virtual
async def test_a_generator_that_waits_for_room_when_it_is_called_off_goes_no_further() -> None:
    given: list[int] = []

    async def gives(value: Any) -> AsyncIterator[int]:
        for each in range(1000):
            given.append(each)
            yield each

    branch = [gives, stage(slow, capacity=1)]

    report = await pipeline([Parallel([branch, soon])]).run([0])

    assert given == [0, 1, 2]  # One was worked on, one waited, and one had no room.
    assert sorted(each.reason for each in report.dead) == ["failed", *3 * ["sibling_failed"]]


@virtual
async def test_the_place_that_it_waited_for_is_given_to_the_next() -> None:
    async def gives(value: int) -> AsyncIterator[int]:
        for _ in range(3):
            yield value

    async def soon_if_0(value: int) -> None:
        if not value:
            await soon(value)

    branch = [stage(gives, workers=2), stage(slow, capacity=1)]

    report = await pipeline([Parallel([branch, soon_if_0])]).run([0, 1])

    assert report.counts == counted(fed=2, done=1, dead=1)


@virtual
async def test_what_finds_no_room_in_one_branch_does_not_begin_in_another() -> None:
    begun: list[Any] = []

    async def begin(value: Any) -> Any:
        begun.append(value)
        return value

    full = stage(slow, capacity=1, overflow="drop_new")
    report = await pipeline([passing("a"), Parallel([full, begin])]).run(range(5))

    assert report.counts["dead"] == 5 - len(begun) > 0
    assert {each.reason for each in report.dead} == {"overflow", "sibling_failed"}


@virtual
async def test_an_inner_parallel_that_fails_fails_the_outer_one_and_calls_all_off() -> None:
    inner = [Parallel([soon, named("arrived"), stage(slow, name="inner")]), named("never")]
    flow = pipeline([Parallel([inner, stage(slow, name="outer")]), named("z")])

    report = await flow.run([0])

    assert (trio.current_time(), report.counts) == (1, counted(fed=1, dead=1))
    assert sorted(died(report)) == [
        ("0.-1.-1", "soon", "failed"),
        ("0.-1.-2", "soon+arrived+inner", "sibling_failed"),
        ("0.-1.-3", "inner", "sibling_failed"),
        ("0.-2", "outer", "sibling_failed"),
    ]


@virtual
async def test_an_outer_failure_calls_an_inner_parallel_off_however_far_it_is() -> None:
    inner = [Parallel([named("arrived"), stage(slow, name="inner")]), named("never")]
    flow = pipeline([Parallel([inner, soon]), named("z")])

    report = await flow.run([0])

    assert (trio.current_time(), report.counts) == (1, counted(fed=1, dead=1))
    assert report.stages["never"].received == 0


@virtual
async def test_what_cannot_be_cancelled_goes_no_further_than_its_stage() -> None:
    async def shielded(value: Any) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(50)
        return value

    inner = [Parallel([shielded, named("b")]), named("never")]
    flow = pipeline([Parallel([inner, soon])])

    report = await flow.run([0])

    assert (trio.current_time(), report.counts) == (50, counted(fed=1, dead=1))
    assert report.stages["never"].received == 0


@virtual
async def test_one_item_that_fails_leaves_the_others_alone() -> None:
    async def some(value: int) -> int:
        if value % 3 == 0:
            raise Boom
        return value

    flow = pipeline([Parallel([stage(some, workers=2), stage(slow, workers=9)])])

    results = await outcomes(flow, range(9), ordered=True)

    assert [each.value for each in results if each.ok] == [[n, n] for n in (1, 2, 4, 5, 7, 8)]
    assert [each.number for each in results] == list(range(9))


@virtual
@pytest.mark.parametrize("where", ["flow", "stage"])
async def test_on_failure_halt_in_a_branch_names_the_branch_that_failed(where: str) -> None:
    halts: Any = {"on_failure": "halt"}
    bad = stage(soon, **(halts if where == "stage" else {}))
    flow = pipeline([Parallel([named("arrived"), bad])], **(halts if where == "flow" else {}))

    with pytest.raises(StageError) as caught:
        await flow.run([5])

    assert (caught.value.stage, str(caught.value.__cause__)) == ("soon", "5")


@virtual
async def test_hooks_hear_of_the_cause_before_they_hear_of_those_who_died_of_it() -> None:
    heard: list[str] = []
    flow = pipeline(
        [Parallel([named("arrived"), soon, slow])],
        on_failure=lambda letter: heard.append(letter.reason),
    )

    await flow.run([0])

    assert heard == ["failed", "sibling_failed", "sibling_failed"]


@virtual
async def test_too_many_failures_count_every_letter() -> None:
    flow = pipeline([Parallel([named("arrived"), fails])])

    assert (await flow.run([0], max_dead=2)).counts == counted(fed=1, dead=1)
    with pytest.raises(TooManyFailures):
        await flow.run([0], max_dead=1)
