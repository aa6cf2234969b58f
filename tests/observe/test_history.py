"""What a history remembers, and what it lets go of first."""

from __future__ import annotations

import tracemalloc
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import ConfigurationError, Fixed, Retry, Turn, stage
from actorflow.core.events import ItemAccepted, ItemEnded, ItemEvent, ItemFailed, ItemStarted
from actorflow.observe.history import Entry, History
from tests.flows.flowing import Boom, Gate, increment, pipeline


def accepted(number: int, item: Any = None, at: float = 0.0) -> ItemAccepted:
    name = number if item is None else item
    return ItemAccepted(item=name, number=number, message_id=str(number), at=at, stage="s")


def started(number: int, piece: str = "", at: float = 0.0) -> ItemStarted:
    return ItemStarted(
        item=number,
        number=number,
        message_id=f"{number}{piece}",
        at=at,
        stage="s",
        worker="/f/s/1",
        attempt=1,
    )


def ended(number: int, status: Any = "done", at: float = 0.0) -> ItemEnded:
    return ItemEnded(item=number, number=number, message_id=str(number), at=at, status=status)


def told(history: History, *events: ItemEvent) -> History:
    for event in events:
        history.on_event(event)
    return history


async def test_what_happened_to_an_item_with_times(autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        await trio.sleep(1)
        if ctx.attempt == 1:
            raise Boom("at first")
        return value

    history, began = History(), trio.current_time()
    flow = pipeline([stage(work, policies=[Retry(2, backoff=Fixed(5))])], name="f")
    async with flow.open(observers=[history]) as run:
        await run.feed(["a"], ids=["order 7"])
        await trio.sleep(3)
        waiting = history.get("order 7")
        assert waiting is not None
        await run.finish()

    def entry(what: str, at: float, **facts: Any) -> Entry:
        return Entry(what=what, at=began + at, message_id="0", **facts)

    worker = {"stage": "work", "worker": "/f/work/1"}
    assert (waiting.status, waiting.attempt, waiting.ended) == ("retrying", 1, None)
    record = history.get("order 7")
    assert record is not None
    assert (
        record.events
        == history.events("order 7")
        == (
            entry("accepted", 0, stage="work"),
            entry("started", 0, **worker, attempt=1),
            entry("retried", 1, **worker, attempt=1, error="Boom: at first", delay=5),
            entry("started", 6, **worker, attempt=2),
            entry("done", 7, **worker, attempt=2),
            entry("out", 7, stage="work"),
            entry("ended", 7),
        )
    )
    assert (record.id, record.number, record.status, record.stage, record.worker) == (
        *("order 7", 0, "done", "work", "/f/work/1"),
    )
    assert (record.attempt, record.fed, record.ended) == (2, began, began + 7)
    assert (record.error, record.forgotten) == ("Boom: at first", 0)


async def test_items_by_status_while_a_run_goes_on() -> None:
    gate = Gate()

    async def work(value: int, ctx: Turn) -> Any:
        if value == 0:
            raise Boom("no")
        if value == 1:
            return ctx.skip()
        return await gate(value) if value > 2 else value

    history = History()
    async with pipeline([stage(work, workers=4)]).open(observers=[history]) as run:
        await run.feed(range(9))
        await wait_all_tasks_blocked()

        def numbers(status: Any) -> list[int]:
            return [each.number for each in history.by_status(status)]

        assert numbers("failed") == [each.number for each in history.failed()] == [0]
        assert (numbers("skipped"), numbers("done")) == ([1], [2])
        assert (numbers("running"), numbers("waiting")) == ([3, 4, 5, 6], [7, 8])
        assert dict(history.counts()) == {
            "waiting": 2,
            "running": 4,
            "retrying": 0,
            "done": 1,
            "skipped": 1,
            "failed": 1,
        }
        (failed,) = history.failed()
        assert (failed.error, failed.stage) == ("Boom: no", "work")
        gate.open()

    assert history.counts()["done"] == 7
    with pytest.raises(ConfigurationError):
        history.by_status("dead")  # type: ignore[arg-type]


def test_of_those_that_ended_the_first_goes_first() -> None:
    history = told(History(3), *(accepted(number) for number in range(3)), ended(1), ended(0))

    told(history, accepted(3))
    assert [history.get(number) is None for number in range(4)] == [False, True, False, False]
    told(history, accepted(4))
    assert history.get(0) is None
    assert (len(history), history.forgotten) == (3, 2)
    assert history.counts()["done"] == 2


def test_where_none_has_ended_the_quietest_goes() -> None:
    history = told(History(2), accepted(0), accepted(1), started(0), accepted(2))

    assert history.get(1) is None
    assert history.get(0) is not None


def test_one_that_was_let_go_of_may_still_end() -> None:
    history = told(History(1), accepted(0), accepted(1), ended(0), ended(1))

    assert history.counts()["done"] == 2
    assert len(history) == 1


def test_events_of_an_item_are_bounded_too() -> None:
    history = told(History(max_events=3), accepted(0), *(started(0) for _ in range(9)), ended(0))

    record = history.get(0)
    assert record is not None
    assert [each.what for each in record.events] == ["started", "started", "ended"]
    assert record.forgotten == 8
    assert record.fed == 0.0


def test_an_item_is_running_while_a_piece_of_it_is() -> None:
    history = told(History(), accepted(0), started(0, ".0"), started(0, ".1"))
    failed = ItemFailed(
        item=0,
        number=0,
        message_id="0.0",
        at=1.0,
        stage="s",
        reason="expired",
        error=None,
        attempts=2,
    )

    told(history, failed)
    record = history.get(0)
    assert record is not None
    assert (record.status, record.error, record.attempt) == ("running", "expired", 2)


def test_ids_may_be_anything() -> None:
    history = told(
        History(), accepted(0, "x"), accepted(1, ("a", 1)), accepted(2, ["list"]), accepted(3)
    )

    assert [history.get(name).number for name in ("x", ("a", 1), ["list"], 3)] == [  # type: ignore[union-attr]
        *(0, 1, 2, 3),
    ]
    assert history.get(0) is None
    assert history.get("nobody") is None
    assert history.events(["nobody"]) == ()


def test_the_same_id_twice_is_the_later_item() -> None:
    history = told(History(), accepted(0, "x"), accepted(1, "x"))

    record = history.get("x")
    assert record is not None
    assert record.number == 1


def test_another_run_begins_its_items_anew() -> None:
    history = told(History(), accepted(0), ended(0), accepted(0, at=5.0))

    record = history.get(0)
    assert record is not None
    assert (record.status, record.fed, len(record.events)) == ("waiting", 5.0, 1)
    assert len(history) == 1


def test_the_latest_items_come_first() -> None:
    history = told(
        History(),
        *(accepted(number, at=float(number)) for number in range(4)),
        ended(1, at=10.0),
        started(2, at=11.0),
        ended(0, at=12.0),
    )

    assert [each.number for each in history.last(3)] == [0, 2, 1]
    assert [each.number for each in history.last(99)] == [0, 2, 1, 3]
    assert history.last(0) == ()


def test_what_it_hands_out_cannot_be_changed() -> None:
    history = told(History(), accepted(0), ended(0))
    record = history.get(0)
    assert record is not None

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.status = "changed"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.events[0].what = "changed"  # type: ignore[misc]
    with pytest.raises(TypeError):
        history.counts()["done"] = 7  # type: ignore[index]
    told(history, started(0))
    assert len(record.events) == 2


class Hostile(Exception):
    def __str__(self) -> str:
        raise ValueError


async def test_an_error_without_words_is_remembered_by_its_type() -> None:
    async def work(value: int) -> int:
        raise Hostile

    history = History()
    await pipeline([work]).run([0], observers=[history])

    assert history.failed()[0].error == "Hostile"


@pytest.mark.parametrize("given", [{"max_items": 0}, {"max_events": 0}, {"max_items": "9"}])
def test_a_bound_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"History\.max_"):
        History(**given)


