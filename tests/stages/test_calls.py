"""Stages of every kind: what a handler may be, what it is given, what becomes of what it gives."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Fixed,
    InsideTurn,
    MailboxFull,
    Retry,
    StageError,
    Turn,
    current_turn,
    stage,
)
from actorflow.errors import MessageFailed, TurnEnded
from tests.flows.flowing import pipeline


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets the threads of a test go on; they do at its end at the latest."""
    event = threading.Event()
    yield event
    event.set()


async def coroutine(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value + 1


def function(value: int) -> int:
    return value + 1


async def async_generator(value: int) -> AsyncIterator[int]:
    yield value + 1


def generator(value: int) -> Iterator[int]:
    yield value + 1


class Callable1:
    async def __call__(self, value: int) -> int:
        return value + 1


class Adder:
    def __init__(self, amount: int) -> None:
        self.amount = amount

    def add(self, value: int) -> int:
        return value + self.amount

    async def add_async(self, value: int) -> int:
        return value + self.amount

    @classmethod
    def one(cls, value: int) -> int:
        return value + 1


async def added(amount: int, value: int) -> int:
    return value + amount


@functools.wraps(coroutine)
async def wrapped(*args: Any, **kwargs: Any) -> int:
    return await coroutine(*args, **kwargs)


KINDS: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
    ("coroutine function", coroutine, {}),
    ("function in a thread", function, {}),
    ("function in the loop", function, {"runs_in": "loop"}),
    ("async generator", async_generator, {}),
    ("generator in a thread", generator, {}),
    ("generator in the loop", generator, {"runs_in": "loop"}),
    ("callable object", Callable1(), {}),
    ("method", Adder(1).add, {}),
    ("async method", Adder(1).add_async, {}),
    ("classmethod", Adder.one, {"runs_in": "loop"}),
    ("partial", functools.partial(added, 1), {}),
    ("lambda", lambda value: value + 1, {"name": "lambda"}),
    ("wrapped", wrapped, {}),
    ("builtin", (1).__add__, {"runs_in": "loop", "name": "builtin"}),
]


