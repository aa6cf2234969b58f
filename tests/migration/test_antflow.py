"""What antflow documents, done with actorflow; and the page that says how."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    ConfigurationError,
    Executor,
    Fixed,
    FutureTimeout,
    History,
    ItemResult,
    NotRunningError,
    Pipeline,
    RateLimit,
    Retry,
    RunStats,
    Steps,
    Turn,
    stage,
)
from actorflow.events import ItemEnded, ItemRetried, ItemStarted
from actorflow.observe.progress import make_display
from tests.programs import DOCS, names_in_tables, printed, programs

PAGE = "migration/antflow.md"

#: Every name that antflow documents: what is imported, what can be called, what can be said.
NAMES = (
    # Pipelines and their verbs.
    *("Pipeline", "stages=", "collect_results=", "status_tracker=", "results", "get_stats"),
    *("get_worker_names", "get_worker_states", "get_worker_metrics", "get_dashboard_snapshot"),
    *("get_error_summary", "feed", "feed_async", "target_stage=", "priority=", "start", "join"),
    *("run", "stream", "buffer_size=", "shutdown", "async with", "create", "quick"),
    *("PipelineBuilder", "add", "with_tracker", "collect_results", "build"),
    *("progress=", "dashboard=", "custom_dashboard=", "dashboard_update_interval="),
    # Stages and their options.
    *("Stage", "name=", "workers=", "tasks=", "retry=", "per_task", "per_stage"),
    *("task_attempts=", "task_wait_seconds=", "stage_attempts=", "unpack_args="),
    *("task_concurrency_limits=", "on_success=", "on_failure=", "on_skip=", "skip_if="),
    *("queue_capacity=", "pull=", "call_concurrency=", "call_rate=", "call_rate_period="),
    *("validate", "TaskFunc"),
    # Inside a task.
    *("concurrency_limit", "rate_limit", "call_rate_has_capacity", "set_task_status"),
    *("get_worker_state", "min_interval="),
    # Results and figures.
    *("PipelineResult", "value", "id", "sequence_id", "metadata", "error", "is_success"),
    *("PipelineStats", "items_processed", "items_failed", "items_in_flight", "queue_sizes"),
    *("stage_stats", "StageStats", "stage_name", "pending_items", "in_progress_items"),
    *("completed_items", "failed_items", "ErrorSummary", "total_failed", "errors_by_type"),
    *("errors_by_stage", "FailedItem", "item_id", "error_type", "attempts", "timestamp"),
    *("WorkerState", "worker_name", "status", "current_item_id", "current_task"),
    *("processing_since", "WorkerStatus", "idle", "busy", "WorkerMetrics"),
    *("total_processing_time", "last_active", "avg_processing_time"),
    # Tracking.
    *("StatusTracker", "on_status_change=", "on_task_start=", "on_task_complete="),
    *("on_task_retry=", "on_task_fail=", "get_status", "get_by_status", "get_tracked_ids"),
    *("get_history", "get_failed_items", "StatusEvent", "worker_id", "StatusType", "queued"),
    *("in_progress", "completed", "failed", "retrying", "skipped", "TaskEvent", "task_name"),
    *("event_type", "attempt", "duration", "TaskEventType", "complete", "fail"),
    # Displays.
    *("ProgressDisplay", "compact", "CompactDashboard", "detailed", "DetailedDashboard"),
    *("full", "FullDashboard", "BaseDashboard", "render", "DashboardProtocol", "on_start"),
    *("on_update", "on_finish", "DashboardSnapshot", "worker_states", "worker_metrics"),
    *("pipeline_stats", "error_summary", "Web dashboard"),
    # The executor.
    *("AsyncExecutor", "max_workers=", "submit", "retries=", "retry_delay=", "semaphore="),
    *("map", "map_iter", "as_completed", "wait", "return_when=", "timeout=", "WaitStrategy"),
    *("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "cancel_futures=", "AsyncFuture"),
    *("result", "done", "exception", "set_result", "set_exception"),
    # Errors and the rest.
    *("AntFlowError", "ExecutorShutdownError", "PipelineError", "StageValidationError"),
    *("TaskFailedError", "configure_telemetry", "telemetry_enabled", "install_fast_loop"),
    *("setup_logger", "extract_exception", "get_task_name", "__version__"),
)


class Unlucky(Exception):
    """A service that does not answer."""


async def double(value: int) -> int:
    return value * 2


async def square(value: int) -> int:
    await trio.sleep(0.1)
    return value * value


async def extract(number: int) -> str:
    await trio.sleep(0.05)
    return f"data_{number}"


async def transform(text: str) -> str:
    await trio.sleep(0.05)
    return text.upper()


async def load(text: str) -> str:
    await trio.sleep(0.05)
    return f"saved_{text}"


def shop() -> Pipeline[Any, str]:
    """Extract, then transform and load in one stage."""
    work = stage(Steps(transform, load), name="Transform", workers=2, policies=[Retry(3)])
    return Pipeline([stage(extract, name="Extract", workers=3, policies=[Retry(3)]), work])


async def in_order(flow: Pipeline[Any, Any], items: Any, **options: Any) -> list[ItemResult[Any]]:
    """All results, in the order of the input: what antflow's run gives, and the failures too."""
    async with flow.stream(items, ordered=True, **options) as results:
        return [result async for result in results]