events = st.lists(
    st.one_of(
        st.builds(accepted, st.integers(0, 9)),
        st.builds(started, st.integers(0, 9)),
        st.builds(ended, st.integers(0, 9), st.sampled_from(["done", "skipped", "failed"])),
    ),
    max_size=60,
)


@given(events, st.integers(1, 6), st.integers(1, 4))
def test_whatever_it_hears_it_stays_within_its_bounds(
    heard: list[Any], max_items: int, max_events: int
) -> None:
    history = told(History(max_items, max_events=max_events), *heard)

    assert len(history) <= max_items
    known = [history.get(number) for number in range(10)]
    assert sum(each is not None for each in known) == len(history)
    assert all(len(each.events) <= max_events for each in known if each is not None)
    counts = history.counts()
    for status in ("done", "skipped", "failed"):
        assert counts[status] == sum(
            isinstance(each, ItemEnded) and each.status == status for each in heard
        )
    inside = [status for status in counts if status not in ("done", "skipped", "failed")]
    listed = [each for status in inside for each in history.by_status(status)]  # type: ignore[arg-type]
    assert len(listed) + len(history.ended()) == len(history)


async def test_an_item_of_three_stages_takes_less_than_two_kilobytes() -> None:
    history, count = History(), 2_000
    flow = pipeline([stage(increment, name=name) for name in "abc"])
    await flow.run(range(100), observers=[History()])

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await flow.run(range(count), observers=[history])
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert len(history) == count
    assert used / count < 2_048
