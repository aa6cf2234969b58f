"""Cache around handlers: what is a hit, who runs, who waits, and what a hit takes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    ConfigurationError,
    Fixed,
    RateLimit,
    Retry,
    Steps,
    Turn,
    stage,
)
from actorflow.core.context import Context
from tests.flows.flowing import Boom, Gate, counted, double, increment, pipeline
from tests.stages import handlers


class Calls:
    """A handler that counts its calls."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def __call__(self, value: Any) -> Any:
        self.made.append(value)
        return value


class Shelf:
    """A store in a dict, plain or async, which fails where it is told to."""

    def __init__(self, *, wait: bool = False, fails: str = "") -> None:
        self.kept: dict[str, bytes] = {}
        self.times: list[float] = []
        self.deleted: list[str] = []
        self.asked = 0
        self._wait = wait
        self._fails = fails

    def _answer(self, verb: str, value: Any = None) -> Any:
        if self._wait:
            return self._later(verb, value)
        if verb in self._fails:
            raise OSError(verb)
        return value

    async def _later(self, verb: str, value: Any) -> Any:
        await trio.sleep(1)
        if verb in self._fails:
            raise OSError(verb)
        return value

    def get(self, key: str) -> Any:
        self.asked += 1
        return self._answer("get", self.kept.get(key))

    def set(self, key: str, data: bytes, ttl: float) -> Any:
        self.kept[key] = data
        self.times.append(ttl)
        return self._answer("set")

    def delete(self, key: str) -> Any:
        self.deleted.append(key)
        self.kept.pop(key, None)
        return self._answer("delete")


