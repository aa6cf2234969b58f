"""A policy that answers `Stop` on a stage ends workers; without any the stage has stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actorflow import (
    Batch,
    Executor,
    Fixed,
    NotRunningError,
    Parallel,
    Pipeline,
    Retry,
    StageError,
    TooManyFailures,
    stage,
)
from actorflow.policies import Restart, Stop


@attrs.frozen
class StopsOn:
    """A policy: an error of this kind ends the worker."""

    kind: type[Exception]

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Stop | None:
        return Stop() if isinstance(error, self.kind) else None


async def charge(value: int) -> int:
    if value == 3:
        raise PermissionError("the account is closed")
    if value % 5 == 2:
        raise OSError("try again")
    return value


async def ship(value: Any) -> Any:
    return value


POLICIES: list[Any] = [StopsOn(PermissionError), Retry(3, backoff=Fixed(1000.0))]


def shop(**options: Any) -> Pipeline[int, int]:
    return Pipeline([stage(charge, policies=POLICIES, **options), ship], name="shop")


@pytest.mark.parametrize(
    "options",
    [{}, {"key": lambda value: value % 2}, {"capacity": 0}, {"timeout": 5.0}],
    ids=["plain", "keys", "rendezvous", "timeout"],
)
@pytest.mark.parametrize("store", [None, "memory:"], ids=["in memory", "durable"])
async def test_the_last_worker_takes_its_stage_with_it(
    options: dict[str, Any], store: str | None
) -> None:
    """Also what waits for a retry, or for others of its key, and what is fed later."""
    with trio.fail_after(60):
        report = await shop(**options).run(range(40), store=store)

    assert report.counts["dead"] == 40 - report.counts["done"]
    assert report.counts["held"] == 0
    reasons = {letter.body: letter.reason for letter in report.dead}
    assert reasons.pop(3) == "failed"
    assert reasons.pop(39) == "stopped"
    assert reasons[2] == "stopped"  # It was waiting for its second attempt.


async def test_the_other_workers_go_on() -> None:
    with trio.fail_after(60):
        report = await shop(workers=2).run([0, 3, 1, 4, 5])

    assert (report.counts["done"], report.counts["dead"]) == (4, 1)


async def test_a_worker_that_only_crashes_comes_back() -> None:
    class Restarts:
        def decide(self, attempt: int, error: BaseException, **facts: Any) -> Restart:
            return Restart()

    with trio.fail_after(60):
        report = await Pipeline([stage(charge, policies=[Restarts()])]).run([0, 3, 1])

    assert (report.counts["done"], report.counts["dead"]) == (2, 1)


async def test_batches_of_a_stage_that_has_stopped() -> None:
    async def charge_all(values: list[int]) -> list[int]:
        return [await charge(value) for value in values]

    policies: list[Any] = [StopsOn(PermissionError)]
    flow = Pipeline([ship, stage(charge_all, batch=Batch(4, seconds=1.0), policies=policies)])
    with trio.fail_after(60):
        report = await flow.run([0, 1, 3, 4, 5, 6])

    assert report.counts == {"fed": 6, "done": 0, "skipped": 0, "dead": 6, "held": 0}
    assert sorted(letter.reason for letter in report.dead) == ["failed"] * 4 + ["stopped"] * 2


async def test_siblings_of_a_branch_that_has_stopped_are_called_off() -> None:
    branches = Parallel([stage(charge, policies=POLICIES), stage(ship, name="pack")])
    with trio.fail_after(60):
        report = await Pipeline([branches, ship]).run([0, 3, 4, 5])

    assert report.counts == {"fed": 4, "done": 1, "skipped": 0, "dead": 3, "held": 0}
    reasons = [each.reason for each in report.dead if each.stage_or_actor == "charge"]
    assert reasons == ["failed", "stopped", "stopped"]


async def test_who_calls_a_flow_or_an_executor_hears_of_it() -> None:
    flow = shop()
    with trio.fail_after(60):
        with pytest.raises(StageError, match="the account is closed"):
            await flow.invoke(3)
        with pytest.raises(StageError, match="stage 'charge'"):
            await flow.invoke(4)
        async with Executor(1, policies=POLICIES, runs_in="loop") as executor:
            futures = [await executor.submit(charge, value) for value in (3, 4)]
            with pytest.raises(PermissionError):
                await futures[0].result()
            with pytest.raises(StageError, match="stage 'call'"):
                await futures[1].result()


async def test_a_stage_that_has_stopped_is_not_resized() -> None:
    with trio.fail_after(60):
        async with shop().open() as run:
            await run.feed([3])
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(NotRunningError, match="stage 'charge' has stopped"):
                await run.resize("charge", 2)
            assert [each.stage for each in run.workers()] == ["ship"]


@pytest.mark.parametrize("steps", range(4))
async def test_a_worker_that_comes_as_the_last_one_goes_has_its_mail(steps: int) -> None:
    """Whoever resizes is told that it was too late, or the stage goes on."""
    gate, resized = trio.Event(), True

    async def slow(value: int) -> int:
        if value == 3:
            await gate.wait()
            raise PermissionError
        return value

    with trio.fail_after(60):
        async with Pipeline([stage(slow, policies=POLICIES)]).open() as run:
            await run.feed([3, 5, 6])
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            try:
                await run.resize("slow", 2)
            except NotRunningError:
                resized = False
            report = await run.finish()

    assert (report.counts["done"], report.counts["dead"]) == ((2, 1) if resized else (0, 3))


async def test_too_many_failures_say_what_has_stopped_the_stage() -> None:
    with pytest.raises(TooManyFailures, match="Last error: PermissionError"):
        await shop().run(range(40), max_dead=5)


async def test_surplus_workers_stop_no_stage() -> None:
    async def slow(value: int) -> int:
        await trio.lowlevel.checkpoint()
        return value

    with trio.fail_after(60):
        async with Pipeline([stage(slow, workers=3)]).open() as run:
            await run.feed(range(6))
            await run.resize("slow", 1)
            report = await run.finish()

    assert report.counts["done"] == 6


async def test_a_run_that_goes_on_has_its_workers_again(tmp_path: Path) -> None:
    """The stage has stopped for one life of the run; what it had given up stays so."""
    open_account = False

    async def pay(value: int) -> int:
        if value == 3 and not open_account:
            raise PermissionError
        return value

    flow = Pipeline([stage(pay, policies=[StopsOn(PermissionError)])], name="pay")
    store = f"sqlite:///{tmp_path}/pay.db"
    with trio.fail_after(60):
        async with flow.open(store=store, run_id="1") as run:
            await run.feed(range(6))
            await trio.testing.wait_all_tasks_blocked()
            assert run.stats().counts["dead"] == 3
            run.cancel()
        open_account = True
        async with flow.open(store=store, run_id="1") as run:
            await run.feed([3, 4])
            report = await run.finish()
    assert report.counts == {"fed": 8, "done": 5, "skipped": 0, "dead": 3, "held": 0}
