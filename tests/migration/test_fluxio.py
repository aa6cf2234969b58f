"""What fluxio documents, written for actorflow, gives what it documents.

The programs of the page run and print what it says; its table has every public name; and what
fluxio promises of pipelines, contexts, middleware and checkpoints holds here.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from pydantic import BaseModel
from trio.testing import MockClock

from actorflow import (
    Cache,
    Chunk,
    CircuitBreaker,
    CircuitOpenError,
    CompilationError,
    ConfigurationError,
    Context,
    DeadLetter,
    Exponential,
    Fixed,
    MergeConflictError,
    MissingKey,
    Parallel,
    Pipeline,
    RateLimit,
    Retry,
    RunInUseError,
    RunNotFoundError,
    SchemaError,
    Send,
    StageError,
    Turn,
    TurnTimeout,
    VersionMismatch,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.middleware import Logging
from tests.cli.support import invoke, json_lines, write_module
from tests.programs import Program, names_in_tables, printed, programs

PAGE = "migration/fluxio.md"

#: Every public name of fluxio 0.1.0: classes, functions, methods, options, errors, callbacks.
NAMES = (
    *("Pipeline", "nodes", "middleware", "callbacks", "checkpoint_store", "durable"),
    *("max_workers", "auto_parallel", "invoke", "initial_ctx", "run_id", "resume", "stream"),
    *("run_step", "replay", "from_step", "diff", "explain", "version", "shutdown"),
    *("stage", "StageFunc", "node_type", "reads", "writes", "input_schema", "output_schema"),
    *("timeout", "NodeType", "NodeType.ASYNC", "NodeType.SYNC", "NodeType.STREAM"),
    "<stage>_stream_result",
    *("Context", "Context.get", "Context[key]", "Context.set", "Context.update", "Context.fork"),
    *("Context.merge", "Context.snapshot", "Context.from_snapshot", "Context.create"),
    *("Context.name", "Context.written"),
    *("Parallel", "branches", "mode", "name", "ForkMode", "ForkMode.PARALLEL"),
    *("ForkMode.FIRE_FORGET", "Send", "route", "patch"),
    *("Middleware", "Middleware.__call__", "RetryMiddleware", "max_attempts", "backoff"),
    *("base_delay", "exceptions", "CacheMiddleware", "store", "ttl", "key_fn"),
    *("CircuitBreakerMiddleware", "failure_threshold", "recovery_timeout"),
    *("RateLimitMiddleware", "rps"),
    *("BaseCallback", "on_pipeline_start", "on_pipeline_end", "on_step_start", "on_step_end"),
    *("on_step_stream", "on_branch", "on_route", "on_error", "on_checkpoint"),
    *("LoggingCallback", "chunk_logging", "LangfuseCallback", "public_key", "secret_key", "host"),
    *("InMemoryStore", "RedisStore", "url", "key_prefix", "RedisStore.aclose"),
    *("CheckpointStore", "CheckpointStore.save", "CheckpointStore.load"),
    *("CheckpointStore.delete", "CheckpointStore.exists", "Checkpoint"),
    *("InMemoryCache", "CacheStore", "CacheStore.get", "CacheStore.set", "CacheStore.delete"),
    *("FluxioError", "CompilationError", "node_ids", "MergeConflictError", "conflicting_keys"),
    *("branch_names", "CircuitOpenError", "RunIDInUseError", "CheckpointVersionError"),
    *("NoCheckpointError", "ValidationError"),
    *("StepHarness", "StepHarness.run", "StepHarness.run_stream", "StepHarness.assert_writes"),
    *("StepHarness.close", "make_ctx"),
)

PROGRAMS = programs(PAGE)


def pipeline(nodes: list[Any], **options: Any) -> Pipeline[Any, Any]:
    return Pipeline(nodes, **options)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_the_program_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    assert printed(program, tmp_path) == program.prints


def test_the_page_has_a_program_for_each_main_thing() -> None:
    assert len(PROGRAMS) == 10
    assert all(each.prints for each in PROGRAMS)


def test_the_table_has_every_name() -> None:
    assert set(NAMES) - names_in_tables(PAGE) == set()


# Contexts ---------------------------------------------------------------------------------


def test_get_is_permissive_and_brackets_are_strict() -> None:
    context = Context({"user_id": 42})

    assert (context.get("user_id"), context.get("missing"), context.get("n", 0)) == (42, None, 0)
    with pytest.raises(KeyError):
        context["missing"]


def test_set_and_update_give_another_context_and_leave_the_first() -> None:
    first = Context({"a": 1})

    assert first.set("b", 2).update({"c": 3}) == {"a": 1, "b": 2, "c": 3}
    assert first == {"a": 1}


def test_a_fork_has_the_data_and_a_name_and_has_written_nothing() -> None:
    fork = Context({"a": 1}).set("b", 2).fork("left")

    assert fork == {"a": 1, "b": 2}
    assert (fork.name, fork.written) == ("left", frozenset())


def test_branches_that_wrote_keys_of_their_own_are_merged() -> None:
    base = Context({"x": 1})
    left, right = base.fork("left").set("a", 1), base.fork("right").set("b", 2)

    assert Context.merge(base, [left, right]) == {"x": 1, "a": 1, "b": 2}


def test_branches_that_wrote_one_key_conflict_though_the_value_is_the_same() -> None:
    base = Context()

    with pytest.raises(MergeConflictError) as caught:
        base.merge([base.fork("left").set("a", 1), base.fork("right").set("a", 1)])
    assert (caught.value.keys, caught.value.branches) == (("a",), ("left", "right"))


def test_a_snapshot_is_a_copy_to_its_depth_and_makes_an_equal_context() -> None:
    context = Context({"rows": [1]})
    snapshot = context.to_dict()
    snapshot["rows"].append(2)

    assert context["rows"] == [1]
    assert Context(context.to_dict()) == context


# Putting together ---------------------------------------------------------------------------


@stage
async def fetch_user(context: Context) -> Context:
    return context.set("user", {"id": context["user_id"], "name": "somebody"})


@stage(reads=frozenset({"user"}), writes=frozenset({"profile"}))
async def enrich(context: Context) -> Context:
    return context.set("profile", context["user"]["name"].upper())


async def send_email(context: Context) -> Context:
    return context.set("sent", context["user"]["id"])


async def test_a_pipeline_of_two_stages_gives_the_last_context() -> None:
    async with pipeline([fetch_user, send_email]) as flow:
        found = await flow.invoke({"user_id": 42})

    assert type(found) is Context
    assert found["sent"] == 42


async def test_a_stage_that_declares_its_keys_reads_and_writes_them() -> None:
    found = await pipeline([fetch_user, enrich]).invoke({"user_id": 42})

    assert found["profile"] == "SOMEBODY"


async def test_a_context_may_be_given_in_place_of_a_dict() -> None:
    found = await pipeline([send_email]).invoke(Context({"user": {"id": 1}}))

    assert found["sent"] == 1


async def test_a_plain_function_runs_in_a_thread() -> None:
    def where(context: Context) -> dict[str, Any]:
        return {"main": threading.current_thread() is threading.main_thread()}

    assert (await pipeline([where]).invoke({}))["main"] is False


def writes(name: str, *reads: str, **options: Any) -> Any:
    """A stage that takes a second and writes, under its name, the sum of what it reads."""

    async def work(context: Context) -> dict[str, Any]:
        await trio.sleep(1)
        return {name: sum(context[key] for key in reads) + 1}

    return stage(work, name=name, **options)


def declared(name: str, *reads: str) -> Any:
    return writes(name, *reads, reads=reads, writes=[name])


async def test_branches_run_at_the_same_time_and_are_merged(autojump_clock: MockClock) -> None:
    flow = pipeline([Parallel([writes("a", "x"), writes("b", "x")])], auto_parallel=False)

    assert await flow.invoke({"x": 10}) == {"x": 10, "a": 11, "b": 11}
    assert trio.current_time() == 1


async def test_stages_that_declare_different_keys_run_at_the_same_time(
    autojump_clock: MockClock,
) -> None:
    nodes = [declared("a", "x"), declared("b", "x"), declared("c", "a", "b")]

    assert await pipeline(nodes).invoke({"x": 0}) == {"x": 0, "a": 1, "b": 1, "c": 3}
    assert trio.current_time() == 2


async def test_one_that_declares_half_of_its_keys_stays_in_its_place(
    autojump_clock: MockClock,
) -> None:
    nodes = [writes("a", reads=[]), writes("b", writes=["b"])]

    assert await pipeline(nodes).invoke({}) == {"a": 1, "b": 1}
    assert trio.current_time() == 2


def test_branches_that_declare_one_key_are_refused_with_their_names() -> None:
    branches = [writes("a", writes=["k"]), writes("b", writes=["k"])]

    with pytest.raises(CompilationError, match="'a' and 'b' both write 'k'") as caught:
        pipeline([Parallel(branches)])
    assert caught.value.nodes == ("a", "b")


async def test_a_branch_that_fails_cancels_its_siblings(autojump_clock: MockClock) -> None:
    done: list[str] = []

    async def slow(context: Context) -> dict[str, Any]:
        await trio.sleep(10)
        done.append("slow")
        return {}

    async def fails(context: Context) -> dict[str, Any]:
        raise OSError("no")

    with pytest.raises(StageError) as caught:
        await pipeline([Parallel([slow, fails])]).invoke({})
    await trio.sleep(20)
    assert isinstance(caught.value.__cause__, OSError)
    assert done == []


async def test_a_branch_that_nobody_waits_for_does_not_hold_the_context(
    autojump_clock: MockClock,
) -> None:
    flow = pipeline([Parallel([writes("a")], join=False), writes("b")])
    async with flow.stream([{}]) as results:
        first = await anext(aiter(results))

    assert first.value == {"b": 1}
    assert trio.current_time() == 1


def test_no_stages_are_refused() -> None:
    with pytest.raises(CompilationError, match="it has no nodes; give it at least one"):
        pipeline([])


def test_explain_has_the_version_and_the_stages() -> None:
    flow = pipeline([fetch_user, send_email])

    assert f"version {flow.version}" in flow.explain()
    assert "fetch_user" in flow.explain()


async def test_a_step_alone_is_run_by_its_name_and_others_are_listed() -> None:
    flow = pipeline([fetch_user, send_email])

    assert (await flow.run_step("fetch_user", {"user_id": 42}))["user"]["id"] == 42
    with pytest.raises(CompilationError, match="it has 'fetch_user', 'send_email'"):
        await flow.run_step("nobody", {})


async def test_a_stage_that_returns_nothing_is_told_so_at_once() -> None:
    async def forgets(context: Context) -> None:
        context.set("a", 1)

    with pytest.raises(StageError) as caught:
        await pipeline([forgets, send_email]).invoke({})
    assert caught.value.stage == "forgets"
    assert isinstance(caught.value.__cause__, ConfigurationError)


# Routes -------------------------------------------------------------------------------------


async def tier(context: Context) -> Send:
    if context["tier"] == "premium":
        return Send("premium", {"priority": "high"})
    return Send("standard")


async def premium(context: Context) -> dict[str, Any]:
    return {"handled": f"premium, {context['priority']}"}


async def standard(context: Context) -> dict[str, Any]:
    return {"handled": "standard"}


async def after(context: Context) -> dict[str, Any]:
    return {"after": True}


@pytest.mark.parametrize(
    ("given", "handled"), [("premium", "premium, high"), ("basic", "standard")]
)
async def test_a_router_chooses_and_patches_and_the_row_goes_on(given: str, handled: str) -> None:
    body = pipeline([standard], name="body")
    found = await pipeline([tier, {"premium": [premium], "standard": body}, after]).invoke(
        {"tier": given}
    )

    assert (found["handled"], found["after"]) == (handled, True)


async def test_routes_may_stand_within_routes_and_branches() -> None:
    async def again(context: Context) -> Send:
        return Send(context["size"])

    async def plain(context: Context) -> dict[str, Any]:
        return {"handled": "plain"}

    inner = [again, {"large": premium, "small": standard}]
    branch = [tier, {"premium": inner, "standard": plain}]
    found = await pipeline([Parallel([branch, after])]).map(
        [{"tier": "premium", "size": "large"}, {"tier": "premium", "size": "small"}, {"tier": "no"}]
    )

    assert [(each["handled"], each["after"]) for each in found] == [
        ("premium, high", True),
        ("standard", True),
        ("plain", True),
    ]


async def test_an_unknown_route_fails_the_item_and_lists_those_there_are() -> None:
    async def lost(context: Context) -> Send:
        return Send("nowhere")

    with pytest.raises(StageError, match="must be one of 'premium', 'standard', got 'nowhere'"):
        await pipeline([lost, {"premium": premium, "standard": standard}]).invoke({})


async def test_routes_behind_a_stage_that_sends_nothing_fail_the_item() -> None:
    with pytest.raises(StageError, match="must be Send"):
        await pipeline([after, {"premium": premium}]).invoke({})


@pytest.mark.parametrize(
    ("nodes", "detail"),
    [
        ([tier, {"premium": []}], r"nodes\[1\]\['premium'\] is empty"),
        ([{"premium": premium}], r"nodes\[0\] is a Route; put the stage before it"),
    ],
)
def test_routes_that_can_never_work_are_refused(nodes: Any, detail: str) -> None:
    with pytest.raises(CompilationError, match=detail):
        pipeline(nodes)


# Schemas and timeouts -------------------------------------------------------------------------


class NeedsX(BaseModel):
    x: int


@stage(input_schema=NeedsX)
async def seen(context: Context) -> dict[str, Any]:
    return {"seen": context["x"]}


@pytest.mark.parametrize("nodes", [[seen], [Parallel([seen, after])]], ids=["row", "branch"])
async def test_data_that_does_not_fit_fails_before_the_stage_runs(nodes: Any) -> None:
    with pytest.raises(StageError) as caught:
        await pipeline(nodes).invoke({"x": "many"})
    assert isinstance(caught.value.__cause__, SchemaError)
    assert caught.value.__cause__.side == "input"


async def test_keys_that_the_schema_does_not_name_are_not_looked_at() -> None:
    assert (await pipeline([seen]).invoke({"x": 1, "more": None}))["seen"] == 1


async def test_a_stage_that_does_not_write_what_it_promises_fails() -> None:
    flow = pipeline([stage(after, output_schema=NeedsX)])

    with pytest.raises(StageError, match="its output does not fit NeedsX: 'x': required"):
        await flow.invoke({})


async def test_a_stage_that_is_too_slow_fails_with_a_timeout_error(
    autojump_clock: MockClock,
) -> None:
    flow = pipeline([stage(writes("slow"), timeout=0.5)])

    with pytest.raises(StageError) as caught:
        await flow.invoke({})
    assert isinstance(caught.value.__cause__, TurnTimeout)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert trio.current_time() == 0.5


# Middleware -----------------------------------------------------------------------------------


@attrs.define
class Flaky:
    """A stage that fails so many times, and when it was called."""

    failures: int
    times: list[float] = attrs.Factory(list)

    async def __call__(self, context: Context) -> dict[str, Any]:
        self.times.append(trio.current_time())
        if len(self.times) <= self.failures:
            raise OSError(len(self.times))
        return {"calls": len(self.times)}


async def test_a_retry_succeeds_after_failures(autojump_clock: MockClock) -> None:
    flaky = Flaky(2)
    policies = [Retry(3, backoff=Exponential(0.5, jitter="none"))]

    assert await pipeline([stage(flaky, policies=policies)]).invoke({}) == {"calls": 3}
    assert flaky.times == [0, 0.5, 1.5]


async def test_a_retry_that_is_used_up_gives_the_last_error() -> None:
    flow = pipeline([stage(Flaky(9), policies=[Retry(3, backoff=Fixed(0))])])

    with pytest.raises(StageError) as caught:
        await flow.invoke({})
    assert (caught.value.attempts, str(caught.value.__cause__)) == (3, "3")


async def test_an_error_that_is_not_worth_a_retry_is_given_at_once() -> None:
    flow = pipeline([stage(Flaky(9), policies=[Retry(3, retry_on=KeyError)])])

    with pytest.raises(StageError) as caught:
        await flow.invoke({})
    assert caught.value.attempts == 1


async def test_a_cached_stage_is_not_called_again_and_its_writes_survive_a_merge() -> None:
    calls: list[int] = []

    @stage(reads=["x"], policies=[Cache(300)])
    async def square(context: Context) -> dict[str, Any]:
        calls.append(context["x"])
        return {"square": context["x"] ** 2}

    flow = pipeline([Parallel([square, after])])
    found = await flow.map([{"x": 3, "request": number} for number in range(4)])

    assert [each["square"] for each in found] == [9, 9, 9, 9]
    assert calls == [3]


async def test_a_cache_may_have_a_store_and_a_key_of_its_own() -> None:
    kept: dict[str, bytes] = {}
    calls: list[int] = []

    class Store:
        async def get(self, key: str) -> bytes | None:
            return kept.get(key)

        async def set(self, key: str, data: bytes, ttl: float) -> None:
            kept[key] = data

        async def delete(self, key: str) -> None:
            kept.pop(key, None)

    @stage(policies=[Cache(300, key=lambda context: context["x"] % 2, store=Store())])
    async def parity(context: Context) -> dict[str, Any]:
        calls.append(context["x"])
        return {"odd": context["x"] % 2 == 1}

    flow = pipeline([parity])
    assert [(await flow.invoke({"x": x}))["odd"] for x in (1, 3, 2)] == [True, True, False]
    assert calls == [1, 2]
    assert len(kept) == 2


async def test_a_circuit_opens_after_failures_and_rejects_without_a_call(
    autojump_clock: MockClock,
) -> None:
    flaky = Flaky(2)
    breaker = CircuitBreaker(2, 60.0, when_open="reject")
    flow = pipeline([stage(flaky, policies=[breaker])])
    causes = []
    for _ in range(4):
        with pytest.raises(StageError) as caught:
            await flow.invoke({})
        causes.append(type(caught.value.__cause__))

    assert causes == [OSError, OSError, CircuitOpenError, CircuitOpenError]
    await trio.sleep(60)
    assert await flow.invoke({}) == {"calls": 3}


async def test_a_half_open_circuit_lets_one_probe_through(autojump_clock: MockClock) -> None:
    calls: list[float] = []
    ends: list[str] = []

    async def ask(context: Context) -> dict[str, Any]:
        calls.append(trio.current_time())
        await trio.sleep(1)
        if len(calls) == 1:
            raise OSError("down")
        return {}

    async def one() -> None:
        try:
            await flow.invoke({})
            ends.append("done")
        except StageError as error:
            ends.append(type(error.__cause__).__name__)

    breaker = CircuitBreaker(1, 60.0, when_open="reject")
    flow = pipeline([stage(ask, workers=9, policies=[breaker])])
    await one()
    await trio.sleep(60)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)

    assert ends == ["OSError", "CircuitOpenError", "CircuitOpenError", "done"]
    assert calls == [0, 61]


@pytest.mark.parametrize(("rate", "times"), [(2, [0, 0.5, 1, 1.5]), (0.5, [0, 2, 4, 6])])
async def test_a_rate_makes_wait_and_never_fails(
    autojump_clock: MockClock, rate: float, times: list[float]
) -> None:
    flaky = Flaky(0)
    flow = pipeline([stage(flaky, policies=[RateLimit(rate)])])

    assert len(await flow.map([{}] * 4)) == 4
    assert flaky.times == pytest.approx(times)


async def test_the_first_middleware_is_outermost_and_may_change_what_passes() -> None:
    order: list[str] = []

    async def outer(call: Any, value: Context, ctx: Turn) -> Any:
        order.append(f"outer {ctx.stage}")
        return await call(Context(value).set("x", 2))

    async def inner(call: Any, value: Context, ctx: Turn) -> Any:
        order.append(f"inner {value['x']}")
        return await call(value)

    found = await pipeline([seen], middleware=[outer, inner]).invoke({"x": 1})

    assert found["seen"] == 2
    assert order == ["outer seen", "inner 2"]


# Chunks -----------------------------------------------------------------------------------------


async def letters(context: Context) -> AsyncIterator[str]:
    for letter in context["text"]:
        yield letter


async def chunks(flow: Pipeline[Any, Any], item: Any) -> list[Any]:
    async with flow.stream([item], chunks=True) as results:
        return [each.value async for each in results if isinstance(each, Chunk)]


async def test_chunks_come_in_order_and_stand_in_the_context_at_the_end() -> None:
    flow = pipeline([letters, after])

    assert await chunks(flow, {"text": "abc"}) == ["a", "b", "c"]
    assert (await flow.invoke({"text": "abc"}))["letters_chunks"] == ["a", "b", "c"]


async def test_no_chunks_are_no_error() -> None:
    assert await chunks(pipeline([letters]), {"text": ""}) == []


async def test_streams_at_the_same_time_do_not_mix() -> None:
    flow = pipeline([letters])
    found: dict[str, list[Any]] = {}

    async def one(text: str) -> None:
        found[text] = await chunks(flow, {"text": text})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "abc")
        nursery.start_soon(one, "xyz")

    assert found == {"abc": ["a", "b", "c"], "xyz": ["x", "y", "z"]}


async def test_leaving_a_stream_early_closes_the_generator_and_does_not_hang() -> None:
    closed: list[bool] = []

    async def endless(context: Context) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    async with pipeline([endless]).stream([{}], chunks=True) as results:
        async for _ in results:
            break

    assert closed == [True]


async def test_a_generator_that_is_tried_again_gives_no_chunk_twice() -> None:
    async def flaky(context: Context, ctx: Turn) -> AsyncIterator[int]:
        for number in range(3):
            if number == ctx.attempt:
                raise OSError("once more")
            yield number

    flow = pipeline([stage(flaky, policies=[Retry(3, backoff=Fixed(0))])])

    assert await chunks(flow, {}) == [0, 1, 2]


# Going on ---------------------------------------------------------------------------------------


@attrs.define
class Mail:
    """A flow of two stages, of which the second is cancelled the first time."""

    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    calls: list[str] = attrs.Factory(list)
    found: list[Context] = attrs.Factory(list)
    store: MemoryStore = attrs.Factory(lambda: MemoryStore(disk=MemoryDisk()))

    async def fetch(self, context: Context) -> dict[str, Any]:
        self.calls.append("fetch")
        return {"user": context["user_id"]}

    async def send(self, context: Context) -> dict[str, Any]:
        self.calls.append("send")
        if len(self.calls) == 2:
            self.scope.cancel()
            await trio.sleep_forever()
        return {"sent": True}

    @property
    def flow(self) -> Pipeline[Any, Any]:
        return pipeline([self.fetch, self.send], name="mail")

    async def run(self, flow: Pipeline[Any, Any] | None = None, **options: Any) -> Any:
        options = {"run_id": "req-1", "sink": self.found.append, **options}
        return await (flow or self.flow).run([{"user_id": 42}], store=self.store, **options)


async def test_a_run_that_was_cut_short_goes_on_at_the_stage_it_was_in() -> None:
    mail = Mail()
    with mail.scope:
        await mail.run()
    report = await mail.run(resume="must")

    assert mail.calls == ["fetch", "send", "send"]
    assert mail.found == [{"user_id": 42, "user": 42, "sent": True}]
    assert report.counts["done"] == 1


async def test_another_run_id_begins_afresh() -> None:
    mail = Mail()
    with mail.scope:
        await mail.run()
    await mail.run(run_id="req-2")

    assert mail.calls == ["fetch", "send", "fetch", "send"]


async def test_going_on_with_a_run_that_is_not_there_is_a_lookup_error() -> None:
    with pytest.raises(RunNotFoundError) as caught:
        await Mail().run(resume="must")
    assert isinstance(caught.value, LookupError)


async def test_going_on_without_a_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="run option store must be given with resume="):
        await Mail().flow.run([{}], run_id="req-1", resume="must")


async def test_going_on_with_another_pipeline_is_refused_with_what_differs() -> None:
    mail = Mail()
    with mail.scope:
        await mail.run()

    with pytest.raises(VersionMismatch, match=r"\n  - stage 'send'"):
        await mail.run(pipeline([mail.fetch], name="mail"))


async def test_a_run_that_is_open_cannot_be_opened_again_by_another_object() -> None:
    disk, mail = MemoryDisk(), Mail()
    async with mail.flow.open(store=MemoryStore(disk=disk), run_id="req-1"):
        with pytest.raises(RunInUseError, match="in use by"):
            async with mail.flow.open(store=MemoryStore(disk=disk), run_id="req-1"):
                pass


async def test_no_finished_branch_is_run_again() -> None:
    mail = Mail()
    flow = pipeline([Parallel([mail.fetch, after]), mail.send], name="mail")
    with mail.scope:
        await mail.run(flow)
    await mail.run(flow)

    assert mail.calls == ["fetch", "send", "send"]
    assert mail.found == [{"user_id": 42, "user": 42, "after": True, "sent": True}]


MAIL = """
import os
from actorflow import Context, Pipeline