class Slots:
    """A store whose `set` knows no times."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def set(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    def delete(self, key: str) -> None:
        del self.kept[key]


# Hits -----------------------------------------------------------------------------------


async def test_a_hit_runs_no_handler_and_is_the_value_again() -> None:
    calls = Calls()

    values = await pipeline([stage(calls, policies=[Cache(60)])]).map([1, 2, 1, 1])

    assert values == [1, 2, 1, 1]
    assert calls.made == [1, 2]


def plain(value: int) -> int:
    return value + 1


@pytest.mark.parametrize(
    "declared",
    [
        stage(increment, policies=[Cache(60)]),
        stage(plain, policies=[Cache(60)]),
        stage(plain, name="loop", runs_in="loop", policies=[Cache(60)]),
        stage(Steps(increment, double), policies=[Cache(60)]),
        stage(handlers.scaled_by_two, runs_in="process", policies=[Cache(60)]),
    ],
    ids=lambda declared: declared.name,
)
async def test_every_kind_of_handler_that_gives_one_value_may_be_cached(declared: Any) -> None:
    async with pipeline([declared]).open() as run:
        results = run.results()
        await run.feed([7, 7, 7])
        await run.finish()
        values = {result.value async for result in results}
        hits = run._kernel.counters["cache_hits"]

    assert len(values) == 1
    assert hits == 2


async def test_an_entry_is_good_for_its_time(autojump_clock: None) -> None:
    calls = Calls()
    flow = pipeline([stage(calls, policies=[Cache(60)])])

    for seconds in (0, 59.9, 0.2):
        await trio.sleep(seconds)
        await flow.invoke(1)

    assert calls.made == [1, 1]


async def test_a_stage_remembers_over_the_runs_of_its_flow() -> None:
    calls = Calls()
    flow = pipeline([stage(calls, policies=[Cache(60)])])

    assert [await flow.invoke(1), await flow.invoke(1)] == [1, 1]
    assert calls.made == [1]


async def test_two_stages_never_answer_for_each_other() -> None:
    async def same(value: int) -> int:
        return value + 1

    first = same

    async def same(value: int) -> int:  # type: ignore[no-redef]
        return value * 100

    policies = [Cache(60, store=Shelf())]
    flows = [pipeline([stage(each, policies=policies)]) for each in (first, same)]

    assert [await flow.invoke(1) for flow in flows] == [2, 100]


async def test_two_partials_of_one_function_never_answer_for_each_other() -> None:
    store = Shelf()
    flows = [
        pipeline([stage(partial(handlers.scaled, factor), policies=[Cache(9, store=store)])])
        for factor in (3, 5)
    ]

    assert [await flow.invoke(1) for flow in flows] == [3, 5]
    assert len(store.kept) == 2


async def test_another_version_of_a_stage_knows_nothing_of_the_first() -> None:
    store = Shelf()
    flows = [
        pipeline([stage(handlers.own_process, version=version, policies=[Cache(9, store=store)])])
        for version in (1, 2)
    ]
    for flow in flows:
        await flow.invoke(1)

    assert len(store.kept) == 2


async def test_key_says_what_stands_for_the_value() -> None:
    calls = Calls()
    cache = Cache(60, key=lambda value: value["id"])
    flow = pipeline([stage(calls, policies=[cache])])

    values = await flow.map([{"id": 1, "at": 0}, {"id": 1, "at": 9}, {"id": 2, "at": 9}])

    assert [each["at"] for each in values] == [0, 0, 9]
    assert len(calls.made) == 2


async def test_a_key_that_raises_fails_its_item() -> None:
    cache = Cache(60, key=lambda value: value["id"])
    report = await pipeline([stage(increment, policies=[cache, RateLimit(1e6)])]).run([3])

    assert [type(each.error) for each in report.dead] == [TypeError]


async def test_a_hit_is_a_copy_of_its_own() -> None:
    async def made(value: int) -> list[int]:
        return [value]

    async def spoils(value: list[int]) -> list[int]:
        value.append(99)
        return value

    flow = pipeline([stage(made, policies=[Cache(60)]), spoils])

    assert await flow.map([1, 1, 1]) == [[1, 99]] * 3


async def test_types_of_values_are_told_apart() -> None:
    calls = Calls()

    values = await pipeline([stage(calls, policies=[Cache(60)])]).map([1, True, 1.0, (1,), [1]])

    assert len(calls.made) == 5
    assert [type(each) for each in values] == [int, bool, float, tuple, list]


async def test_at_most_so_many_entries_are_kept() -> None:
    calls = Calls()

    await pipeline([stage(calls, policies=[Cache(60, max_entries=2)])]).map([1, 2, 1, 3, 2, 1])

    assert calls.made == [1, 2, 3, 2, 1]


# What is not remembered -----------------------------------------------------------------


async def test_failures_are_never_remembered() -> None:
    calls: list[int] = []

    async def second(value: int) -> int:
        calls.append(value)
        if len(calls) == 1:
            raise Boom
        return value

    retry = Retry(2, backoff=Fixed(0))
    assert await pipeline([stage(second, policies=[Cache(60), retry])]).map([1, 1]) == [1, 1]
    assert calls == [1, 1]


async def test_skips_and_turns_that_did_more_than_return_are_never_remembered() -> None:
    calls: list[int] = []

    async def handler(value: int, ctx: Turn) -> int:
        calls.append(value)
        if value == 1:
            ctx.skip()
        if value == 2:
            ctx.emit("more")
        return value

    report = await pipeline([stage(handler, policies=[Cache(60)])]).run([1, 1, 2, 2, 3, 3])

    assert calls == [1, 1, 2, 2, 3]
    assert report.counts == counted(fed=6, done=4, skipped=2)


async def test_a_hit_has_the_metadata_of_the_handler_and_the_rest_of_its_own_item() -> None:
    runs = 0

    async def handler(value: int, ctx: Turn) -> int:
        nonlocal runs
        runs += 1
        ctx.metadata["ran"] = [runs]
        del ctx.metadata["raw"]
        return value

    flow = pipeline([stage(handler, policies=[Cache(60)])])
    async with flow.open(ordered=True) as run:
        results = run.results()
        for tenant in "ab":
            await run.feed([1], context={"tenant": tenant, "raw": 1})
            found = await anext(results)
            assert found.metadata == {"tenant": tenant, "ran": [1]}

    assert runs == 1


class Odd:
    """Nothing that could be written."""


@pytest.mark.parametrize("given", [[Odd(), Odd()], [1, 1]], ids=["value", "result"])
async def test_what_cannot_be_written_is_not_cached_and_told_once(
    given: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    async def handler(value: Any) -> Any:
        calls.append(value)
        return Odd()

    await pipeline([stage(handler, policies=[Cache(60)])]).map(given)

    warnings = [each.getMessage() for each in caplog.records]
    assert len(calls) == 2
    assert (
        len([each for each in warnings if each.startswith("/pipeline/handler: not cached:")]) == 1
    )


async def stream(value: int) -> AsyncIterator[int]:
    yield value


async def test_a_generator_cannot_be_cached_and_a_flows_cache_leaves_it_out() -> None:
    with pytest.raises(ConfigurationError) as caught:
        stage(stream, policies=[Cache(60)])

    assert str(caught.value).startswith(
        "stage 'stream' Cache must be for a handler that gives one value, not for a generator"
    )
    calls = Calls()
    flow = pipeline([stream, stage(calls, name="calls")], policies=[Cache(60)])
    assert await flow.map([1, 1]) == [[1], [1]]
    assert calls.made == [1]


# One flight -----------------------------------------------------------------------------


async def test_of_equal_values_one_runs_and_the_others_get_what_it_gave() -> None:
    gate = Gate()
    begun: list[int] = []

    async def handler(value: int) -> list[int]:
        begun.append(value)
        return [await gate(value)]

    async with pipeline([stage(handler, workers=10, policies=[Cache(60)])]).open() as run:
        results = run.results()
        await run.feed([1] * 10)
        await wait_all_tasks_blocked()
        assert begun == [1]
        gate.open()
        await run.finish()
        values = [result.value async for result in results]

    assert begun == [1]
    assert values == [[1]] * 10
    assert len({id(value) for value in values}) == 10


async def test_one_flight_is_that_of_all_runs_of_a_stage() -> None:
    gate = Gate()
    flow = pipeline([stage(gate, name="gate", policies=[Cache(60)])])
    values: list[int] = []

    async def invoke() -> None:
        values.append(await flow.invoke(1))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(invoke)
        await wait_all_tasks_blocked(0.05)
        gate.open()

    assert values == [1] * 10
    assert gate.most == 1


async def test_who_fails_wakes_the_next_to_try() -> None:
    calls: list[int] = []

    async def handler(value: int) -> int:
        calls.append(value)
        number = len(calls)
        await wait_all_tasks_blocked(0.01)
        if number < 3:
            raise Boom
        return value

    report = await pipeline([stage(handler, workers=6, policies=[Cache(60)])]).run([1] * 6)

    assert calls == [1, 1, 1]
    assert report.counts == counted(fed=6, done=4, dead=2)


async def test_who_waits_for_its_retry_holds_up_nobody(autojump_clock: None) -> None:
    calls: list[float] = []

    async def handler(value: int) -> int:
        calls.append(trio.current_time() - began)
        await trio.sleep(1)
        if len(calls) == 1:
            raise Boom
        return value

    retry = Retry(2, backoff=Fixed(100))
    began = trio.current_time()
    report = await pipeline([stage(handler, workers=3, policies=[Cache(60), retry])]).run([1] * 3)

    assert report.counts == counted(fed=3, done=3)
    assert calls == [0.0, 1.0, 101.0]


async def test_waiting_for_another_is_not_the_handlers_time(autojump_clock: None) -> None:
    async def handler(value: int) -> int:
        tried.append(value)
        await trio.sleep(3)
        if len(tried) == 1:
            raise Boom
        return value

    tried: list[int] = []
    declared = stage(handler, workers=2, timeout=4, policies=[Cache(60)])
    report = await pipeline([declared]).run([1, 1])

    assert report.counts == counted(fed=2, done=1, dead=1)
    assert [type(each.error) for each in report.dead] == [Boom]


async def test_a_flight_whose_run_is_cancelled_wakes_the_next(autojump_clock: None) -> None:
    tried: list[int] = []

    async def handler(value: int) -> int:
        tried.append(value)
        if len(tried) == 1:
            await trio.sleep_forever()
        return value

    flow = pipeline([stage(handler, policies=[Cache(60)])])
    async with flow.open() as first, flow.open() as second:
        await first.feed([1])
        await wait_all_tasks_blocked()
        await second.feed([1])
        await wait_all_tasks_blocked()
        assert tried == [1]
        first.cancel()
        report = await second.finish()

    assert report.counts == counted(fed=1, done=1)
    assert tried == [1, 1]


# What a hit takes -----------------------------------------------------------------------


async def test_a_hit_takes_nothing_from_a_rate_and_waits_for_none(autojump_clock: None) -> None:
    calls = Calls()
    began = trio.current_time()
    times: list[float] = []
    declared = stage(calls, policies=[Cache(600), RateLimit(1, per=100)])

    await pipeline([declared]).run(
        [1] * 50 + [2], sink=lambda value: times.append(trio.current_time() - began)
    )

    assert calls.made == [1, 2]
    assert times == pytest.approx([0] * 50 + [100], abs=0.01)


async def test_who_waited_for_a_flight_gives_back_what_it_took(autojump_clock: None) -> None:
    times: list[float] = []

    async def handler(value: int) -> int:
        times.append(trio.current_time() - began)
        await trio.sleep(1)
        return value

    rate = RateLimit(1, per=100, burst=3)
    declared = stage(handler, workers=3, policies=[Cache(600), rate])
    began = trio.current_time()
    await pipeline([declared]).run([1, 1, 1, 2, 3])

    assert times == pytest.approx([0, 1, 1], abs=0.01)


async def test_what_the_gate_makes_wait_passes_when_it_has_become_a_hit(
    autojump_clock: None,
) -> None:
    async def handler(value: int) -> int:
        await trio.sleep(1)
        return value

    declared = stage(handler, workers=3, policies=[Cache(600), RateLimit(1, per=100)])
    began = trio.current_time()
    await pipeline([declared]).run([1, 1, 1])

    assert trio.current_time() - began == pytest.approx(1, abs=0.01)


async def test_what_another_run_finds_out_lets_a_message_pass_the_gate(
    autojump_clock: None,
) -> None:
    flow = pipeline([stage(increment, policies=[Cache(600), RateLimit(1, per=100)])])
    began = trio.current_time()

    async with flow.open() as first, flow.open() as second:
        await first.feed([5, 1])
        await wait_all_tasks_blocked()
        assert first.stats().counts["done"] == 1
        await second.feed([1])
        await first.finish()

    assert trio.current_time() - began < 1


async def test_a_hit_is_given_while_the_circuit_is_open(autojump_clock: None) -> None:
    async def handler(value: int) -> int:
        if value < 0:
            raise Boom
        return value

    breaker = CircuitBreaker(1, 1000, when_open="reject")
    report = await pipeline([stage(handler, policies=[Cache(6000), breaker])]).run([1, -1, 1, 2, 1])

    assert report.counts == counted(fed=5, done=3, dead=2)
    assert [each.reason for each in report.dead] == ["failed", "rejected"]


async def test_a_hit_of_a_store_gives_back_what_it_took(autojump_clock: None) -> None:
    calls = Calls()
    store = Shelf()
    rate = RateLimit(1, per=100)
    declared = stage(calls, policies=[Cache(600, store=store), rate, Bulkhead(1)])
    flow = pipeline([declared])
    await flow.run([1])
    began = trio.current_time()

    await flow.run([1] * 20)

    assert calls.made == [1]
    assert trio.current_time() - began < 1


# Contexts -------------------------------------------------------------------------------


async def test_of_a_context_only_what_is_read_counts_and_only_what_was_written_is_kept() -> None:
    calls: list[str] = []

    async def price(ctx: Context) -> Context:
        calls.append(ctx["sku"])
        return ctx.set("price", [len(ctx["sku"])]).set("status", "priced")

    flow = pipeline([stage(price, reads=("sku",), policies=[Cache(60)])])
    given = [
        Context({"sku": "abc", "order": 1, "status": "priced"}),
        Context({"sku": "abc", "order": 2, "status": "new"}),
        {"sku": "abc", "order": 3},
        Context({"order": 4, "sku": "ab"}),
    ]
    values = await flow.map(given)

    assert calls == ["abc", "ab"]
    assert [dict(each) for each in values] == [
        {"sku": "abc", "order": 1, "price": [3], "status": "priced"},
        {"sku": "abc", "order": 2, "price": [3], "status": "priced"},
        {"sku": "abc", "order": 3, "price": [3], "status": "priced"},
        {"sku": "ab", "order": 4, "price": [2], "status": "priced"},
    ]


async def test_what_an_earlier_stage_has_written_is_not_what_a_handler_gave() -> None:
    async def numbered(ctx: Context) -> Context:
        return ctx.set("order", ctx["at"])

    async def price(ctx: Context) -> Context:
        return ctx.set("price", 7)

    flow = pipeline([numbered, stage(price, reads=("sku",), policies=[Cache(60)])])
    values = await flow.map([Context({"sku": "abc", "at": at}) for at in (1, 2)])

    assert [each["order"] for each in values] == [1, 2]
    assert [each.written for each in values] == [{"order", "price"}] * 2


async def test_a_key_that_a_handler_takes_out_of_a_context_is_taken_out_by_a_hit() -> None:
    async def without(ctx: Context) -> Context:
        return ctx.remove("secret") if "secret" in ctx else ctx.set("bare", True)

    declared = stage(without, reads=("sku",), writes=("secret", "bare"), policies=[Cache(60)])
    flow = pipeline([declared])
    values = await flow.map([{"sku": 1, "secret": 1}, {"sku": 1}, {"sku": 1, "secret": 2, "a": 3}])

    assert [dict(each) for each in values] == [{"sku": 1}, {"sku": 1}, {"sku": 1, "a": 3}]


async def test_a_patch_is_cached_like_what_it_makes_of_a_context() -> None:
    calls: list[int] = []

    async def price(ctx: Context) -> dict[str, int]:
        calls.append(ctx["sku"])
        return {"price": len(calls)}

    flow = pipeline([stage(price, reads=("sku",), writes=("price",), policies=[Cache(60)])])
    values = await flow.map([{"sku": 1, "order": 1}, {"sku": 1, "order": 2, "price": 9}])

    assert [dict(each) for each in values] == [
        {"sku": 1, "order": 1, "price": 1},
        {"sku": 1, "order": 2, "price": 1},
    ]


async def test_of_a_context_that_a_handler_makes_afresh_nobody_knows_what_is_its_own() -> None:
    calls: list[int] = []

    async def anew(value: Any) -> Context:
        calls.append(value["sku"])
        return Context({"other": len(calls)})

    flow = pipeline([stage(anew, policies=[Cache(60)])])
    values = await flow.map([Context({"sku": 1})] * 2)

    assert [dict(each) for each in values] == [{"other": 1}, {"other": 2}]


# Stores ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [False, True], ids=["plain", "async"])
async def test_a_store_keeps_the_entries_over_event_loops(wait: bool) -> None:
    await trio.lowlevel.checkpoint()
    store = Shelf(wait=wait)
    ran: list[int] = []

    def life() -> Any:
        declared = stage(handlers.noted, policies=[Cache(60, store=store)])
        flow = pipeline([declared])

        async def main() -> Any:
            return await flow.map([[1], [1]])

        return main

    def apart(main: Callable[..., Any]) -> Any:
        handlers.NOTED.clear()
        value = trio.run(main, clock=MockClock(autojump_threshold=0))
        ran.append(len(handlers.NOTED))
        return value

    values = [await trio.to_thread.run_sync(apart, life()) for _ in range(2)]

    assert values == [[[1], [1]]] * 2
    assert ran == [1, 0]
    assert store.times == [60.0]


async def test_an_entry_of_a_store_is_good_for_its_time(autojump_clock: None) -> None:
    calls = Calls()
    store = Slots()
    flow = pipeline([stage(calls, policies=[Cache(60, store=store)])])

    for seconds in (0, 59, 2):
        await trio.sleep(seconds)
        await flow.invoke(1)

    assert calls.made == [1, 1]
    assert len(store.kept) == 1


@pytest.mark.parametrize("fails", ["get", "set", "delete"])
@pytest.mark.parametrize("wait", [False, True], ids=["plain", "async"])
async def test_a_store_that_fails_is_a_miss_and_logged_and_counted(
    autojump_clock: None, wait: bool, fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    store = Shelf(wait=wait, fails=fails)
    flow = pipeline([stage(calls, name="calls", policies=[Cache(60, store=store)])])

    with caplog.at_level(logging.ERROR):
        async with flow.open() as run:
            await run.feed([1])
            await trio.sleep(10)
            if fails == "delete":
                for key in store.kept:
                    store.kept[key] = b"\xc1"
            await run.feed([1])
            report = await run.finish()
            errors = run._kernel.counters["cache_errors"]

    assert report.counts == counted(fed=2, done=2)
    assert errors == {"get": 2, "set": 1, "delete": 2}[fails]
    assert f"/pipeline/calls: {fails}() of its cache's store: OSError('{fails}')" in [
        each.getMessage() for each in caplog.records
    ]


async def test_who_waits_for_a_flight_does_not_ask_the_store(autojump_clock: None) -> None:
    calls = Calls()
    store = Shelf(wait=True)
    declared = stage(calls, workers=5, policies=[Cache(60, store=store)])

    await pipeline([declared]).run([1] * 5)

    assert calls.made == [1]
    assert store.asked == 1


async def test_an_entry_that_cannot_be_read_is_a_miss_and_deleted() -> None:
    calls = Calls()
    store = Shelf()
    flow = pipeline([stage(calls, policies=[Cache(60, store=store)])])
    await flow.invoke(1)
    for key in store.kept:
        store.kept[key] = b"\xc1"

    assert await flow.invoke(1) == 1
    assert calls.made == [1, 1]
    assert len(store.deleted) == 1
    assert await flow.invoke(1) == 1
    assert calls.made == [1, 1]


async def test_a_store_that_hangs_is_a_miss_after_its_deadline(autojump_clock: None) -> None:
    class Hangs(Shelf):
        async def get(self, key: str) -> Any:
            await trio.sleep_forever()

    calls = Calls()
    began = trio.current_time()

    assert await pipeline([stage(calls, policies=[Cache(60, store=Hangs())])]).invoke(1) == 1
    assert trio.current_time() - began == 5


# Living together ------------------------------------------------------------------------


async def test_a_cache_can_be_changed_live(autojump_clock: None) -> None:
    calls = Calls()
    async with pipeline([stage(calls, name="calls", policies=[Cache(60)])]).open() as run:
        await run.feed([1])
        await trio.sleep(10)
        await run.set_policy("calls", Cache(5))
        await run.feed([1])

    assert calls.made == [1, 1]


async def test_a_cache_is_around_the_middleware() -> None:
    seen: list[int] = []

    async def watch(call: Any, value: Any, ctx: Turn) -> Any:
        seen.append(value)
        return -await call(value)

    flow = pipeline([stage(increment, policies=[Cache(60)])], middleware=[watch])

    assert await flow.map([1, 1]) == [-2, -2]
    assert seen == [1]


async def test_what_skip_if_leaves_out_is_not_asked_for() -> None:
    calls = Calls()
    declared = stage(calls, skip_if=lambda value: value == 2, policies=[Cache(60)])

    report = await pipeline([declared]).run([1, 2, 1, 2])

    assert report.counts == counted(fed=4, done=2, skipped=2)
    assert calls.made == [1]


async def test_steps_that_failed_go_on_where_they_failed_and_are_then_remembered() -> None:
    ran: list[str] = []

    async def first(value: int) -> int:
        ran.append("first")
        return value

    async def second(value: int, ctx: Turn) -> int:
        ran.append("second")
        if ctx.attempt == 1:
            raise Boom
        return value

    retry = Retry(2, backoff=Fixed(0), position="head")
    declared = stage(Steps(first, second), policies=[Cache(60), retry])

    assert await pipeline([declared]).map([1, 1]) == [1, 1]
    assert ran == ["first", "second", "second"]
