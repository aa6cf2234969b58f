"""Stages in worker processes: what goes there, what comes back, and what a dead one costs."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from actorflow import (
    ConfigurationError,
    DeadLetter,
    Deadline,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    Fixed,
    Pipeline,
    Retry,
    StageError,
    TurnTimeout,
    WorkerDied,
    stage,
)
from actorflow.runtime import processes
from actorflow.stages.remote import address_of
from tests.flows.flowing import pipeline
from tests.stages import handlers


def in_process(fn: Any, **given: Any) -> Pipeline[Any, Any]:
    return pipeline([stage(fn, runs_in="process", name="work", **given)])


async def error_of(flow: Pipeline[Any, Any], value: Any) -> BaseException:
    """What the handler raised, as the caller finds it."""
    with pytest.raises(StageError) as caught:
        await flow.invoke(value)
    assert caught.value.__cause__ is not None
    return caught.value.__cause__


async def test_a_decorated_handler_runs_in_another_process() -> None:
    values = await pipeline([handlers.decorated, handlers.process_of]).map([1, 2])

    assert os.getpid() not in values


async def test_every_kind_of_importable_handler_works_there() -> None:
    cases: list[tuple[Any, Any, Any]] = [
        (handlers.decorated, 4, [8]),
        (handlers.up_to, 3, [0, 1, 2]),
        (handlers.added, {"left": 2, "right": 5}, [7]),
        (handlers.between, (3, 5), [3, 4]),
        (handlers.Nested.inside, 1, [101]),
        (stage(functools.partial(handlers.scaled, 3), runs_in="process", name="thrice"), 5, [15]),
        (stage(len, runs_in="process"), "four", [4]),
    ]

    assert [await pipeline([fn]).invoke_all(value) for fn, value, _ in cases] == [
        wanted for _, _, wanted in cases
    ]


async def test_an_error_comes_back_as_it_was_with_the_lines_that_raised_it() -> None:
    flow = in_process(handlers.raises)

    (result,) = [each async for each in _results(flow, ["plain"])]

    assert (type(result.error), result.error.args) == (KeyError, ("plain",))
    assert "handlers.py" in result.traceback


async def _results(flow: Pipeline[Any, Any], items: list[Any]) -> Any:
    async with flow.stream(items) as results:
        async for result in results:
            yield result


async def test_an_error_that_cannot_be_made_again_comes_back_all_the_same() -> None:
    error = await error_of(in_process(handlers.raises), "unpicklable")

    assert type(error) is handlers.NeedsTwo
    assert (str(error), error.second) == ("salt and pepper", "pepper")
    assert not hasattr(error, "lock")
    assert error.__notes__[0] == "of the kitchen"
    assert "handlers.py" in error.__notes__[1]


async def test_an_error_that_would_be_made_again_with_another_text_has_its_own() -> None:
    error = await error_of(in_process(handlers.raises), "worded")

    assert (type(error), str(error)) == (handlers.Worded, "there is no salt")


async def test_an_error_whose_class_is_not_to_be_found_is_one_that_says_what_it_was() -> None:
    error = await error_of(in_process(handlers.raises), "local")

    assert type(error) is EncodeError
    assert str(error) == (
        "the handler raised what cannot go to another process: "
        "raises.<locals>.Local: salt and pepper"
    )
    assert "handlers.py" in error.__notes__[0]


async def test_a_retry_knows_such_an_error_by_its_type() -> None:
    never = Retry(4, backoff=Fixed(0), never_on=(handlers.NeedsTwo,))
    letters: list[DeadLetter] = []
    flow = in_process(handlers.raises, policies=[never], on_failure=letters.append)

    await flow.map(["unpicklable", "local"], return_exceptions=True)

    assert sorted((type(each.error).__name__, each.attempts) for each in letters) == [
        ("EncodeError", 4),
        ("NeedsTwo", 1),
    ]


async def test_a_cause_that_cannot_be_sent_does_not_hide_the_error() -> None:
    error = await error_of(in_process(handlers.raises), "caused")

    assert (type(error), str(error)) == (ValueError, "caused")


async def test_a_result_that_cannot_be_sent_fails_its_item_alone() -> None:
    flow = in_process(handlers.returns)

    first, second, third = await flow.map(["lock", "half", "fine"], return_exceptions=True)

    assert type(first.__cause__) is EncodeError
    assert "what the handler returned (of type lock) cannot go to another process" in str(first)
    assert type(second.__cause__) is DecodeError
    assert "no way back" in str(second)
    assert third == "fine"


async def test_a_message_that_cannot_be_sent_fails_its_item_alone() -> None:
    flow = in_process(handlers.returns)

    first, second = await flow.map([threading.Lock(), "fine"], return_exceptions=True)

    assert type(first.__cause__) is EncodeError
    assert "the message (of type lock) cannot go to another process" in str(first)
    assert second == "fine"


async def test_a_coroutine_is_no_result() -> None:
    error = await error_of(in_process(handlers.gives_coroutine), 1)

    assert type(error) is TypeError
    assert "an `async def` needs runs_in='loop'" in str(error)


@pytest.mark.parametrize(
    ("kind", "wanted"), [("exit", SystemExit), ("interrupt", KeyboardInterrupt)]
)
async def test_what_ends_a_program_ends_one_item(kind: str, wanted: type[BaseException]) -> None:
    flow = in_process(handlers.raises)

    first, second = await flow.map([kind, "fine"], return_exceptions=True)

    assert type(first.__cause__) is wanted
    assert second == "fine"


async def test_a_message_whose_process_died_is_tried_again_in_a_new_one(tmp_path: Path) -> None:
    flow = in_process(handlers.dies_once, policies=[Retry(2, backoff=Fixed(0))])

    async with flow.open() as run:
        results = run.results()
        await run.feed([str(tmp_path / "marker")])
        result = await anext(results)
        (worker,) = run.workers()

    assert (result.value, result.attempts) == ("marker", 2)
    assert worker.incarnation == 2
    assert run.report is not None
    assert run.report.restarts == 1


async def test_a_process_that_dies_costs_its_own_message_and_no_other() -> None:
    flow = in_process(handlers.dies_if_negative, workers=2)

    values = await flow.map([1, 2, -1, 3, -2, 4], return_exceptions=True)

    assert [value for value in values if isinstance(value, int)] == [1, 2, 3, 4]
    assert [type(value.__cause__) for value in values if not isinstance(value, int)] == [
        WorkerDied,
        WorkerDied,
    ]


async def test_a_process_that_hangs_is_killed_at_the_timeout_and_frees_its_worker() -> None:
    flow = in_process(handlers.hangs_if_negative, timeout=3.0)

    first, second = await flow.map([-1, 5], return_exceptions=True)

    assert type(first.__cause__) is TurnTimeout
    assert second == 5


async def test_the_start_of_a_process_is_not_the_time_of_the_handler() -> None:
    """To import the library alone takes longer than that timeout."""
    flow = in_process(handlers.scaled_by_two, timeout=0.25, workers=3)

    assert await flow.map(range(6)) == [0, 2, 4, 6, 8, 10]


async def test_a_process_that_does_not_become_ready_is_a_failure_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 0.02)

    error = await error_of(in_process(handlers.scaled_by_two), 1)

    assert type(error) is WorkerDied
    assert "it was not ready within 0.02 s" in str(error)


async def test_the_deadline_of_a_message_holds_while_a_process_starts() -> None:
    work = stage(handlers.scaled_by_two, runs_in="process", name="work")

    (error,) = await pipeline([work], policies=[Deadline(0.05)]).map([1], return_exceptions=True)

    assert type(error.__cause__) is DeadlineExceeded


def test_the_address_of_a_function_whose_name_is_another_ones_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        address_of(handlers.impostor)

    assert "the function that is found as tests.stages.handlers._plain" in str(caught.value)


def test_the_address_of_a_name_that_is_not_there_is_refused() -> None:
    def nameless() -> None: ...

    nameless.__qualname__ = "nowhere"

    with pytest.raises(ConfigurationError, match="used with what can be imported"):
        address_of(nameless)


def test_a_partial_takes_what_it_binds_along() -> None:
    address = address_of(functools.partial(handlers.scaled, 3))

    assert pickle.loads(address)[2:] == ((3,), {})


async def test_a_handler_that_no_process_can_find_fails_the_run_before_it_begins() -> None:
    flow = in_process(handlers.impostor)

    with pytest.raises(ConfigurationError, match=r"found as tests\.stages\.handlers\._plain"):
        await flow.run([1])


SCRIPT = """
    from actorflow import Pipeline, stage

    class Wrong(Exception):
        pass

    @stage(runs_in="process")
    def work(value):
        if value < 0:
            raise Wrong(value)
        return value * 2

    if __name__ == "__main__":
        import trio
        async def main():
            values = await Pipeline([work]).map([1, -1], return_exceptions=True)
            print(values[0], type(values[1].__cause__) is Wrong)
        trio.run(main)
"""


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"]], ids=["file", "module"])
def test_a_handler_of_the_main_script_is_found_there(tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))

    done = subprocess.run(
        [sys.executable, *how],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("2 True\n", 0), done.stderr