async def fetch(context: Context):
    print("fetch")
    return {"user": context["user_id"]}

async def send(context: Context):
    print("send")
    if not os.path.exists("mended"):
        raise OSError("no line")
    return {"sent": True}

flow = Pipeline([fetch, send], name="mail")
"""


def test_a_stage_that_failed_is_run_again_by_a_replay_and_those_before_it_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    flow = f"{write_module(tmp_path, MAIL)}:flow"
    store = ("--store", "sqlite:///mail.db")
    Path("in.jsonl").write_text('{"user_id": 42}\n')
    files = ("--input", "in.jsonl", "--output", "out.jsonl")

    first = invoke("run", flow, *store, "--run-id", "req-1", *files)
    Path("mended").touch()
    again = ("--run", "req-1", "--all", "--output", "out.jsonl")
    second = invoke("dead", "replay", flow, *store, *again)

    assert (first.exit_code, second.exit_code) == (3, 0)
    assert [line for line in first.stdout.splitlines() if line in ("fetch", "send")] == [
        "fetch",
        "send",
    ]
    assert [line for line in second.stdout.splitlines() if line in ("fetch", "send")] == ["send"]
    assert json_lines(Path("out.jsonl").read_text()) == [{"sent": True, "user": 42, "user_id": 42}]


# Callbacks --------------------------------------------------------------------------------------


class Told:
    """A hook that notes what it is told, and fails all the same."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def before_stage(self, stage: str, item_id: Any, value: Any) -> None:
        self.steps.append(("start", stage))
        raise RuntimeError("a callback is broken")

    def after_stage(self, stage: str, item_id: Any, value: Any, result: Any, error: Any) -> None:
        self.steps.append(("end", stage, error))
        raise RuntimeError("a callback is broken")


