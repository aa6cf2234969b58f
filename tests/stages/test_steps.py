"""Several functions in one stage: what each is given, who waits, what is tried again."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorSystem,
    Cache,
    ConfigurationError,
    Context,
    Divert,
    Fixed,
    Pipeline,
    Retry,
    Route,
    Send,
    StageError,
    Steps,
    Turn,
    stage,
)
from actorflow.policies import Redeliver
from tests.flows.flowing import Boom, Gate, counted, double, increment, pipeline
from tests.stages import handlers

AGAIN = Retry(3, backoff=Fixed(0))


class Log:
    """Steps that say when they run, and fail as often as they are told to."""

    def __init__(self, **fails: int) -> None:
        self.lines: list[str] = []
        self._fails = fails

    def step(self, name: str) -> Any:
        async def run(value: Any, ctx: Turn) -> Any:
            self.lines.append(f"{name}{ctx.attempt}")
            if self._fails.get(name, 0) > 0:
                self._fails[name] -= 1
                raise Boom(name)
            return f"{value}{name}"

        run.__name__ = name
        return run

    def steps(self, names: str, **given: Any) -> Steps:
        return Steps(*(self.step(name) for name in names), **given)


def length(text: str) -> int:
    return len(text)


# What they are given ------------------------------------------------------------------


async def test_each_step_gets_what_the_one_before_it_gave() -> None:
    def halved(value: int) -> float:
        return value / 2

    assert await pipeline([Steps(increment, double, halved)]).map([1, 2]) == [2, 3]


async def test_each_step_gets_the_turn_if_it_asks_for_it() -> None:
    async def named(value: list[Any], ctx: Any) -> list[Any]:
        return [*value, ctx.message_id]

    def typed(value: list[Any], *, turn: Turn) -> list[Any]:
        return [*value, turn.attempt]

    async def neither(value: list[Any]) -> list[Any]:
        return [*value, "-"]

    assert await pipeline([Steps(named, typed, neither)]).invoke([]) == ["0", 1, "-"]


async def test_plain_steps_run_in_threads_unless_the_stage_says_loop() -> None:
    def where(value: int) -> threading.Thread:
        return threading.current_thread()

    here = threading.current_thread()
    beside = await pipeline([Steps(increment, where)]).invoke(1)
    inside = await pipeline([stage(Steps(increment, where), runs_in="loop")]).invoke(1)

    assert (beside is here, inside is here) == (False, True)
    assert stage(Steps(increment, double)).runs_in == "loop"


async def test_plain_steps_run_in_processes_if_the_stage_says_so() -> None:
    steps = Steps(handlers.own_process, increment)
    flow = pipeline([stage(steps, runs_in="process")])
    flow.check()
    pipeline([stage(Steps(increment, double), runs_in="process")]).check()

    assert await flow.invoke(0) != os.getpid() + 1


async def test_unpack_is_about_the_first_step() -> None:
    async def added(left: int, right: int) -> tuple[int, int]:
        return left, right

    async def shown(pair: tuple[int, int]) -> str:
        return repr(pair)

    assert await pipeline([stage(Steps(added, shown), unpack=True)]).invoke((1, 2)) == "(1, 2)"


def test_steps_that_a_process_cannot_find_are_found_by_check() -> None:
    flow = pipeline([stage(Steps(increment, handlers.impostor), runs_in="process")])

    with pytest.raises(ConfigurationError, match="used with the function that is found as"):
        flow.check()


async def test_a_step_that_skips_is_the_last_to_run() -> None:
    log = Log()

    async def odd(value: int, ctx: Turn) -> int:
        if value % 2 == 0:
            ctx.skip()
        return value

    report = await pipeline([Steps(odd, log.step("after"))]).run(range(5))

    assert report.counts == counted(fed=5, done=2, skipped=3)
    assert log.lines == ["after1", "after1"]


async def test_a_stage_of_steps_is_named_after_them_and_can_be_called_by_hand() -> None:
    declared = stage(Steps(increment, double))

    assert declared.name == "increment+double"
    assert await declared(4) == 10


def test_steps_are_part_of_what_a_stored_run_depends_on() -> None:
    first = pipeline([stage(Steps(increment, double), name="both")])
    second = pipeline([stage(Steps(double, increment), name="both")])

    assert first.version != second.version


# What cannot be -------------------------------------------------------------------------


def many(value: int) -> Iterator[int]:
    yield value


def two(left: int, right: int) -> int:
    return left + right


def three(left: int, middle: int, right: int) -> int:
    return left + middle + right


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda: Steps(), "Steps() must be given at least one function, got ()"),
        (
            lambda: Steps(increment, increment),
            "Steps()[1] must be a function with a name of its own (define one that calls it), "
            "got 'increment'",
        ),
        (lambda: Steps(increment, 3), "Steps()[1] must be a function, got 3"),  # type: ignore[arg-type]
        (
            lambda: Steps(stage(increment)),
            "Steps()[0] must be a function, as the options of a stage would be lost; "
            "write increment.fn, got <Stage 'increment'>",
        ),
        (
            lambda: Steps(increment, limits={"incremnt": 2}),
            "Steps.limits option must be one of 'increment' (did you mean 'increment'?), "
            "got 'incremnt'",
        ),
        (
            lambda: Steps(increment, limits={"increment": 0}),
            "Steps.limits['increment'] must be a whole number, 1 or more, got 0",
        ),
        (
            lambda: Steps(increment, limits=2),  # type: ignore[arg-type]
            "Steps.limits must be a dict of names and numbers, such as {'db': 3}, got 2",
        ),
        (
            lambda: Steps(increment, retry="per_step"),  # type: ignore[arg-type]
            "Steps.retry must be one of 'step', 'stage', got 'per_step'",
        ),
        (
            lambda: stage(Steps(increment, many)),
            "stage 'increment+many' step 'many' must be a function that gives one value; "
            f"a generator is a stage of its own, got {many!r}",
        ),
        (
            lambda: stage(Steps(lambda value: value), runs_in="process"),
            "stage 'lambda' step 'lambda'.runs_in must be used with a function at the top level",
        ),
        (
            lambda: stage(Steps(handlers.with_turn), runs_in="process"),
            "stage 'with_turn' step 'with_turn'.runs_in must be 'loop' or 'thread', as a Turn "
            "cannot go to another process (parameter 'ctx'), got 'process'",
        ),
    ],
)
def test_what_cannot_be_is_said_when_it_is_declared(declare: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declare()

    assert str(caught.value).startswith(text)


def test_a_step_that_takes_two_values_is_an_error_that_names_it() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^stage 'increment\+two' step 'two' must be a fun"
    ):
        stage(Steps(increment, two))

    with pytest.raises(ConfigurationError, match=r"^stage 'two\+three' step 'three' must be a fu"):
        stage(Steps(two, three), unpack=True)

    bound = functools.partial(two, 1)
    assert stage(Steps(increment, bound)).name == "increment+two"


# Limits ---------------------------------------------------------------------------------


async def test_a_limit_bounds_the_workers_inside_a_step_and_no_others() -> None:
    gate, passed = Gate(), []

    async def before(value: int) -> int:
        passed.append(value)
        return value

    async def narrow(value: int) -> int:
        return await gate(value)  # type: ignore[no-any-return]

    steps = Steps(before, narrow, limits={"narrow": 2})
    async with pipeline([stage(steps, workers=5)]).open() as run:
        await run.feed(range(5))
        await wait_all_tasks_blocked()

        assert sorted(passed) == [0, 1, 2, 3, 4]
        assert len(gate.inside) == 2
        gate.open()

    assert gate.most == 2
    assert run.report is not None
    assert run.report.counts == counted(fed=5, done=5)


async def test_those_that_wait_for_a_step_enter_in_the_order_they_came() -> None:
    came: list[int] = []
    entered: list[int] = []

    async def come(value: int) -> int:
        came.append(value)
        return value

    async def narrow(value: int) -> int:
        entered.append(value)
        await trio.lowlevel.checkpoint()
        return value

    steps = Steps(come, narrow, limits={"narrow": 1})
    await pipeline([stage(steps, workers=8)]).run(range(40))

    assert entered == came


async def test_a_step_that_was_cut_off_in_a_thread_is_left_when_the_thread_ends() -> None:
    release = threading.Event()
    inside: list[int] = []

    def narrow(value: int) -> int:
        inside.append(value)
        release.wait(10)
        return value

    steps = Steps(increment, narrow, limits={"narrow": 1})
    async with pipeline([stage(steps, workers=2, timeout=0.05)]).open() as run:
        await run.feed([1])
        while not any(each.state == "stuck" for each in run.workers()):
            await wait_all_tasks_blocked(0.001)
        await run.feed([2])
        while run.stats().counts["dead"] < 1:  # Who waited at the door: its time was up.
            await wait_all_tasks_blocked(0.001)

        assert len(inside) == 1
        release.set()
        report = await run.finish()

    assert len(inside) == 1
    assert report.counts == counted(fed=2, dead=2)


# Retries --------------------------------------------------------------------------------


async def test_by_step_only_the_step_that_failed_is_run_again() -> None:
    log = Log(b=2)

    value = await pipeline([stage(log.steps("abc"), policies=[AGAIN])]).invoke("")

    assert value == "abc"
    assert log.lines == ["a1", "b1", "b2", "b3", "c1"]


async def test_by_step_each_step_has_all_attempts() -> None:
    log = Log(a=2, b=2, c=2)

    value = await pipeline([stage(log.steps("abc"), policies=[AGAIN])]).invoke("")

    assert value == "abc"
    assert log.lines == ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]


async def test_by_step_an_item_is_given_up_with_the_attempts_of_its_step() -> None:
    log = Log(a=1, b=9)

    with pytest.raises(StageError) as caught:
        await pipeline([stage(log.steps("abc"), policies=[AGAIN])]).invoke("")

    assert caught.value.attempts == 3
    assert log.lines == ["a1", "a2", "b1", "b2", "b3"]


async def test_by_stage_all_steps_are_run_again_on_the_value_as_it_came_in() -> None:
    log = Log(b=1, c=1)
    flow = pipeline([stage(log.steps("abc", retry="stage"), policies=[AGAIN])])

    assert await flow.invoke("") == "abc"
    assert log.lines == ["a1", "b1", "a2", "b2", "c2", "a3", "b3", "c3"]


async def test_a_step_that_waits_for_its_retry_holds_no_worker(autojump_clock: None) -> None:
    order: list[str] = []

    async def first(value: str) -> str:
        return value

    async def second(value: str, ctx: Turn) -> str:
        order.append(f"{value}{ctx.attempt}")
        if value == "slow" and ctx.attempt == 1:
            raise Boom
        return value

    retry = Retry(2, backoff=Fixed(100))
    await pipeline([stage(Steps(first, second), policies=[retry])]).run(["slow", "x", "y"])

    assert order == ["slow1", "x1", "y1", "slow2"]


@pytest.mark.parametrize("retry", ["step", "stage"])
async def test_what_a_step_does_to_its_value_spoils_no_retry(retry: Any) -> None:
    seen: list[Any] = []

    async def made(value: list[int]) -> list[int]:
        value.append(1)
        return value

    async def spoils(value: list[int], ctx: Turn) -> list[int]:
        seen.append(list(value))
        value.append(2)
        if ctx.attempt < 3:
            raise Boom
        return value

    flow = pipeline([stage(Steps(made, spoils, retry=retry), policies=[AGAIN])])

    assert await flow.invoke([0]) == [0, 1, 2]
    assert seen == [[0, 1]] * 3


async def test_the_dead_letter_has_the_value_as_it_came_in_and_no_mark() -> None:
    log = Log(c=9)
    async with pipeline([stage(log.steps("abc"), policies=[AGAIN])]).open() as run:
        results = run.results()
        await run.feed(["in "])
        found = await anext(results)
        report = await run.finish()

    assert [each.body for each in report.dead] == ["in "]
    assert found.metadata == {}


async def test_no_handler_ever_sees_the_mark() -> None:
    seen: list[Any] = []

    async def first(value: int, ctx: Turn) -> int:
        ctx.metadata["first"] = True
        return value

    async def second(value: int, ctx: Turn) -> int:
        seen.append((dict(ctx.headers), dict(ctx.metadata), ctx.emitted))
        if ctx.attempt == 1:
            raise Boom
        return value

    async def last(value: int, ctx: Turn) -> int:
        seen.append((dict(ctx.headers), dict(ctx.metadata), ctx.emitted))
        return value

    flow = pipeline([stage(Steps(first, second), policies=[AGAIN]), last])
    async with flow.stream([1]) as results:
        found = [each.metadata async for each in results]

    facts = {"first": True}
    assert seen == [({}, facts, 0), (facts, facts, 1), (facts, facts, 0)]
    assert found == [facts]


async def test_the_mark_is_not_carried_along() -> None:
    log = Log(b=1)

    async def last(value: str, ctx: Turn) -> Any:
        return ctx._envelope.headers

    flow = pipeline([stage(log.steps("ab"), policies=[AGAIN]), last])

    assert await flow.map(["x", "y"]) == [{}, None]


async def test_no_message_that_a_step_sends_has_the_mark() -> None:
    got: list[Any] = []

    class Told(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            got.append(ctx._envelope.headers)

    async def second(value: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Boom
        ctx.tell(ctx.deps, value)
        return value

    async with ActorSystem("s") as system:
        told = await system.spawn(Told)
        flow = pipeline([stage(Steps(increment, second), policies=[AGAIN])])
        await flow.run([1], system=system, deps=told)
        await system.settled()

    assert got == [{}]


async def test_a_mark_means_nothing_when_the_message_comes_to_its_stage_anew() -> None:
    class Back:
        """Sends what has failed in attempt 2 to the stage as if it were new, once."""

        def decide(self, attempt: int, error: BaseException, **facts: Any) -> Any:
            if attempt == 2 and log.lines.count("b2") == 1:
                return Divert("steps")
            return Redeliver(0.0)

    log = Log(b=3)
    flow = pipeline([stage(log.steps("ab"), name="steps", policies=[Back()])])

    assert await flow.invoke("") == "ab"
    assert log.lines == ["a1", "b1", "b2", "a1", "b1", "b2"]


async def test_an_item_that_skips_at_a_later_step_counts_as_skipped_after_a_retry() -> None:
    async def first(value: int) -> int:
        return value

    async def second(value: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Boom
        ctx.skip()
        return value

    flow = pipeline([stage(Steps(first, second), policies=[AGAIN])])
    report = await flow.run([1])

    assert report.counts == counted(fed=1, skipped=1)
    assert next(iter(report.stages.values())).skipped == 1


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_the_error_says_in_which_step_it_was(kind: str) -> None:
    async def fine(value: int) -> int:
        return value

    async def bad(value: int) -> int:
        raise Boom

    def bad_in_thread(value: int) -> int:
        raise Boom

    flow = pipeline([Steps(fine, bad if kind == "coroutine" else bad_in_thread)])
    report = await flow.run([1])

    name = "bad" if kind == "coroutine" else "bad_in_thread"
    assert report.dead[0].error is not None
    assert report.dead[0].error.__notes__ == [f"in step {name!r}, 2 of 2"]
    assert f"in step {name!r}, 2 of 2" in report.dead[0].traceback


async def test_a_timeout_says_in_which_step_it_was(autojump_clock: None) -> None:
    async def stuck(value: int) -> int:
        await trio.sleep(100)
        return value

    report = await pipeline([stage(Steps(increment, stuck), timeout=1)]).run([1])

    assert report.dead[0].error is not None
    assert report.dead[0].error.__notes__ == ["in step 'stuck', 2 of 2"]


async def test_a_crash_in_a_step_goes_on_at_that_step() -> None:
    lines: list[str] = []

    async def first(value: int) -> int:
        lines.append("first")
        return value

    async def crash(value: int, ctx: Turn) -> int:
        lines.append(f"crash{ctx.attempt}")
        if ctx.attempt == 1:
            raise SystemExit
        return value

    assert await pipeline([stage(Steps(first, crash), policies=[AGAIN])]).invoke(1) == 1
    assert lines == ["first", "crash1", "crash2"]


async def test_a_value_that_cannot_be_packed_is_shared_between_the_attempts_of_a_step() -> None:
    class Odd:
        """Nothing that could be written."""

    seen: list[Any] = []

    async def made(value: int) -> Odd:
        return Odd()

    async def used(value: Odd, ctx: Turn) -> int:
        seen.append(value)
        if ctx.attempt == 1:
            raise Boom
        return 1

    flow: Pipeline[Any, Any] = pipeline([stage(Steps(made, used), policies=[AGAIN])])

    assert await flow.invoke(0) == 1
    assert seen[0] is seen[1]


async def outcome_of(steps: Steps, **options: Any) -> list[Any]:
    """What comes out of a stage of *steps*, with what is attached to it."""
    flow = pipeline([stage(steps, name="both", policies=[AGAIN])])
    async with flow.stream([1], **options) as results:
        found = [(each.value, dict(each.metadata)) async for each in results if each.ok]
    return sorted(found, key=repr)


@pytest.mark.parametrize("store", [None, "memory:"])
@pytest.mark.parametrize("sends", ["emits", "feeds", "attaches"])
async def test_what_a_step_has_sent_is_not_lost_when_a_later_one_fails(
    sends: str, store: str | None
) -> None:
    runs: list[int] = []
    fails = 0

    async def fetch(value: int, ctx: Turn) -> int:
        runs.append(value)
        if sends == "emits":
            ctx.emit([value])
        elif sends == "feeds" and value == 1:
            ctx.feed(50, stage="both")
        elif sends == "attaches":
            ctx.metadata["etag"] = ["abc"]
        return value + 1

    async def keep(value: int) -> int:
        return value

    async def parse(value: int) -> int:
        nonlocal fails
        if fails:
            fails -= 1
            raise Boom("parse")
        return value

    steps = Steps(fetch, keep, parse)
    undisturbed = await outcome_of(steps, store=store)
    first = len(runs)
    fails = 1

    assert await outcome_of(steps, store=store, run_id="again") == undisturbed
    assert len(runs) - first == (first if sends == "attaches" else first + 1)


async def test_a_step_behind_one_that_emits_has_no_more_attempts_than_the_stage() -> None:
    log = Log(c=9)

    async def emitting(value: Any, ctx: Turn) -> Any:
        ctx.emit("x")
        return value

    flow = pipeline([stage(Steps(log.step("a"), emitting, log.step("c")), policies=[AGAIN])])
    report = await flow.run(["-"])

    assert report.counts == counted(fed=1, dead=1)
    assert log.lines == ["a1", "c1", "c2", "c3"]


async def test_what_a_step_of_contexts_emits_goes_on_from_what_the_step_got() -> None:
    async def first(context: Context) -> dict[str, int]:
        return {"a": 1}

    async def second(context: Context, ctx: Turn) -> dict[str, int]:
        ctx.emit({"z": 5})
        return {"b": 2}

    tape: list[Any] = []
    await pipeline([stage(Steps(first, second))]).run([{"id": 1}], sink=tape.append)

    assert [dict(each) for each in tape] == [{"id": 1, "a": 1, "z": 5}, {"id": 1, "a": 1, "b": 2}]


async def test_a_send_without_a_value_sends_what_its_step_got() -> None:
    async def choose(value: int) -> Send:
        return Send("on")

    flow = pipeline([stage(Steps(increment, choose)), Route({"on": double})])

    assert await flow.map([1]) == [4]


async def test_a_cache_remembers_no_turn_that_began_behind_its_first_step() -> None:
    fails = 1

    async def first(value: int, ctx: Turn) -> int:
        ctx.metadata["first"] = True
        return value

    async def second(value: int) -> int:
        nonlocal fails
        if fails:
            fails -= 1
            raise Boom
        return value

    flow = pipeline([stage(Steps(first, second), policies=[AGAIN, Cache(60)])])
    for _ in range(3):
        async with flow.stream([7]) as results:
            assert [each.metadata async for each in results] == [{"first": True}]
