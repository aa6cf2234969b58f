"""`ctx.limit` and `ctx.rate`: who is inside, who waits, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorSystem,
    AskFailed,
    ConfigurationError,
    Executor,
    RateLimit,
    Steps,
    Turn,
    TurnTimeout,
    UsageError,
    current_turn,
    stage,
)
from actorflow.durability.memory import MemoryDisk
from actorflow.policies import RateLimitMachine
from actorflow.stages.sections import RateDoor
from tests.flows.flowing import Gate, counted, increment, pipeline
from tests.flows.lives import Mortal, fed_and_killed, finished

# Limits ---------------------------------------------------------------------------------


async def test_a_limit_lets_so_many_workers_in_and_leaves_the_rest_of_the_handler_free() -> None:
    gate = Gate()
    begun: list[int] = []

    async def handler(value: int, ctx: Turn) -> int:
        begun.append(value)
        async with ctx.limit("db"):
            return await gate(value)  # type: ignore[no-any-return]

    flow = pipeline([stage(handler, workers=6, limits={"db": 2})])
    async with flow.open() as run:
        await run.feed(range(6))
        await wait_all_tasks_blocked()

        assert sorted(begun) == list(range(6))
        assert len(gate.inside) == 2
        gate.open()
        report = await run.finish()

    assert gate.most == 2
    assert report.counts == counted(fed=6, done=6)


async def test_waiters_enter_in_the_order_they_came() -> None:
    came: list[int] = []
    entered: list[int] = []

    async def handler(value: int, ctx: Turn) -> int:
        came.append(value)
        async with ctx.limit("db"):
            entered.append(value)
            await trio.lowlevel.checkpoint()
        return value

    await pipeline([stage(handler, workers=8, limits={"db": 1})]).run(range(40))

    assert entered == came


async def test_has_room_says_whether_so_many_could_enter() -> None:
    seen: list[Any] = []

    async def handler(value: int, ctx: Turn) -> int:
        section = ctx.limit("db")
        seen.append([section.has_room(), section.has_room(2), section.has_room(3)])
        async with section:
            seen.append([section.has_room(), section.has_room(2)])
            async with ctx.limit("db"):
                seen.append(section.has_room())
        seen.append(section.has_room(2))
        return value

    await pipeline([stage(handler, limits={"db": 2})]).run([1])

    assert seen == [[True, True, False], [True, False], False, True]


async def test_a_place_comes_back_from_whoever_fails_or_is_cut_off(autojump_clock: None) -> None:
    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.limit("db"):
            if value == 0:
                raise KeyError
            if value == 1:
                await trio.sleep(100)
            return value

    report = await pipeline([stage(handler, timeout=1, limits={"db": 1})]).run(range(4))

    assert report.counts == counted(fed=4, done=2, dead=2)


async def test_a_wait_ends_with_the_turn(autojump_clock: None) -> None:
    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.limit("db"):
            await trio.sleep(1.5)
        return value

    declared = stage(handler, workers=3, timeout=2, limits={"db": 1})
    report = await pipeline([declared]).run(range(3))

    assert report.counts == counted(fed=3, done=1, dead=2)
    assert {type(each.error) for each in report.dead} == {TurnTimeout}


# Rates ----------------------------------------------------------------------------------


async def test_a_rate_is_the_stages_whatever_its_workers(autojump_clock: None) -> None:
    times: list[float] = []

    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.rate("api"):
            times.append(trio.current_time() - began)
        return value

    declared = stage(handler, workers=4, rates={"api": RateLimit(2, burst=2)})
    began = trio.current_time()
    await pipeline([declared]).run(range(6))

    assert times == pytest.approx([0, 0, 0.5, 1.0, 1.5, 2.0], abs=1e-6)


async def test_a_rate_lets_waiters_in_as_they_came(autojump_clock: None) -> None:
    came: list[int] = []
    entered: list[int] = []

    async def handler(value: int, ctx: Turn) -> int:
        came.append(value)
        async with ctx.rate("api"):
            entered.append(value)
        return value

    await pipeline([stage(handler, workers=5, rates={"api": RateLimit(1)})]).run(range(20))

    assert entered == came


async def test_has_room_of_a_rate_is_about_now(autojump_clock: None) -> None:
    seen: list[Any] = []

    async def handler(value: int, ctx: Turn) -> int:
        section = ctx.rate("api")
        seen.append([section.has_room(3), section.has_room(4)])
        async with section:
            pass
        seen.append([section.has_room(2), section.has_room(3)])
        await trio.sleep(1)
        seen.append(section.has_room(3))
        return value

    await pipeline([stage(handler, rates={"api": RateLimit(1, burst=3)})]).run([1])

    assert seen == [[True, False], [True, False], True]


async def test_there_is_no_room_at_a_rate_for_whom_another_waits() -> None:
    door = RateDoor(RateLimitMachine(RateLimit(1000)), trio.current_time)

    assert door.has_room(1)
    async with door._line:
        assert not door.has_room(1)


async def test_a_rate_goes_on_counting_after_a_restart() -> None:
    room: list[bool] = []

    async def handler(value: int, ctx: Turn) -> int:
        room.append(ctx.rate("api").has_room())
        if room[-1]:
            async with ctx.rate("api"):
                return value
        return value

    disk = MemoryDisk()
    flow = pipeline([stage(handler, rates={"api": RateLimit(1, per=1000)})], name="f")
    await fed_and_killed(flow, Mortal(disk), [1], until=lambda: len(room) == 1)
    async with flow.open(store=Mortal(disk), run_id="run") as run:
        await run.feed([2])

    assert room == [True, False]


async def test_a_shared_rate_is_one_for_all_that_name_it(autojump_clock: None) -> None:
    times: list[float] = []

    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.rate("api"):
            times.append(trio.current_time() - began)
        return value

    rates = {"api": RateLimit(1, shared="api")}
    flow = pipeline([stage(handler, name="a", rates=rates), stage(handler, name="b", rates=rates)])
    began = trio.current_time()
    await flow.run(range(2))

    assert sorted(times) == pytest.approx([0, 1, 2, 3], abs=1e-6)


# In threads -----------------------------------------------------------------------------


async def test_a_handler_in_a_thread_uses_a_plain_with() -> None:
    inside: list[int] = []
    most: list[int] = []
    barrier = threading.Semaphore(0)

    def handler(value: int, ctx: Turn) -> int:
        with ctx.limit("db"), ctx.rate("api"):
            inside.append(value)
            most.append(len(inside))
            barrier.acquire(timeout=0.01)
            inside.remove(value)
        return value

    declared = stage(handler, workers=5, limits={"db": 2}, rates={"api": RateLimit(1e6)})
    report = await pipeline([declared]).run(range(10))

    assert report.counts == counted(fed=10, done=10)
    assert max(most) == 2


async def test_a_wait_in_a_thread_ends_with_the_turn_and_takes_no_place() -> None:
    release = threading.Event()
    entered: list[int] = []

    def handler(value: int, ctx: Turn) -> int:
        with ctx.limit("db"):
            entered.append(value)
            release.wait(90)
        return value

    flow = pipeline([stage(handler, workers=2, timeout=0.05, limits={"db": 1})])
    async with flow.open() as run:
        await run.feed([1, 2])
        while run.stats().counts["dead"] < 1:
            await wait_all_tasks_blocked(0.001)
        release.set()
        while run.stats().counts["dead"] < 2:
            await wait_all_tasks_blocked(0.001)
        await run.feed([3])
        report = await run.finish()

    assert report.counts == counted(fed=3, done=1, dead=2)
    assert len(entered) == 2
    assert entered[1] == 3


async def test_a_thread_that_is_left_behind_while_it_waits_does_not_enter() -> None:
    release = threading.Event()
    entered: list[int] = []
    over: list[int] = []

    def handler(value: int, ctx: Turn) -> int:
        try:
            with ctx.limit("db"):
                entered.append(value)
                release.wait(90)
        finally:
            over.append(value)
        return value

    async with pipeline([stage(handler, workers=2, limits={"db": 1})]).open() as run:
        await run.feed([1, 2])
        while not entered:
            await wait_all_tasks_blocked(0.001)
        await wait_all_tasks_blocked(0.01)
        report = await run.stop()
    release.set()
    while len(over) < 2:
        await wait_all_tasks_blocked(0.001)

    assert report.counts == counted(fed=2, held=2)
    assert len(entered) == 1


async def test_async_with_in_the_loop_and_with_in_threads_are_told_apart() -> None:
    async def handler(value: int, ctx: Turn) -> int:
        with ctx.limit("db"):
            return value

    report = await pipeline([stage(handler, limits={"db": 1})]).run([1])

    assert [str(each.error) for each in report.dead] == [
        "`with ctx.limit('db')` is for handlers in threads; write `async with`"
    ]
    assert type(report.dead[0].error) is UsageError


# What cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (
            lambda ctx: ctx.limit("bd"),
            "ctx.limit() in stage 'handler' must be declared by the stage, as in "
            "limits={'db': 3}; it declares 'db', 'disk', got 'bd'",
        ),
        (
            lambda ctx: ctx.rate("api"),
            "ctx.rate() in stage 'handler' must be declared by the stage, as in "
            "rates={'api': RateLimit(10)}; it declares none, got 'api'",
        ),
    ],
)
async def test_an_unknown_name_is_an_error_that_lists_the_known(
    use: Callable[[Turn], Any], text: str
) -> None:
    async def handler(value: int, ctx: Turn) -> int:
        async with use(ctx):
            return value

    report = await pipeline([stage(handler, limits={"db": 1, "disk": 1})]).run([1])

    assert [str(each.error) for each in report.dead] == [text]
    assert type(report.dead[0].error) is ConfigurationError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"limits": ["db"]},
            "stage 'increment'.limits must be a dict of names and numbers, such as {'db': 3}, "
            "got ['db']",
        ),
        (
            {"limits": {"db": 0}},
            "stage 'increment'.limits['db'] must be a whole number, 1 or more, got 0",
        ),
        (
            {"rates": {"api": 10}},
            "stage 'increment'.rates['api'] must be a RateLimit, got 10",
        ),
        (
            {"rates": RateLimit(3)},
            "stage 'increment'.rates must be a dict of names and limits, such as "
            "{'api': RateLimit(10)}, got ",
        ),
        (
            {"rates": {"api": RateLimit(3, per_worker=True)}},
            "stage 'increment'.rates['api'].per_worker must be left out, as whoever enters the "
            "section is counted, got True",
        ),
    ],
)
def test_what_is_no_section_is_an_error(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        stage(increment, **given)

    assert str(caught.value).startswith(text)


def test_a_shared_rate_that_is_declared_otherwise_elsewhere_is_found_by_check() -> None:
    stages = [
        stage(increment, name=name, rates={"api": RateLimit(rate, shared="api")})
        for name, rate in (("a", 1), ("b", 2))
    ]

    with pytest.raises(ConfigurationError, match=r"^stage 'b' RateLimit must be declared as where"):
        pipeline(stages).check()


async def test_actors_have_no_sections() -> None:
    class Asked(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            ctx.limit("db")

    async with ActorSystem("s") as system:
        asked = await system.spawn(Asked, name="asked")
        with pytest.raises(AskFailed) as caught:
            await asked.ask(1)

    assert str(caught.value.__cause__) == "ctx.limit() is for stages; /s/asked is an actor"


async def test_steps_have_sections_too() -> None:
    async def inside(value: int, ctx: Turn) -> bool:
        async with ctx.limit("db"):
            return ctx.limit("db").has_room()  # type: ignore[no-any-return]

    assert await pipeline([stage(Steps(increment, inside), limits={"db": 1})]).invoke(1) is False


async def test_a_run_that_is_killed_and_finished_has_all_places_again() -> None:
    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.limit("db"):
            if hangs:
                await trio.sleep_forever()
        return value

    hangs = [True]
    disk = MemoryDisk()
    flow = pipeline([stage(handler, workers=3, limits={"db": 1})], name="f")
    await fed_and_killed(flow, Mortal(disk), [1, 2, 3])
    hangs.clear()
    report = await finished(flow, Mortal(disk))

    assert report.counts == counted(fed=3, done=3)


# Inside itself ----------------------------------------------------------------------------


async def test_a_section_inside_itself_is_an_error_at_once() -> None:
    async def helper(value: int, ctx: Turn) -> int:
        async with ctx.limit("db"):
            return value

    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.limit("db"):
            pass
        async with ctx.limit("db"):
            return await helper(value, ctx) if value else 0

    flow = pipeline([stage(handler, limits={"db": 1})])

    first, second = await flow.map([1, 0], return_exceptions=True)

    assert type(first.__cause__) is UsageError
    assert "ctx.limit('db') is entered inside itself" in str(first)
    assert second == 0


async def test_it_may_be_entered_twice_unless_all_inside_wait() -> None:
    inside = trio.Event()

    async def handler(value: int, ctx: Turn) -> int:
        async with ctx.limit("db"):
            if value:
                await inside.wait()
            async with ctx.limit("db"):
                if not value:
                    return 0
        return value

    def flow() -> Any:
        return pipeline([stage(handler, limits={"db": 2}, workers=2)])

    assert await flow().map([0]) == [0]
    async with flow().open() as run:
        await run.feed([1, 2])
        await wait_all_tasks_blocked()
        inside.set()
        report = await run.finish()

    assert report.counts == counted(fed=2, done=1, dead=1)


async def test_also_in_a_thread() -> None:
    def handler(value: int, ctx: Turn) -> int:
        with ctx.limit("db"):
            pass
        with ctx.limit("db"):
            if not value:
                return 0
            with current_turn().limit("db"):
                return value

    flow = pipeline([stage(handler, limits={"db": 1})])

    first, second = await flow.map([1, 0], return_exceptions=True)

    assert "ctx.limit('db') is entered inside itself" in str(first)
    assert second == 0


async def test_tasks_of_one_turn_enter_one_section_one_after_the_other() -> None:
    entered: list[int] = []

    async def handler(value: int, ctx: Turn) -> int:
        async def part(number: int) -> None:
            async with ctx.limit("db"):
                entered.append(number)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(part, number)
        return value

    await pipeline([stage(handler, limits={"db": 1})]).invoke(0)

    assert sorted(entered) == [0, 1, 2]


async def test_a_plain_function_of_an_executor_finds_its_sections() -> None:
    def call(value: int) -> int:
        with current_turn().limit("db"):
            return value

    async with Executor(limits={"db": 2}) as executor:
        future = await executor.submit(call, 1)
        assert await future.result() == 1