async def test_callbacks_hear_of_each_step_and_break_nothing() -> None:
    told, dead = Told(), list[DeadLetter]()

    async def fails(context: Context) -> dict[str, Any]:
        raise OSError("no")

    with pytest.raises(StageError) as caught:
        await pipeline([after, fails], hooks=[told], on_failure=dead.append).invoke({})

    error = caught.value.__cause__
    assert isinstance(error, OSError)
    assert told.steps == [
        ("start", "after"),
        ("end", "after", None),
        ("start", "fails"),
        ("end", "fails", error),
    ]
    assert [(each.stage_or_actor, each.error) for each in dead] == [("fails", error)]


async def test_a_callback_can_tell_which_route_was_taken() -> None:
    taken: list[Any] = []

    class Routes:
        def after_stage(self, stage: str, item: Any, value: Any, result: Any, error: Any) -> None:
            if isinstance(result, Send):
                taken.append((stage, result.route))

    routes = {"premium": premium, "standard": standard}
    await pipeline([tier, routes], hooks=[Routes()]).invoke({"tier": "premium"})

    assert taken == [("tier", "premium")]


async def test_the_time_of_a_run_is_measured(autojump_clock: MockClock) -> None:
    async with pipeline([writes("a"), writes("b")]).stream([{}]) as results:
        (result,) = [each async for each in results]

    assert result.timings["total"] == 2