# The page -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(programs(PAGE))))
def test_a_program_of_the_page_prints_what_the_page_says(number: int, tmp_path: Path) -> None:
    program = programs(PAGE)[number]

    assert program.prints, "the page does not say what it prints"
    assert printed(program, tmp_path) == program.prints


def test_every_before_on_the_page_has_its_after() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")

    assert text.count("```python\n# Before: antflow") == len(programs(PAGE)) - 2 > 0


def test_the_table_says_what_became_of_every_name() -> None:
    assert not set(NAMES) - names_in_tables(PAGE)


# The executor -------------------------------------------------------------------------


async def test_map_gives_squares_in_the_order_of_the_input(autojump_clock: object) -> None:
    async with Executor(workers=5) as executor:
        found = await executor.map(square, range(10))

    assert found == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]


async def test_submitted_cubes_are_collected_from_their_futures(autojump_clock: object) -> None:
    async def cube(value: int) -> int:
        await trio.sleep(0.15)
        return value**3

    async with Executor(workers=5) as executor:
        futures = [await executor.submit(cube, number) for number in range(5)]
        found = [await future.result() for future in futures]

    assert found == [0, 1, 8, 27, 64]


async def test_map_iter_streams_in_the_order_of_the_input(autojump_clock: object) -> None:
    async with Executor(workers=5) as executor:
        found = [value async for value in executor.map_iter(square, range(10))]

    assert found == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]


async def test_as_completed_gives_all_of_them_each_once(autojump_clock: object) -> None:
    async with Executor(workers=5) as executor:
        futures = [await executor.submit(square, number) for number in range(5, 10)]
        found = [await future.result() async for future in executor.as_completed(futures)]

    assert sorted(found) == [25, 36, 49, 64, 81]


async def test_map_waits_for_a_slow_first_item_and_as_completed_does_not(
    autojump_clock: object,
) -> None:
    async def late(number: int) -> str:
        await trio.sleep(2.0 if number == 0 else 0.3)
        return f"Result-{number}"

    async with Executor(workers=5) as executor:
        mapped = await executor.map(late, range(5))
        futures = [await executor.submit(late, number) for number in range(5)]
        came = [await future.result() async for future in executor.as_completed(futures)]

    assert mapped == [f"Result-{number}" for number in range(5)]
    assert set(came[:4]) == set(mapped[1:])
    assert came[4] == "Result-0"


