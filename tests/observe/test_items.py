"""Where every item is, without any history; and with one, how those ended that it knows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Batch, ConfigurationError, Fixed, Parallel, Retry, Run, Turn, stage
from actorflow.observe.history import History
from tests.flows.flowing import Boom, Gate, double, increment, pipeline


def seen(run: Run[Any, Any], status: str | None = None) -> list[tuple[Any, str, str, int]]:
    return [(each.id, each.status, each.stage, each.attempt) for each in run.items(status)]


async def test_items_are_where_they_are(autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        await trio.sleep(1)
        if value == 0 and ctx.attempt == 1:
            raise Boom
        await trio.sleep(9)
        return value

    flow = pipeline([stage(work, workers=2, policies=[Retry(2, backoff=Fixed(60))]), double])
    async with flow.open() as run:
        began = trio.current_time()
        await run.feed(range(4), ids=["a", "b", "c", "d"])
        await trio.sleep(5)

        assert sorted(seen(run)) == [
            ("a", "retrying", "work", 1),
            ("b", "running", "work", 1),
            ("c", "running", "work", 1),
            ("d", "waiting", "work", 0),
        ]
        assert seen(run, "running") == [each for each in seen(run) if each[1] == "running"]
        assert seen(run, "retrying") == [("a", "retrying", "work", 1)]
        (second,) = [each for each in run.items("running") if each.id == "c"]
        assert second.worker in {f"/{flow.name}/work/1", f"/{flow.name}/work/2"}
        assert (second.fed, second.message_id) == (began, "2")
        await run.finish()
        assert run.items() == ()


async def test_there_are_as_many_as_are_held(autojump_clock: MockClock) -> None:
    async def some(value: int, ctx: Turn) -> int:
        await trio.sleep(value % 4)
        if value % 5 == 0:
            raise Boom
        return value

    policies = [Retry(3, backoff=Fixed(2))]
    flow = pipeline(
        [stage(some, workers=2, policies=policies, key=lambda value: value % 7), increment]
    )
    async with flow.open(window=20) as run:
        run.start_feeding(range(100))
        while not run.over.is_set():
            found = run.items()
            assert len(found) == run.stats().counts["held"] == len({each.id for each in found})
            await trio.sleep(0.5)


async def test_a_batch_and_what_waits_for_one_are_told_item_by_item() -> None:
    gate = Gate()
    flow = pipeline([increment, stage(gate, batch=Batch(3), workers=1)])

    async with flow.open() as run:
        await run.feed(range(8))
        await wait_all_tasks_blocked()
        states = Counter((status, place) for _, status, place, _ in seen(run))
        assert states == {("running", "Gate"): 3, ("waiting", "Gate"): 5}
        assert sorted(each.id for each in run.items()) == list(range(8))
        gate.open()


async def test_branches_that_wait_for_another_are_told(autojump_clock: MockClock) -> None:
    async def quick(value: int) -> int:
        return value

    async def slow(value: int) -> int:
        await trio.sleep(10)
        return value

    async def put_together(values: Any) -> Any:
        return values

    flow = pipeline([Parallel([quick, slow], name="both"), put_together])
    async with flow.open() as run:
        await run.feed([0])
        await trio.sleep(1)
        assert sorted((each.message_id, each.status) for each in run.items()) == [
            ("0.-1", "waiting"),
            ("0.-2", "running"),
        ]
        await run.finish()


async def test_with_a_history_ended_ones_are_told_too() -> None:
    gate = Gate()

    async def work(value: int, ctx: Turn) -> Any:
        if value == 0:
            raise Boom
        if value == 1:
            return ctx.skip()
        return await gate(value) if value == 3 else value

    async with pipeline([work]).open(observers=[History()]) as run:
        await run.feed(range(5))
        await wait_all_tasks_blocked()

        assert [(each[0], each[1]) for each in seen(run)] == [
            *((3, "running"), (4, "waiting"), (0, "failed"), (1, "skipped"), (2, "done")),
        ]
        assert [each.id for each in run.items("failed")] == [0]
        gate.open()
        await run.finish()
        assert Counter(each.status for each in run.items()) == {
            "done": 3,
            "failed": 1,
            "skipped": 1,
        }


async def test_what_is_told_of_an_item_cannot_be_changed() -> None:
    gate = Gate()
    async with pipeline([gate]).open() as run:
        await run.feed([0])
        await wait_all_tasks_blocked()
        (item,) = run.items()
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            item.status = "done"  # type: ignore[misc]
        gate.open()


async def test_a_status_that_is_none_is_refused() -> None:
    async with pipeline([increment]).open() as run:
        with pytest.raises(ConfigurationError) as caught:
            run.items("dead")

    assert str(caught.value) == (
        "items() status must be one of 'waiting', 'running', 'retrying', 'done', 'skipped', "
        "'failed', got 'dead'"
    )


@pytest.mark.parametrize("status", ["done", "skipped", "failed"])
async def test_what_has_ended_is_asked_of_a_history_alone(status: str) -> None:
    async def ends(value: int, ctx: Turn) -> int:
        if value == 1:
            raise ValueError
        if value == 2:
            ctx.skip()
        return value

    flow = pipeline([ends])
    async with flow.open() as run:
        await run.feed(range(3))
        with pytest.raises(ConfigurationError) as caught:
            run.items(status)
    async with flow.open(observers=[History()]) as run:
        await run.feed(range(3))
        await run.finish()
        found = [each.id for each in run.items(status)]

    assert str(caught.value) == (
        "items() status must be one of 'waiting', 'running', 'retrying'; of items that have ended "
        f"only a History knows, as in open(observers=[History()]), got {status!r}"
    )
    assert found == [["done", "failed", "skipped"].index(status)]