@pytest.mark.parametrize(("fn", "given"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
async def test_a_handler_may_be(fn: Callable[..., Any], given: dict[str, Any]) -> None:
    assert await pipeline([stage(fn, **given)]).invoke(41) == 42


async def test_a_plain_function_runs_in_a_thread_and_never_holds_the_loop() -> None:
    def where(value: int) -> threading.Thread:
        return threading.current_thread()

    assert await pipeline([where]).invoke(1) is not threading.current_thread()


async def test_threads_of_one_stage_run_side_by_side() -> None:
    barrier = threading.Barrier(8, timeout=10)

    def meet(value: int) -> int:
        barrier.wait()
        return value

    assert await pipeline([stage(meet, workers=8)]).map(range(8)) == list(range(8))


async def test_a_function_that_gives_a_coroutine_fails_with_what_to_write() -> None:
    def forgot(value: int) -> Any:
        return coroutine(value)

    with pytest.raises(StageError, match="gave a coroutine; write `async def`, or await it"):
        await pipeline([forgot]).invoke(1)


async def test_none_is_a_value_like_any_other() -> None:
    async def nothing(value: int) -> None:
        return None

    async def shown(value: Any) -> str:
        return repr(value)

    assert await pipeline([nothing, shown]).map([1, 2]) == ["None", "None"]


async def test_a_generator_gives_none_as_a_value_too() -> None:
    async def some(value: int) -> AsyncIterator[int | None]:
        yield None
        yield value

    assert await pipeline([some]).invoke_all(3) == [None, 3]


# The turn -----------------------------------------------------------------------------


async def test_the_turn_is_given_under_its_name_or_its_type_wherever_it_stands() -> None:
    async def named(value: int, ctx: Any) -> Any:
        return ctx.attempt + value

    async def typed(value: int, extra: int = 10, *, turn: Turn | None = None) -> int:
        assert turn is not None
        return turn.attempt + value + extra

    def in_thread(value: int, ctx: Turn) -> int:
        return ctx.attempt + value

    async def many(value: int, ctx: Turn) -> AsyncIterator[int]:
        yield ctx.attempt + value

    assert await pipeline([named, typed, in_thread, many]).invoke_all(0) == [14]


async def test_a_turn_is_over_when_its_handler_is() -> None:
    kept: list[Turn] = []

    async def keep(value: int, ctx: Turn) -> int:
        kept.append(ctx)
        return value

    await pipeline([keep]).invoke(1)

    with pytest.raises(TurnEnded):
        kept[0].skip()


async def test_current_turn_reaches_the_turn_from_deep_code() -> None:
    async def deep(value: int) -> int:
        current_turn().emit("noted")
        return value

    assert await pipeline([deep]).invoke_all(1) == ["noted", 1]


async def test_deps_are_what_the_run_was_given() -> None:
    async def lookup(value: str, ctx: Turn) -> int:
        found: int = ctx.deps[value]
        return found

    assert await pipeline([lookup]).invoke("a", deps={"a": 7}) == 7


async def test_skip_drops_the_value_and_counts_the_item_as_skipped() -> None:
    async def odd(value: int, ctx: Turn) -> int:
        if value % 2 == 0:
            ctx.skip()
        return value

    flow = pipeline([odd])

    assert (await flow.run(range(5))).counts == counted(fed=5, done=2, skipped=3)
    assert await flow.map(range(4)) == [None, 1, None, 3]


def counted(**given: int) -> dict[str, int]:
    return {"fed": 0, "done": 0, "skipped": 0, "dead": 0, "held": 0, **given}


async def test_fail_gives_an_item_up_at_once_whatever_retry_says() -> None:
    async def refuse(value: int, ctx: Turn) -> int:
        ctx.fail("no such customer")

    with pytest.raises(StageError) as caught:
        await pipeline([stage(refuse, policies=[Retry(5)])]).invoke(1)

    assert caught.value.attempts == 1
    assert type(caught.value.__cause__) is MessageFailed
    assert "no such customer" in str(caught.value)


async def test_emit_sends_more_than_one_value_when_the_turn_commits() -> None:
    async def spread(value: int, ctx: Turn) -> int:
        ctx.emit(value * 10)
        ctx.emit(value * 100)
        return value

    flow = pipeline([spread, coroutine])

    assert sorted(await flow.invoke_all(1)) == [2, 11, 101]
    assert (await flow.run([1, 2])).counts == counted(fed=2, done=2)


async def test_metadata_travels_with_the_item_and_not_with_a_failed_attempt() -> None:
    async def noted(value: int, ctx: Turn) -> int:
        ctx.metadata[f"attempt {ctx.attempt}"] = value
        if ctx.attempt == 1:
            raise ValueError
        return value

    async def seen(value: int, ctx: Turn) -> int:
        ctx.metadata["seen"] = sorted(ctx.headers)
        return value

    flow = pipeline([stage(noted, policies=[Retry(2, backoff=Fixed(0))]), seen])

    async with flow.stream([7]) as results:
        found = [result async for result in results]

    assert [result.metadata for result in found] == [{"attempt 2": 7, "seen": ["attempt 2"]}]


async def test_metadata_noted_before_a_yield_goes_with_that_piece() -> None:
    async def pages(value: int, ctx: Turn) -> AsyncIterator[int]:
        for page in range(2):
            ctx.metadata["page"] = page
            yield page

    async with pipeline([pages]).stream([1]) as results:
        found = [(result.value, result.metadata) async for result in results]

    assert found == [(0, {"page": 0}), (1, {"page": 1})]


async def test_verbs_for_the_outside_are_refused_inside_a_turn() -> None:
    async def nest(value: int, ctx: Turn) -> str:
        with pytest.raises(InsideTurn, match=r"run\.feed\(\) inside a turn") as caught:
            await run.feed([1])
        with pytest.raises(InsideTurn):
            await run.finish()
        with pytest.raises(InsideTurn):
            await run.stop()
        with pytest.raises(InsideTurn):
            await run.drain(1)
        return str(caught.value)

    async with pipeline([nest]).open() as run:
        results = run.results()
        await run.feed([1])

        assert "use ctx." in (await anext(results)).value


# unpack and skip_if -------------------------------------------------------------------


@pytest.mark.parametrize("runs_in", ["loop", "thread"])
async def test_unpack_spreads_tuples_and_dicts_and_nothing_else(runs_in: Any) -> None:
    def joined(left: int, right: int = 1, *, ctx: Turn) -> tuple[int, int]:
        return left * 10 + right, ctx.attempt

    flow = pipeline([stage(joined, unpack=True, runs_in=runs_in)])

    first, second, third, fourth = await flow.map(
        [(2, 3), {"left": 4}, [5, 6], 7], return_exceptions=True
    )

    assert (first, second, third) == ((23, 1), (41, 1), (56, 1))
    assert str(fourth.__cause__) == "unpack=True needs a tuple, a list or a dict, got 7"


async def test_unpack_works_for_coroutines_and_generators() -> None:
    async def pair(left: int, right: int) -> tuple[int, int]:
        return right, left

    async def span(first: int, last: int) -> AsyncIterator[int]:
        for each in range(last, first):
            yield each

    flow = pipeline([stage(pair, unpack=True), stage(span, unpack=True)])

    assert await flow.invoke_all((1, 4)) == [1, 2, 3]


@pytest.mark.parametrize("wait", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(("fn", "given"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
async def test_skip_if_leaves_items_out_before_a_handler_that_is(
    fn: Callable[..., Any], given: dict[str, Any], wait: bool
) -> None:
    async def later(value: int) -> bool:
        await trio.lowlevel.checkpoint()
        return value < 0

    skip_if = later if wait else (lambda value: value < 0)
    flow = pipeline([stage(fn, **{**given, "skip_if": skip_if})])

    assert (await flow.run([1, -1, 2])).counts == counted(fed=3, done=2, skipped=1)


async def test_an_error_in_skip_if_fails_its_item() -> None:
    async def boom(value: int) -> bool:
        raise KeyError(value)

    with pytest.raises(StageError) as caught:
        await pipeline([stage(coroutine, skip_if=boom)]).invoke(9)

    assert repr(caught.value.__cause__) == "KeyError(9)"


# Generators ---------------------------------------------------------------------------

GENERATORS = ["async", "thread", "loop"]


def counting(kind: Any, tries: list[int], *, fail_at: int, attempts: int, **given: Any) -> Any:
    """A stage that yields 0 to 4 and fails before yielding *fail_at*, up to *attempts* times."""

    def check(value: int, ctx: Turn) -> None:
        if value == fail_at and ctx.attempt <= attempts:
            raise ValueError(value)

    async def slowly(_: int, ctx: Turn) -> AsyncIterator[int]:
        tries.append(ctx.attempt)
        for value in range(5):
            check(value, ctx)
            yield value

    def quickly(_: int, ctx: Turn) -> Iterator[int]:
        tries.append(ctx.attempt)
        for value in range(5):
            check(value, ctx)
            yield value

    policies = [Retry(3, backoff=Fixed(0))]
    if kind == "async":
        return stage(slowly, name="count", policies=policies, **given)
    return stage(quickly, name="count", policies=policies, runs_in=kind, **given)


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("fail_at", [0, 1, 3, 4])
async def test_a_retry_in_the_middle_of_a_generator_doubles_no_emission(
    kind: str, fail_at: int
) -> None:
    tries: list[int] = []
    flow = pipeline([counting(kind, tries, fail_at=fail_at, attempts=2), coroutine])

    assert sorted(await flow.invoke_all(0)) == [1, 2, 3, 4, 5]
    assert tries == [1, 2, 3]


@pytest.mark.parametrize("kind", GENERATORS)
async def test_what_a_generator_gave_before_it_was_given_up_stays_given(kind: str) -> None:
    flow = pipeline([counting(kind, [], fail_at=2, attempts=3)])

    async with flow.stream([0]) as results:
        found = [(result.status, result.value) async for result in results]

    assert found == [("done", 0), ("done", 1), ("failed", None)]
    assert (await flow.run([0])).counts == counted(fed=1, dead=1)


@pytest.mark.parametrize("kind", GENERATORS)
async def test_an_atomic_generator_gives_all_or_nothing(kind: str) -> None:
    lost = pipeline([counting(kind, [], fail_at=2, attempts=3, atomic=True)])
    mended = pipeline([counting(kind, [], fail_at=2, attempts=2, atomic=True)])

    async with lost.stream([0]) as results:
        found = [result.status async for result in results]

    assert found == ["failed"]
    assert await mended.invoke_all(0) == [0, 1, 2, 3, 4]


async def test_an_atomic_generator_may_keep_no_more_than_a_turn_may_send() -> None:
    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(10_001):
            yield value

    assert (await pipeline([flood]).run([0])).counts == counted(fed=1, done=1)
    with pytest.raises(StageError, match="one turn may send 10000 messages"):
        await pipeline([stage(flood, atomic=True)]).invoke_all(0)


async def test_an_empty_generator_skips_its_item() -> None:
    async def none(value: int) -> AsyncIterator[int]:
        for _ in ():
            yield value

    assert (await pipeline([none]).run([1])).counts == counted(fed=1, skipped=1)


@pytest.mark.parametrize("where", ["loop", "atomic", "thread"])
async def test_a_generator_ends_where_it_skips_and_keeps_what_it_gave(where: str) -> None:
    went_on: list[int] = []

    def plain(value: int, ctx: Turn) -> Iterator[int]:
        for each in range(5):
            if each == value:
                ctx.skip()
            yield each
        went_on.append(value)

    async def some(value: int, ctx: Turn) -> AsyncIterator[int]:
        for each in plain(value, ctx):
            yield each

    declared = stage(some, atomic=where == "atomic")
    flow = pipeline([stage(plain) if where == "thread" else declared])

    assert await flow.map([0, 2, 9]) == [[], [0, 1], [0, 1, 2, 3, 4]]
    assert (await flow.run([0, 2])).counts == counted(fed=2, done=1, skipped=1)
    assert went_on == [9]


async def test_an_item_of_many_pieces_counts_once() -> None:
    async def spread(value: int) -> AsyncIterator[int]:
        for each in range(value):
            yield each

    async def no_ones(value: int, ctx: Turn) -> int:
        if value == 1:
            raise ValueError("a one")
        if value == 2:
            ctx.skip()
        return value

    flow = pipeline([spread, no_ones])

    assert (await flow.run([0, 1, 1, 3])).counts == counted(fed=4, done=2, skipped=1, dead=1)
    assert await flow.map([1, 0]) == [[0], []]


async def test_a_generator_waits_for_room_downstream() -> None:
    made: list[int] = []
    go = trio.Event()

    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(100):
            made.append(value)
            yield value

    async def wait(value: int) -> int:
        await go.wait()
        return value

    async with pipeline([flood, stage(wait, capacity=3)]).open() as run:
        await run.feed([0])
        await wait_all_tasks_blocked()

        assert len(made) == 5  # One worked on, three waiting, one in hand.
        go.set()

    assert made == list(range(100))


async def test_time_spent_waiting_for_room_is_not_the_generators(autojump_clock: MockClock) -> None:
    go = trio.Event()

    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(4):
            yield value

    async def wait(value: int) -> int:
        await go.wait()
        return value

    flow = pipeline([stage(flood, timeout=1.0), stage(wait, capacity=1)])

    async with flow.open() as run:
        await run.feed([0])
        await trio.sleep(60)
        go.set()
        report = await run.finish()

    assert report.counts == counted(fed=1, done=1)


async def test_an_async_generator_is_closed_when_its_run_is_cut_short() -> None:
    closed: list[bool] = []

    async def held(_: int) -> AsyncIterator[int]:
        try:
            yield 1
            await trio.sleep_forever()
        finally:
            closed.append(True)

    async with pipeline([held]).stream([0]) as results:
        await anext(results)

    assert closed == [True]


async def test_a_generator_fails_when_the_next_stage_refuses_what_it_gives() -> None:
    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(9):
            yield value

    async def stuck(value: int) -> int:
        await trio.sleep_forever()
        raise AssertionError

    flow = pipeline([flood, stage(stuck, capacity=2, overflow="fail")])

    async with flow.open() as run:
        await run.feed([0])
        await wait_all_tasks_blocked()
        (error,) = run.errors()
        await run.stop()

    assert (error.stage, error.type) == ("flood", MailboxFull.__name__)


# current_turn() in threads ----------------------------------------------------------------


def deep() -> tuple[str, int]:
    turn = current_turn()
    return turn.stage, turn.attempt


async def test_code_in_a_thread_finds_its_turn() -> None:
    def function(_: Any) -> Any:
        return deep()

    def generator(_: Any) -> Any:
        yield deep()

    async def further(_: Any, ctx: Turn) -> Any:
        return await ctx.to_thread(deep)

    found = [await pipeline([stage(fn)]).invoke(0) for fn in (function, generator, further)]

    assert found == [("function", 1), ("generator", 1), ("further", 1)]


async def test_a_thread_that_runs_on_has_the_turn_that_is_over_and_no_later_one(
    release: threading.Event,
) -> None:
    found: list[Any] = []
    told = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def late(value: int) -> int:
        if not value:
            return 0
        release.wait(10)
        try:
            found.append(current_turn().message_id)
            current_turn().skip()
        except TurnEnded as error:
            found.append(type(error))
        token.run_sync_soon(told.set)
        return value

    async def leaves(value: int, ctx: Turn) -> int:
        if value:
            with trio.move_on_after(0.02):
                await ctx.to_thread(late, value, abandon=True)
        else:
            release.set()
            await told.wait()
        return value

    await pipeline([leaves]).map([1, 0])

    assert found == ["0", TurnEnded]


async def test_in_a_thread_of_ones_own_there_is_no_turn() -> None:
    async def starts(_: int) -> Any:
        return await trio.to_thread.run_sync(deep)

    with pytest.raises(StageError, match="there is no turn here"):
        await pipeline([starts]).invoke(0)


@pytest.mark.parametrize("capacity", [0, 1, 2])
async def test_the_wait_for_room_is_not_the_time_of_a_generator(
    capacity: int, autojump_clock: None
) -> None:
    async def pages(_: int) -> AsyncIterator[int]:
        for page in range(6):
            yield page

    async def slow(page: int) -> int:
        await trio.sleep(3)
        return page

    tape: list[int] = []
    flow = pipeline([stage(pages, timeout=1), stage(slow, capacity=capacity)])
    report = await flow.run([0], sink=tape.append)

    assert tape == [*range(6)]
    assert report.counts == counted(fed=1, done=1)