async def test_wait_returns_for_all_for_the_first_and_for_the_first_error(
    autojump_clock: object,
) -> None:
    async def slow(value: int) -> int:
        await trio.sleep(1)
        return value * 3

    async def failing(value: int) -> int:
        await trio.sleep(0.2)
        if value == 5:
            raise ValueError("Simulated error for 5")
        return value * 5

    async with Executor(workers=10) as executor:
        futures = [await executor.submit(square, number) for number in range(5)]
        done, pending = await executor.wait(futures, return_when="all_completed")
        assert (len(done), len(pending)) == (5, 0)

        race = [await executor.submit(square, 1), await executor.submit(slow, 2)]
        done, pending = await executor.wait(race, return_when="first_completed")
        assert [await each.result() for each in done] == [1]
        assert len(pending) == 1

        futures = [await executor.submit(failing, number) for number in range(10)]
        done, pending = await executor.wait(futures, return_when="first_exception")
        errors = [str(await each.exception()) for each in done if each.failed()]
        assert errors == ["Simulated error for 5"]

        futures = [await executor.submit(slow, number) for number in range(3)]
        done, pending = await executor.wait(futures, timeout=0.5)
        assert (len(done), len(pending)) == (0, 3)
        with pytest.raises(FutureTimeout):
            await futures[0].result(timeout=0.1)


async def test_retries_of_a_call_are_those_of_its_executor(autojump_clock: object) -> None:
    tries = []

    async def flaky(value: int) -> int:
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise Unlucky
        return value

    async with Executor(policies=[Retry(3, backoff=Fixed(0.1))]) as executor:
        assert await (await executor.submit(flaky, 7)).result() == 7

    assert [round(each - tries[0], 3) for each in tries] == [0, 0.1, 0.2]


async def test_an_executor_that_has_ended_refuses_calls() -> None:
    async with Executor() as executor:
        await executor.shutdown()

        with pytest.raises(NotRunningError, match="has ended"):
            await executor.submit(square, 1)


# Pipelines ----------------------------------------------------------------------------


async def test_two_stages_fetch_and_process() -> None:
    async def fetch(number: int) -> str:
        return f"item_{number}"

    async def process(text: str) -> str:
        return text.upper()

    flow: Pipeline[int, str] = Pipeline(
        [stage(fetch, name="Fetch", workers=3), stage(process, name="Process", workers=2)]
    )
    found = await in_order(flow, range(5))

    assert [(each.id, each.value) for each in found] == [(n, f"ITEM_{n}") for n in range(5)]


async def test_twenty_items_are_extracted_transformed_and_loaded(autojump_clock: object) -> None:
    found = await in_order(shop(), range(20))

    assert [(each.id, each.value) for each in found] == [(n, f"saved_DATA_{n}") for n in range(20)]


async def test_after_a_hundred_items_the_figures_say_that_nothing_is_left(
    autojump_clock: object,
) -> None:
    report = await shop().run(range(100))

    assert report.counts == {"fed": 100, "done": 100, "skipped": 0, "dead": 0, "held": 0}
    assert {name: each.pending for name, each in report.stages.items()} == {
        "Extract": 0,
        "Transform": 0,
    }


async def test_workers_have_names_before_the_first_item_is_fed() -> None:
    async with shop().open() as run:
        names = [each.name for each in run.workers()]

    assert names == [
        *(f"/pipeline/Extract/{number}" for number in (1, 2, 3)),
        *(f"/pipeline/Transform/{number}" for number in (1, 2)),
    ]


async def test_one_function_is_a_pipeline_in_one_line() -> None:
    assert await Pipeline.of(double, str, workers=5).map([1, 2, 3]) == ["2", "4", "6"]


async def test_items_have_ids_of_their_own() -> None:
    async with Pipeline.of(double).open(ordered=True) as run:
        results = run.results()
        await run.feed([1, 2], ids=["first", "second"])
        await run.finish()
        found = [(each.id, each.value, each.number) async for each in results]

    assert found == [("first", 2, 0), ("second", 4, 1)]


async def test_a_stream_gives_results_as_they_come_and_failures_too(
    autojump_clock: object,
) -> None:
    async def late(number: int) -> int:
        await trio.sleep(3 - number)
        if number == 1:
            raise Unlucky("one")
        return number

    async with Pipeline.of(late, workers=3).stream(range(3)) as results:
        found = [(each.id, each.ok, str(each.error or "")) async for each in results]

    assert found == [(2, True, ""), (1, False, "one"), (0, True, "")]