async def test_logging_tells_of_each_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="actorflow.stages"):
        await pipeline([after], middleware=[Logging()]).invoke({})

    assert caplog.messages == [
        "after: message 0, attempt 1 begins",
        "after: message 0, attempt 1 is done",
    ]


# One stage in a test ----------------------------------------------------------------------------


async def test_a_stage_is_run_alone_with_its_policies() -> None:
    flaky = stage(Flaky(2), name="flaky", policies=[Retry(3, backoff=Fixed(0))])

    assert await pipeline([fetch_user, flaky]).run_step("flaky", {}) == {"calls": 3}


async def test_a_stage_is_called_as_its_function_and_what_it_wrote_is_known() -> None:
    before = Context({"user": {"id": 1, "name": "a"}})

    assert (await enrich(before)).written == {"profile"}


async def test_a_stage_that_writes_more_than_it_says_is_refused() -> None:
    flow = pipeline([stage(enrich, writes=["name"])])

    with pytest.raises(StageError) as caught:
        await flow.run_step("enrich", {"user": {"id": 1, "name": "a"}})
    assert "writes 'profile', which it does not declare" in str(caught.value.__cause__)


def test_a_missing_key_is_told_with_those_there_are() -> None:
    with pytest.raises(MissingKey) as caught:
        Context({"user_id": 1})["userid"]
    assert str(caught.value) == "the Context has no key 'userid'; it has 'user_id'"
