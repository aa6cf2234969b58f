"""Case 18: failures come back.

In the results of a stream, in the report of a run, from a call and from a live run: each with the
type and the text of its error, the lines that raised it, how often it was tried, and the stage.
Nothing has to be switched on for it.
"""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import DeadLetter, Fixed, ItemResult, Retry, StageError, Turn, stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import counted, increment, outcomes, pipeline
from tests.flows.lives import Disk


def look_up(value: int) -> int:
    table: dict[str, int] = {}
    return table["k"] + value


async def check(value: int, ctx: Turn) -> int:
    if value % 10 == 1:
        look_up(value)
    if value % 10 == 2:
        raise ValueError(f"no {value}")
    return value


def flow() -> Any:
    again = [Retry(3, backoff=Fixed(0), retry_on=(KeyError,))]
    return pipeline([increment, stage(check, policies=again), stage(increment, name="last")])


def told(failure: ItemResult[Any] | DeadLetter) -> tuple[Any, ...]:
    """What is common to both."""
    where = failure.stage if isinstance(failure, ItemResult) else failure.stage_or_actor
    return failure.id, where, repr(failure.error), failure.attempts


EXPECTED = [
    (0, "check", "KeyError('k')", 3),
    (1, "check", "ValueError('no 2')", 1),
    (10, "check", "KeyError('k')", 3),
    (11, "check", "ValueError('no 12')", 1),
]


async def test_a_stream_has_them_among_its_results() -> None:
    found = await outcomes(flow(), range(20), ordered=True)
    failures = [each for each in found if not each.ok]

    assert [told(each) for each in failures] == EXPECTED
    assert {each.status for each in failures} == {"failed"}
    assert all("look_up" in each.traceback for each in failures if each.attempts == 3)
    assert all('table["k"] + value' in each.traceback for each in failures if each.attempts == 3)
    assert len(found) - len(failures) == 16


async def test_the_report_of_a_run_has_them_without_being_asked_to() -> None:
    report = await flow().run(range(20))

    assert report.counts == counted(fed=20, done=16, dead=4)
    assert sorted(told(each) for each in report.dead) == EXPECTED
    assert [each.body for each in sorted(report.dead, key=lambda each: each.id)] == [1, 2, 11, 12]
    assert all("Traceback" in each.traceback for each in report.dead)
    assert sorted((each.stage, each.type, each.count) for each in report.errors) == [
        ("check", "KeyError", 2),
        ("check", "ValueError", 2),
    ]


async def test_a_call_raises_with_the_stage_the_attempts_and_the_handlers_own_error() -> None:
    with pytest.raises(StageError) as caught:
        await flow().invoke(0)

    assert (caught.value.stage, caught.value.attempts) == ("check", 3)
    assert type(caught.value.__cause__) is KeyError
    frames = []
    at = caught.value.__cause__.__traceback__
    while at is not None:
        frames.append(at.tb_frame.f_code.co_name)
        at = at.tb_next
    assert frames[-2:] == ["check", "look_up"]


async def test_a_map_puts_them_in_their_places_or_raises_all_of_them() -> None:
    values = await flow().map(range(4), return_exceptions=True)

    assert [type(each) for each in values] == [StageError, StageError, int, int]
    with pytest.raises(ExceptionGroup) as caught:
        await flow().map(range(4))
    assert [type(each.__cause__) for each in caught.value.exceptions] == [KeyError, ValueError]


async def test_a_live_run_tells_of_them_while_it_goes_on() -> None:
    async with flow().open() as run:
        future = await run.submit(0)
        error = await future.exception()
        summary = run.errors()

    assert type(error) is KeyError
    assert future.attempts == 3
    assert [(each.stage, each.type, each.count) for each in summary] == [("check", "KeyError", 1)]


async def test_one_is_known_after_the_process_has_ended() -> None:
    disk = MemoryDisk()
    await flow().run([0, 5], store=MemoryStore(disk=disk), run_id="run", results="store")

    (row,) = Disk(disk).dead("run")
    failed = next(each for each in Disk(disk).results("run") if each["status"] == "failed")
    assert (row.place, row.reason, row.error, row.attempts) == ("check", "failed", "KeyError", 3)
    assert "look_up" in row.traceback
    assert (failed["stage"], failed["attempts"]) == ("check", 3)
    assert "KeyError" in str(failed)


async def test_a_failure_of_every_kind_of_handler_is_told() -> None:
    def plain(value: int) -> int:
        raise ValueError("in a thread")

    async def generator(value: int) -> Any:
        yield value
        raise ValueError("behind a value")

    for handler, text in ((plain, "in a thread"), (generator, "behind a value")):
        found = await outcomes(pipeline([stage(handler, name="work")]), [1])
        (failed,) = [each for each in found if not each.ok]
        assert (failed.stage, str(failed.error), failed.attempts) == ("work", text, 1)
        assert handler.__name__ in failed.traceback