async def test_a_stream_that_is_left_early_ends_what_is_inside() -> None:
    async with Pipeline.of(double, workers=2).stream(iter(int, 1)) as results:
        async for result in results:
            assert result.value == 0
            break


async def test_start_feed_and_join_are_a_block_and_its_verbs() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in (3, 4):
            yield number

    kept: list[int] = []
    async with Pipeline.of(double).open(sink=kept.append) as run:
        await run.feed([1, 2])
        await run.feed(numbers())
        report = await run.finish()

    assert sorted(kept) == [2, 4, 6, 8]
    assert report.counts["done"] == 4


async def test_the_end_of_the_block_cleans_up_and_the_flow_runs_again() -> None:
    flow: Pipeline[int, int] = Pipeline.of(double, str, len)
    async with flow.open() as run:
        await run.feed(range(5))
    again = await flow.run(range(5))

    assert run.report is not None
    assert run.report.counts["done"] == again.counts["done"] == 5


async def test_an_urgent_item_goes_first_and_equal_ones_in_their_order() -> None:
    gate, order = trio.Event(), list[str]()

    async def slow(name: str) -> str:
        await gate.wait()
        return name

    async with Pipeline.of(slow).open(sink=order.append) as run:
        await run.feed(["blocker"])
        await wait_all_tasks_blocked()
        for name, priority in [("low", 500), ("norm", 100), ("high", 10), ("crit", 0)]:
            await run.feed([name, f"{name} too"], priority=priority)
        gate.set()

    after = [f"{name}{too}" for name in ("crit", "high", "norm", "low") for too in ("", " too")]
    assert order == ["blocker", *after]


async def test_an_item_is_fed_to_a_stage_in_the_middle_by_its_name(autojump_clock: object) -> None:
    kept: list[str] = []
    async with shop().open(sink=kept.append) as run:
        await run.feed(["late"], stage="Transform")
        with pytest.raises(ValueError, match=r"no stage is named 'Nowhere'; it has 'Extract', "):
            await run.feed(["never"], stage="Nowhere")

    assert kept == ["saved_LATE"]


async def test_a_full_queue_makes_the_feeder_wait() -> None:
    gate = trio.Event()

    async def slow(value: int) -> int:
        await gate.wait()
        return value

    flow: Pipeline[int, int] = Pipeline([stage(slow, name="Slow", capacity=5)])
    async with flow.open() as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed, range(100))
        await wait_all_tasks_blocked()
        now = run.stats()
        gate.set()

    assert now.counts["fed"] == 6
    assert (now.stages["Slow"].pending, now.stages["Slow"].running) == (5, 1)
    assert run.report is not None
    assert run.report.counts["done"] == 100


async def test_a_stage_without_a_queue_takes_each_item_from_its_giver() -> None:
    gate = trio.Event()

    async def slow(value: int) -> int:
        await gate.wait()
        return value

    flow: Pipeline[int, int] = Pipeline([stage(double, capacity=0), stage(slow, capacity=0)])
    async with flow.open() as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed, range(10))
        await wait_all_tasks_blocked()
        now = run.stats()
        gate.set()

    assert [each.pending for each in now.stages.values()] == [0, 0]


# Failing ------------------------------------------------------------------------------


async def test_a_failed_step_is_tried_again_alone(autojump_clock: object) -> None:
    calls: list[str] = []

    async def fetch(number: int) -> int:
        calls.append("fetch")
        return number

    async def save(number: int) -> int:
        calls.append("save")
        if calls.count("save") < 3:
            raise Unlucky
        return number

    both = stage(Steps(fetch, save), policies=[Retry(3, backoff=Fixed(1))])
    assert await Pipeline[Any, Any]([both]).map([7]) == [7]
    assert calls == ["fetch", "save", "save", "save"]


