"""Hooks: what they are told and when, and that nothing they do is ever felt."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    ConfigurationError,
    DeadLetter,
    Fixed,
    MailboxFull,
    Retry,
    Turn,
    TurnTimeout,
    stage,
)
from actorflow.durability.memory import MemoryDisk
from actorflow.policies import Skip
from actorflow.stages.hooks import HOOK_SECONDS
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline
from tests.flows.lives import Mortal, fed_and_killed, finished

AGAIN = Retry(3, backoff=Fixed(0))


async def a_second() -> None:
    await trio.sleep(1)


class Told:
    """Hooks of a flow, plain or async, that write down what they are told."""

    def __init__(self, *, wait: bool = False) -> None:
        self.before: list[Any] = []
        self.after: list[Any] = []
        self._wait = wait

    def before_stage(self, stage: str, item_id: Any, value: Any) -> Any:
        self.before.append((stage, item_id, value))
        return a_second() if self._wait else None

    def after_stage(self, stage: str, item_id: Any, value: Any, result: Any, error: Any) -> Any:
        self.after.append((stage, item_id, value, result, error))
        return a_second() if self._wait else None


# Of a stage -----------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [False, True], ids=["plain", "async"])
async def test_on_success_gets_each_result_and_the_run_waits_for_the_last(
    autojump_clock: None, wait: bool
) -> None:
    heard: list[int] = []

    def plain(result: int) -> None:
        heard.append(result)

    async def later(result: int) -> None:
        await trio.sleep(1)
        heard.append(result)

    flow = pipeline([stage(increment, workers=2, on_success=later if wait else plain)])
    report = await flow.run(range(5))

    assert report.counts == counted(fed=5, done=5)
    assert sorted(heard) == [1, 2, 3, 4, 5]


async def test_on_success_comes_after_the_value_has_gone_on() -> None:
    order: list[str] = []

    async def first(value: int) -> int:
        return value

    async def second(value: int) -> int:
        order.append(f"second {value}")
        return value

    async def slow(result: int) -> None:
        await wait_all_tasks_blocked()
        order.append(f"hook {result}")

    await pipeline([stage(first, on_success=slow), second]).run([1])

    assert order == ["second 1", "hook 1"]


async def test_on_success_is_not_for_attempts_that_fail_nor_for_what_is_given_up() -> None:
    heard: list[int] = []

    async def odd(value: int, ctx: Turn) -> int:
        if value % 2 or ctx.attempt == 1:
            raise Boom
        return value

    report = await pipeline([stage(odd, policies=[AGAIN], on_success=heard.append)]).run(range(4))

    assert report.counts == counted(fed=4, done=2, dead=2)
    assert heard == [0, 2]


async def test_on_success_is_not_for_what_had_no_room() -> None:
    heard: list[int] = []
    gate = Gate()
    first = stage(increment, on_success=heard.append)
    flow = pipeline([first, stage(gate, name="gate", capacity=1, overflow="fail")])

    async with flow.open() as run:
        await run.feed([1, 2, 3])
        await wait_all_tasks_blocked()
        gate.open()
        report = await run.finish()

    assert {type(each.error) for each in report.dead} == {MailboxFull}
    assert len(heard) == report.counts["done"] < 3


async def test_a_generator_succeeds_once_when_it_has_ended_and_skips_if_it_gave_nothing() -> None:
    heard: list[Any] = []

    async def some(value: int) -> AsyncIterator[int]:
        for each in range(value):
            yield each

    given: dict[str, Any] = {
        "on_success": lambda result: heard.append(("done", result)),
        "on_skip": lambda value: heard.append(("skipped", value)),
    }
    await pipeline([stage(some, **given)]).run([2, 0])
    await pipeline([stage(some, atomic=True, **given)]).run([2, 0])

    assert heard == [("done", None), ("skipped", 0)] * 2


@pytest.mark.parametrize("how", ["ctx", "skip_if", "decision"])
async def test_on_skip_gets_the_value_of_what_came_to_nothing(how: str) -> None:
    skipped: list[int] = []
    done: list[int] = []

    class Leave:
        """A decider that leaves out what fails."""

        def decide(self, attempt: int, error: BaseException, **facts: Any) -> Skip:
            return Skip()

    async def odd(value: int, ctx: Turn) -> int:
        if value % 2 == 0 and how == "ctx":
            ctx.skip()
        if value % 2 == 0 and how == "decision":
            raise Boom
        return value

    skip_if = (lambda value: value % 2 == 0) if how == "skip_if" else None
    policies = [Leave()] if how == "decision" else []
    declared = stage(
        odd, skip_if=skip_if, policies=policies, on_skip=skipped.append, on_success=done.append
    )
    report = await pipeline([declared]).run(range(5))

    assert report.counts == counted(fed=5, done=2, skipped=3)
    assert (skipped, done) == ([0, 2, 4], [1, 3])


@pytest.mark.parametrize("wait", [False, True], ids=["plain", "async"])
async def test_on_failure_gets_the_dead_letter(autojump_clock: None, wait: bool) -> None:
    heard: list[Any] = []

    def plain(letter: DeadLetter) -> None:
        heard.append((letter.body, type(letter.error)))

    async def later(letter: DeadLetter) -> None:
        await trio.sleep(1)
        plain(letter)

    async def bad(value: int) -> int:
        raise Boom

    flow = pipeline([stage(bad, on_failure=later if wait else plain)])
    report = await flow.run([1, 2])

    assert report.counts == counted(fed=2, dead=2)
    assert sorted(heard) == [(1, Boom), (2, Boom)]


async def test_a_flows_on_failure_may_be_async_too() -> None:
    heard: list[Any] = []

    async def later(letter: DeadLetter) -> None:
        heard.append(letter.body)

    async def bad(value: int) -> int:
        raise Boom

    await pipeline([bad], on_failure=later).run([1])

    assert heard == [1]


async def test_an_async_on_failure_hears_of_what_died_before_the_run_had_begun() -> None:
    heard: list[Any] = []

    async def later(letter: DeadLetter) -> None:
        heard.append((letter.body, letter.reason))

    disk = MemoryDisk()
    await fed_and_killed(pipeline([stage(Gate(), name="gone")], name="f"), Mortal(disk), [1])
    flow = pipeline([increment], name="f", on_failure=later)
    report = await finished(flow, Mortal(disk), migrate={})

    assert report.counts == counted(fed=1, dead=1)
    assert heard == [(1, "unknown_schema")]


# Of a flow ------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [False, True], ids=["plain", "async"])
async def test_hooks_of_a_flow_hear_of_every_stage_before_and_after(
    autojump_clock: None, wait: bool
) -> None:
    told = Told(wait=wait)

    async def bad(value: int) -> int:
        if value == 2:
            raise Boom
        return value * 10

    flow = pipeline([increment, bad], hooks=[told])
    async with flow.open() as run:
        await run.feed([1, 2], ids=["x", "y"])

    assert sorted(told.before) == [
        ("bad", "x", 2),
        ("bad", "y", 3),
        ("increment", "x", 1),
        ("increment", "y", 2),
    ]
    assert sorted(each[:4] for each in told.after if each[4] is None) == [
        ("bad", "y", 3, 30),
        ("increment", "x", 1, 2),
        ("increment", "y", 2, 3),
    ]
    failed = [each for each in told.after if each[4] is not None]
    assert [(*each[:4], type(each[4])) for each in failed] == [("bad", "x", 2, None, Boom)]


async def test_hooks_of_a_flow_hear_of_each_attempt() -> None:
    told = Told()

    async def third(value: int, ctx: Turn) -> int:
        if ctx.attempt < 3:
            raise Boom
        return value

    await pipeline([stage(third, policies=[AGAIN])], hooks=[told]).run([1])

    assert told.before == [("third", 0, 1)] * 3
    assert [(each[3], type(each[4])) for each in told.after] == [
        (None, Boom),
        (None, Boom),
        (1, type(None)),
    ]


async def test_an_object_may_have_one_of_the_two_hooks() -> None:
    class Only:
        """Hears of ends."""

        def __init__(self) -> None:
            self.heard: list[Any] = []

        def after_stage(self, *facts: Any) -> None:
            self.heard.append(facts)

    only = Only()
    flow = pipeline([increment], hooks=[only])
    await flow.run([1])

    assert only.heard == [("increment", 0, 1, 2, None)]
    assert await flow.run_step("increment", 1) == 2
    assert len(only.heard) == 2


@pytest.mark.parametrize(
    ("hooks", "text"),
    [
        (print, "flow 'pipeline'.hooks must be a list; each is an object with before_stage"),
        ([print], "flow 'pipeline'.hooks[0] must be an object with before_stage or after_stage"),
        ([Told], "flow 'pipeline'.hooks[0] must be an object with before_stage or after_stage"),
    ],
)
def test_what_is_no_hook_is_an_error(hooks: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pipeline([increment], hooks=hooks)

    assert str(caught.value).startswith(text)


# What they cannot do --------------------------------------------------------------------


async def test_hooks_that_change_what_they_get_change_nothing() -> None:
    class Vandal:
        """Empties what it can lay its hands on."""

        def before_stage(self, stage: str, item_id: Any, value: Any) -> None:
            value.clear()

        def after_stage(
            self, stage: str, item_id: Any, value: Any, result: Any, error: Any
        ) -> None:
            value.clear()
            result.clear()

    async def more(value: list[int]) -> list[int]:
        value.append(1)
        return value

    first = stage(more, name="first", on_success=lambda result: result.clear())
    flow = pipeline([first, stage(more, name="last", on_success=list.clear)], hooks=[Vandal()])

    assert await flow.map([[0], [5]]) == [[0, 1, 1], [5, 1, 1]]


class Ruin(BaseException):
    """No ordinary failure."""


def raises(error: BaseException) -> Callable[..., Any]:
    def hook(*facts: Any) -> None:
        raise error

    return hook


def raises_later(error: BaseException) -> Callable[..., Any]:
    async def hook(*facts: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return hook


@pytest.mark.parametrize("make", [raises, raises_later], ids=["plain", "async"])
@pytest.mark.parametrize("error", [Boom("bad hook"), Ruin("bad hook"), SystemExit("bad hook")])
async def test_hooks_that_fail_change_nothing_and_are_logged_and_counted(
    make: Any, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad:
        """Fails in both."""

        before_stage = staticmethod(make(error))
        after_stage = staticmethod(make(error))

    async def odd(value: int, ctx: Turn) -> int:
        if value == 1:
            ctx.skip()
        if value == 2:
            raise KeyError(value)
        return value

    hook = make(error)
    declared = stage(odd, on_success=hook, on_failure=hook, on_skip=hook)
    flow = pipeline([declared], hooks=[Bad()])
    with caplog.at_level(logging.ERROR):
        async with flow.open() as run:
            await run.feed(range(3))
            report = await run.finish()
            counters = run._kernel.counters

    assert report.counts == counted(fed=3, done=1, skipped=1, dead=1)
    assert report.restarts == 0
    assert counters["hook_errors"] == 3 + 3 + 3
    assert all("bad hook" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 9


async def test_an_async_hook_that_hangs_has_a_deadline(
    autojump_clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(*facts: Any) -> None:
        await trio.sleep_forever()

    class Hangs:
        """Never comes back."""

        before_stage = after_stage = staticmethod(hangs)

    began = trio.current_time()
    declared = stage(increment, on_success=hangs, timeout=1)
    report = await pipeline([declared], hooks=[Hangs()]).run([1])

    assert report.counts == counted(fed=1, done=1)
    assert trio.current_time() - began == 3 * HOOK_SECONDS
    assert [record.getMessage() for record in caplog.records] == [
        f"/pipeline/increment/1: {hook}: TimeoutError('took longer than 5 s')"
        for hook in ("before_stage", "on_success", "after_stage")
    ]


async def test_what_a_hook_takes_before_a_stage_is_not_the_handlers_time(
    autojump_clock: None,
) -> None:
    class Slow:
        """Takes its time."""

        async def before_stage(self, *facts: Any) -> None:
            await trio.sleep(3)

    async def handler(value: int) -> int:
        await trio.sleep(value)
        return value

    report = await pipeline([stage(handler, timeout=2)], hooks=[Slow()]).run([1, 5])

    assert report.counts == counted(fed=2, done=1, dead=1)
    assert [type(each.error) for each in report.dead] == [TurnTimeout]


async def test_a_stop_ends_the_hooks_that_come_before_a_stage_and_gives_the_item_back(
    autojump_clock: None,
) -> None:
    class Hangs:
        """Never comes back."""

        async def before_stage(self, *facts: Any) -> None:
            await trio.sleep_forever()

    calls: list[int] = []
    async with pipeline(
        [stage(calls.append, name="calls", runs_in="loop")], hooks=[Hangs()]
    ).open() as run:
        await run.feed([1])
        await wait_all_tasks_blocked()
        report = await run.stop()

    assert report.counts == counted(fed=1, held=1)
    assert calls == []
    assert run._kernel.counters["hook_errors"] == 0


async def test_a_run_that_is_stopped_waits_for_a_hook_no_longer_than_its_deadline(
    autojump_clock: None,
) -> None:
    ended: list[str] = []

    async def hook(result: int) -> None:
        try:
            await trio.sleep(result)
        finally:
            ended.append("cut off" if result > HOOK_SECONDS else "done")

    for seconds in (2, 100):
        flow = pipeline([stage(increment, on_success=hook)])
        async with flow.open() as run:
            await run.feed([seconds])
            await wait_all_tasks_blocked()
            began = trio.current_time()
            report = await run.stop()
        assert report.counts == counted(fed=1, done=1)
        assert trio.current_time() - began == min(seconds + 1, HOOK_SECONDS)

    assert ended == ["done", "cut off"]


async def test_a_hook_runs_outside_its_turn() -> None:
    fed: list[int] = []

    async def again(result: int) -> None:
        if result == 1:
            await run.feed([10])

    async def seen(value: int) -> int:
        fed.append(value)
        return value

    async with pipeline([stage(seen, on_success=again)]).open() as run:
        await run.feed([1])
        await wait_all_tasks_blocked()

    assert fed == [1, 10]