async def test_a_failed_stage_is_tried_again_from_its_first_step(autojump_clock: object) -> None:
    calls: list[str] = []

    async def fetch(number: int) -> int:
        calls.append("fetch")
        return number

    async def save(number: int) -> int:
        calls.append("save")
        if calls.count("save") < 3:
            raise Unlucky
        return number

    both = stage(Steps(fetch, save, retry="stage"), policies=[Retry(3, backoff=Fixed(0))])
    assert await Pipeline[Any, Any]([both]).map([7]) == [7]
    assert calls == ["fetch", "save"] * 3


async def test_a_retry_that_waits_holds_no_worker(autojump_clock: object) -> None:
    async def flaky(number: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Unlucky
        return number

    once = stage(flaky, workers=1, policies=[Retry(2, backoff=Fixed(1))])
    began = trio.current_time()
    found = await Pipeline[Any, Any]([once]).map(range(20))

    assert found == list(range(20))
    assert trio.current_time() - began == pytest.approx(1)


async def test_failures_are_collected_with_their_input_and_run_again() -> None:
    broken = {3, 6}

    async def risky(number: int) -> int:
        if number in broken:
            raise ValueError("Random failure")
        return number

    flow: Pipeline[int, int] = Pipeline.of(risky, workers=5)
    report = await flow.run(range(10))
    lost = [(letter.id, letter.body, str(letter.error)) for letter in report.dead]
    broken.clear()

    assert sorted(lost) == [(3, 3, "Random failure"), (6, 6, "Random failure")]
    assert await flow.map(body for _, body, _ in sorted(lost)) == [3, 6]


async def test_the_error_summary_counts_by_type_and_stage() -> None:
    async def fail(number: int) -> int:
        raise (ValueError if number else KeyError)(number)

    async with Pipeline[Any, Any]([stage(fail, name="Fail")]).open() as run:
        await run.feed([0, 1, 2])
        await run.finish()
        summary = run.errors()

    assert summary.total == 3
    assert summary.by_type == {"ValueError": 2, "KeyError": 1}
    assert summary.by_stage == {"Fail": 3}
    assert [(each.id, each.stage, each.attempts) for each in summary.failed] == [
        (number, "Fail", 1) for number in range(3)
    ]


async def test_hooks_are_told_of_success_failure_and_skips() -> None:
    told: list[tuple[str, Any]] = []

    async def half(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number // 2

    hooked = stage(
        half,
        skip_if=lambda number: number == 0,
        on_success=lambda value: told.append(("success", value)),
        on_failure=lambda letter: told.append(("failure", (letter.id, str(letter.error)))),
        on_skip=lambda value: told.append(("skip", value)),
    )
    await Pipeline[Any, Any]([hooked]).run([0, 1, 2])

    assert sorted(told) == [("failure", (1, "odd")), ("skip", 0), ("success", 1)]


async def test_an_etl_of_four_stages_brings_fifty_users_through(autojump_clock: object) -> None:
    """A class of handlers; each stage fails its users now and then, and tries again."""

    class Users:
        async def fetch(self, number: int, ctx: Turn) -> dict[str, Any]:
            if number % 10 == 0 and ctx.attempt == 1:
                raise ConnectionError(f"Failed to fetch user {number}")
            return {"user_id": number, "name": f"User {number}", "email": f"user{number}@EXAMPLE"}

        async def validate(self, user: dict[str, Any]) -> dict[str, Any]:
            if "@" not in user["email"]:
                raise ValueError(f"Invalid email: {user['email']}")
            return user

        async def reshape(self, user: dict[str, Any]) -> dict[str, Any]:
            return {
                "id": user["user_id"],
                "full_name": user["name"].upper(),
                "email_address": user["email"].lower(),
            }

        async def score(self, user: dict[str, Any]) -> dict[str, Any]:
            return {**user, "score": user["id"] % 7}

        async def save(self, user: dict[str, Any], ctx: Turn) -> dict[str, Any]:
            if user["id"] % 20 == 0 and ctx.attempt < 5:
                raise OSError(f"Database write failed for user {user['id']}")
            return {**user, "db_id": f"db_{user['id']}"}

    users = Users()
    flow: Pipeline[int, dict[str, Any]] = Pipeline(
        [
            stage(users.fetch, name="Ingestion", workers=5, policies=[Retry(3)]),
            stage(Steps(users.validate, users.reshape), name="Validation", workers=3),
            stage(users.score, name="Enrichment", workers=3),
            stage(users.save, name="Persistence", workers=2, policies=[Retry(5)]),
        ]
    )
    found = await flow.map(range(1, 51))

    assert len(found) == 50
    assert found[0] == {
        "id": 1,
        "full_name": "USER 1",
        "email_address": "user1@example",
        "score": 1,
        "db_id": "db_1",
    }


async def test_what_is_done_already_is_left_out_when_the_jobs_come_again() -> None:
    """skip_if ends an item here; to pass it on as it is, a handler returns it."""

    @attrs.frozen
    class Job:
        number: int
        done: tuple[str, ...] = ()

    ran: list[str] = []
    crashes = {1}

    def working(name: str) -> Any:
        async def work(job: Job) -> Job:
            if name in job.done:
                return job
            if name == "train" and job.number in crashes:
                raise RuntimeError(f"Training crashed for {job.number}!")
            ran.append(f"{name} {job.number}")
            return attrs.evolve(job, done=(*job.done, name))

        return stage(work, name=name, isolation="share")

    flow: Pipeline[Job, Job] = Pipeline([working("upload"), working("train"), working("save")])
    first = await flow.run([Job(0), Job(1)])
    left = [letter.body for letter in first.dead]
    crashes.clear()
    ran.clear()
    again = await flow.map(left)

    assert left == [Job(1, ("upload",))]
    assert ran == ["train 1", "save 1"]
    assert again == [Job(1, ("upload", "train", "save"))]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"workers": 0}, "workers must be a whole number, 1 or more"),
        ({"capacity": -1}, "capacity must be"),
        ({"timeout": -1}, "timeout must be"),
        ({"limits": {"double": 0}}, "limits"),
    ],
)
def test_a_wrong_option_is_refused_when_it_is_declared(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        stage(double, **wrong)


def test_a_pipeline_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="it has no nodes"):
        Pipeline([])


# Inside a stage -----------------------------------------------------------------------


async def test_one_step_is_entered_by_so_many_workers_at_a_time(autojump_clock: object) -> None:
    inside, most = 0, 0

    async def call(number: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await trio.sleep(1)
        inside -= 1
        return number

    both = Steps(double, call, limits={"call": 2})
    await Pipeline[Any, Any]([stage(both, workers=6)]).run(range(12))

    assert most == 2


async def test_a_part_of_a_task_has_a_limit_and_a_rate(autojump_clock: object) -> None:
    inside, most, times, rooms = 0, 0, list[float](), set[bool]()

    @stage(workers=10, limits={"db": 3}, rates={"api": RateLimit(20)})
    async def enrich(number: int, ctx: Turn) -> int:
        nonlocal inside, most
        async with ctx.limit("db"):
            inside += 1
            most = max(most, inside)
            await trio.sleep(0.01)
            inside -= 1
        rooms.add(ctx.rate("api").has_room())
        async with ctx.rate("api"):
            times.append(trio.current_time())
        return number

    await Pipeline[Any, Any]([enrich]).run(range(60))

    assert most == 3
    assert rooms == {True, False}
    assert max(sum(each <= other < each + 1 for other in times) for each in times) <= 21


async def test_a_tuple_or_a_dict_is_spread_over_the_parameters() -> None:
    @stage(unpack=True)
    async def area(width: int, height: int = 10) -> int:
        return width * height

    assert await Pipeline[Any, Any]([area]).map([(2, 3), {"width": 4}, [5, 6]]) == [6, 40, 30]


async def test_a_worker_says_what_it_is_doing() -> None:
    gate = trio.Event()

    @stage(name="Fetch", workers=2)
    async def fetch(number: int, ctx: Turn) -> int:
        ctx.status("uploading")
        await gate.wait()
        return number

    async with Pipeline[Any, Any]([fetch]).open() as run:
        await run.feed([7])
        await wait_all_tasks_blocked()
        states = {(each.state, each.item, each.status) for each in run.workers()}
        gate.set()

    assert states == {("busy", "0", "uploading"), ("idle", None, "")}
    assert run.report is not None
    assert run.report.stages["Fetch"].emitted == 1


# Watching -----------------------------------------------------------------------------


async def test_a_history_knows_the_status_of_each_item_and_how_it_came(
    autojump_clock: object,
) -> None:
    async def process(number: int) -> int:
        if number == 2:
            raise Unlucky("two")
        return number

    history = History()
    once = stage(process, name="Process", workers=3, policies=[Retry(2, backoff=Fixed(0.5))])
    await Pipeline[Any, Any]([once]).run(range(4), observers=[history])

    assert history.counts()["done"] == 3
    assert [each.id for each in history.failed()] == [2]
    record = history.get(2)
    assert record is not None
    assert record.error.endswith("Unlucky: two")
    assert [each.what for each in history.events(2)] == [
        *("accepted", "started", "retried", "started", "failed", "ended"),
    ]
    assert sorted(each.id for each in history.by_status("done")) == [0, 1, 3]


async def test_an_observer_is_told_what_it_wants_to_hear(autojump_clock: object) -> None:
    class Tracker:
        wants = (ItemStarted, ItemRetried, ItemEnded)

        def __init__(self) -> None:
            self.heard: list[tuple[Any, ...]] = []

        def on_event(self, event: Any) -> None:
            what = getattr(event, "status", getattr(event, "attempt", 0))
            self.heard.append((type(event).__name__, event.item, what))

    async def flaky(number: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Unlucky
        return number

    tracker = Tracker()
    once = stage(flaky, policies=[Retry(2, backoff=Fixed(0.5))])
    async with Pipeline[Any, Any]([once]).open(observers=[tracker]) as run:
        await run.feed(["x"], ids=["a"])

    assert tracker.heard == [
        ("ItemStarted", "a", 1),
        ("ItemRetried", "a", 1),
        ("ItemStarted", "a", 2),
        ("ItemEnded", "a", "done"),
    ]


async def test_somebody_looks_at_the_figures_while_the_pipeline_runs(
    autojump_clock: object,
) -> None:
    seen: list[int] = []

    async def look(run: Any) -> None:
        while True:
            seen.append(run.stats().counts["done"])
            await trio.sleep(0.1)

    async with Pipeline.of(square, workers=5).open() as run, trio.open_nursery() as nursery:
        nursery.start_soon(look, run)
        await run.feed(range(100))
        await run.finish()
        nursery.cancel_scope.cancel()

    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(seen) > 10


async def test_a_display_of_ones_own_is_shown_the_figures(autojump_clock: object) -> None:
    class Board:
        def __init__(self) -> None:
            self.shown: list[tuple[str, int, int | None]] = []

        def on_start(self, stats: RunStats) -> None:
            self.shown.append(("start", stats.counts["done"], stats.total))

        def on_update(self, stats: RunStats) -> None:
            self.shown.append(("update", stats.counts["done"], stats.total))

        def on_finish(self, stats: RunStats) -> None:
            self.shown.append(("finish", stats.counts["done"], stats.total))

    board = Board()
    await Pipeline.of(square).run(range(10), progress=board)

    assert board.shown[0] == ("start", 0, 10)
    assert board.shown[-1] == ("finish", 10, 10)
    assert {each[0] for each in board.shown[1:-1]} == {"update"}


@pytest.mark.parametrize("level", ["bar", "compact", "detailed", "full"])
def test_each_display_is_there_by_name(level: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert make_display(level, stream=Terminal()) is not None


def test_an_unknown_display_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="progress must be one of"):
        make_display("huge")
