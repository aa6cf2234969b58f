"""A run that is gone on with by other options, other inputs or other code loses and doubles
nothing; what cannot work is refused, and the run stays as it was."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    CircuitBreaker,
    ConfigurationError,
    Fixed,
    JsonLinesSource,
    Pipeline,
    RateLimit,
    Retry,
    SourceChanged,
    VersionMismatch,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Boom, Gate, counted, pipeline
from tests.flows.lives import (
    SECONDS,
    Disk,
    Mortal,
    Slow,
    TapeSink,
    aged,
    fed_and_killed,
    finished,
    status_of,
)

#: Seconds in which what should not happen would have happened.
QUIET = 0.05


async def echo(value: Any) -> Any:
    return value


def named(handler: Any, **options: Any) -> Pipeline[Any, Any]:
    return pipeline([stage(handler, name="a", **options)], name="f")


ECHO = named(echo)


# The order of results --------------------------------------------------------------------


async def test_an_order_that_was_given_up_for_a_while_holds_nothing_up() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    held: set[int] = set()

    async def work(value: int) -> int:
        return await trio.sleep_forever() if value in held else value

    flow = named(work, workers=4)
    for ordered, stuck, values in ((True, 2, [0, 1, 2, 3]), (False, 6, [4, 5, 6, 7])):
        held = {stuck}
        sink = TapeSink(tape)
        await fed_and_killed(flow, Mortal(disk), values, ordered=ordered, sink=sink)
    held = set()
    with trio.fail_after(SECONDS):
        async with flow.open(
            store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape), ordered=True, window=4
        ) as run:
            await run.feed(range(8, 20))
            report = await run.finish()

    assert sorted(tape) == list(range(20))
    assert tape[-12:] == list(range(8, 20))
    assert report.counts == counted(fed=20, done=20)


@pytest.mark.parametrize("options", [{"window": 1}, {"concurrency": 1}, {"max_dead": 0}])
async def test_a_run_that_holds_much_goes_on_with_room_for_little(options: dict[str, Any]) -> None:
    disk, tape = MemoryDisk(), list[Any]()
    await fed_and_killed(named(Gate()), Mortal(disk), list(range(50)), sink=TapeSink(tape))

    with trio.fail_after(SECONDS):
        async with ECHO.open(
            store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape), **options
        ) as run:
            await run.feed(range(50, 60))
            report = await run.finish()

    assert sorted(tape) == list(range(60))
    assert report.counts == counted(fed=60, done=60)


# The input -------------------------------------------------------------------------------


def in_lines(path: Path, count: int) -> str:
    text = "".join(f"{number}\n" for number in range(count))
    path.write_text(text)
    return text


async def killed_in_the_middle(disk: MemoryDisk, tape: list[Any], source: Any) -> Any:
    """What a part has kept of *source* that was killed while it held some of it."""
    store = Mortal(disk)
    async with (
        named(Gate(), capacity=1).open(store=store, run_id="run", sink=TapeSink(tape)) as run,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run.feed_from, source)
        await wait_all_tasks_blocked(QUIET)
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()
    return Disk(disk).facts("run")["source/0"]


async def test_an_input_that_was_refused_does_not_move_the_place_to_read_on_from(
    tmp_path: Path,
) -> None:
    disk, tape, path = MemoryDisk(), list[Any](), tmp_path / "in.jsonl"
    text = in_lines(path, 20)
    place = await killed_in_the_middle(disk, tape, JsonLinesSource(path))
    assert place["cursor"]["offset"] > 0

    path.write_text("9" + text[1:])
    for wrong, error in ((JsonLinesSource(path), SourceChanged), (iter([]), ConfigurationError)):
        with pytest.raises(error):
            await ECHO.run(wrong, store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape))
        assert Disk(disk).facts("run")["source/0"]["cursor"] == place["cursor"]
    path.write_text(text)
    report = await ECHO.run(
        JsonLinesSource(path), store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    )

    assert sorted(tape) == list(range(20))
    assert report.counts == counted(fed=20, done=20)


async def test_the_right_input_may_come_after_one_that_was_refused() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    values = list(range(20))
    place = await killed_in_the_middle(disk, tape, values)

    async with ECHO.open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run:
        with pytest.raises(SourceChanged):
            await run.feed_from(tuple(values[:5]))
        await run.feed([100])
        assert Disk(disk).facts("run")["source/0"] == place
        await run.feed_from(values)
        report = await run.finish()

    assert sorted(tape) == [*values, 100]
    assert report.counts == counted(fed=21, done=21)
    assert status_of(MemoryStore(disk=disk), "run") == "finished"


async def test_a_run_whose_input_was_refused_is_not_finished() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    values = list(range(20))
    await killed_in_the_middle(disk, tape, values)

    async with ECHO.open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run:
        with pytest.raises(SourceChanged):
            await run.feed_from([])
        await run.finish()
    assert status_of(MemoryStore(disk=disk), "run") == "parked"
    report = await ECHO.run(values, store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape))

    assert sorted(tape) == values
    assert report.counts == counted(fed=20, done=20)


async def test_a_cut_while_a_source_seeks_has_the_place_it_seeks() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    values = list(range(20))
    place = await killed_in_the_middle(disk, tape, Slow(values))

    class Seeking(Slow):
        async def seek(self, cursor: int, run: str) -> None:
            await trio.sleep_forever()

    async with (
        named(Gate()).open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run.feed_from, Seeking(values))
        await wait_all_tasks_blocked()
        await run.feed([100])  # Returns when a cut has it.
        assert Disk(disk).facts("run")["source/0"]["cursor"] == place["cursor"] > 0
        await run.stop()
    report = await ECHO.run(
        Slow(values), store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    )

    assert sorted(tape) == [*values, 100]
    assert report.counts == counted(fed=21, done=21)


async def test_a_source_is_not_asked_any_more_when_it_is_closed() -> None:
    disk, tape = MemoryDisk(), list[Any]()

    class Closing(Slow):
        closed = False

        def cursor(self) -> int:
            assert not self.closed, "closed"
            return super().cursor()

        async def aclose(self) -> None:
            self.closed = True

    async with (
        named(Gate(), capacity=1).open(
            store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
        ) as run,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run.feed_from, Closing(list(range(20))))
        await wait_all_tasks_blocked(0.01)
        await run.stop()

    await ECHO.run(
        Slow(list(range(20))), store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    )
    assert sorted(tape) == list(range(20))


class Named(Slow):
    def __init__(self, name: str, start: int) -> None:
        super().__init__(list(range(start, start + 10)))
        self.name = name


SOURCES = (("one", 0), ("two", 100), ("two", 200), ("three", 300))


async def fed_from_all(
    run: Any, sources: list[tuple[str, int]], ending: Callable[[], Any] | None = None
) -> None:
    async with trio.open_nursery() as nursery:
        for each in sources:
            nursery.start_soon(run.feed_from, Named(*each))
            await wait_all_tasks_blocked()
        if ending is not None:
            await wait_all_tasks_blocked(0.01)
            await ending()


@pytest.mark.parametrize(
    "order",
    [[0, 1, 2, 3], [3, 0, 1, 2], [1, 3, 2, 0]],
    ids=["as before", "turned round", "mixed"],
)
async def test_each_source_is_read_on_by_its_name_in_whatever_order_they_come(
    order: list[int],
) -> None:
    disk, tape = MemoryDisk(), list[Any]()
    async with named(Gate(), capacity=1).open(
        store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    ) as run:
        await fed_from_all(run, list(SOURCES), run.stop)
    facts = Disk(disk).facts("run")
    assert [facts[f"source/{number}"]["name"] for number in range(4)] == [
        "one",
        "two",
        "two",
        "three",
    ]
    async with ECHO.open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run:
        await fed_from_all(run, [SOURCES[number] for number in order])
        report = await run.finish()

    assert sorted(tape) == sorted(each for _, start in SOURCES for each in range(start, start + 10))
    assert report.counts == counted(fed=40, done=40)


async def test_a_source_without_a_name_in_the_store_is_known_by_its_place() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    await killed_in_the_middle(disk, tape, Slow(list(range(20))))
    aged(disk, "run")

    report = await ECHO.run(
        Slow(list(range(20))), store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    )

    assert sorted(tape) == list(range(20))
    assert report.counts == counted(fed=20, done=20)


async def test_another_source_in_the_place_of_one_that_was_read_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk, tape = MemoryDisk(), list[Any]()
    async with named(Gate()).open(
        store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    ) as run:
        await run.feed_from(Named("monday", 0))
        await run.stop()

    with caplog.at_level(logging.WARNING):
        await ECHO.run(
            Named("tuesday", 0),
            store=MemoryStore(disk=disk),
            run_id="run",
            sink=TapeSink(tape),
        )

    assert sorted(tape) == list(range(10))
    assert caplog.messages == [
        "source tuesday is taken for monday, which the run has read to its end: it is not read"
    ]


async def test_ids_may_repeat() -> None:
    disk, flow = MemoryDisk(), named(Gate())
    await fed_and_killed(flow, Mortal(disk), [], results="store")
    async with flow.open(store=MemoryStore(disk=disk), run_id="run", results="store") as run:
        await run.feed([1, 2, 3], ids=["same", "same", 0])
        await run.stop()
    async with ECHO.open(store=MemoryStore(disk=disk), run_id="run", results="store") as run:
        await run.feed([4], ids=["same"])
        report = await run.finish()

    assert report.counts == counted(fed=4, done=4)
    found = {row["number"]: (row["id"], row["value"]) for row in Disk(disk).results("run")}
    assert found == {0: ("same", 1), 1: ("same", 2), 2: (0, 3), 3: ("same", 4)}


# Policies --------------------------------------------------------------------------------


async def test_a_limit_of_another_kind_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    disk = MemoryDisk()
    calls: list[Any] = []

    def flow(*policies: Any) -> Pipeline[Any, Any]:
        return named(calls.append, policies=policies, runs_in="loop")

    await fed_and_killed(flow(RateLimit(1, per=100.0)), Mortal(disk), [1, 2])
    assert calls == [1]
    keyed = flow(RateLimit(1, per=100.0, key=lambda value: value))
    report = await finished(keyed, MemoryStore(disk=disk))

    assert report.counts == counted(fed=2, done=2)
    assert caplog.messages == ["the policies of stage 'a' have changed and begin anew"]


async def test_an_open_circuit_stays_open_under_the_new_name_of_its_stage() -> None:
    disk = MemoryDisk()
    calls: list[int] = []

    async def fail(value: int) -> int:
        calls.append(value)
        raise Boom

    def flow(name: str) -> Pipeline[Any, Any]:
        policies = [CircuitBreaker(1, 100.0), Retry(5, backoff=Fixed(0))]
        return pipeline([stage(fail, name=name, policies=policies)], name="f")

    await fed_and_killed(flow("a"), Mortal(disk), [1])
    for _ in range(2):  # The second part finds it under its new name.
        options: dict[str, Any] = {"idle": QUIET, "migrate": {"a": "b"}}
        await fed_and_killed(flow("b"), Mortal(disk), [], **options)

    assert calls == [1]
    assert {key for key in Disk(disk).facts("run") if key.startswith("policy/")} == {"policy/b"}


async def test_the_rate_of_a_flow_goes_on_counting(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    calls: list[int] = []

    async def work(value: int) -> int:
        calls.append(value)
        return value

    flow = pipeline([work], name="f", policies=[RateLimit(1, per=100.0)])
    for expected in ([1], [1], [1, 2]):
        if expected == [1, 2]:
            later(101.0)
        with trio.fail_after(SECONDS):
            async with (
                flow.open(store=disk(), run_id="run") as run,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(run.feed_from, [1, 2, 3])
                while len(calls) < len(expected):
                    await wait_all_tasks_blocked(0.001)
                await wait_all_tasks_blocked(QUIET)
                await run.stop()
        assert calls == expected


# What cannot be opened -------------------------------------------------------------------


@pytest.mark.parametrize("was", ["parked", "running", "failed"])
@pytest.mark.parametrize("why", ["version", "sink", "cancelled"])
async def test_a_run_that_could_not_be_opened_stays_what_it_was(was: str, why: str) -> None:
    class Slowly(TapeSink):
        async def open(self, at: int | None = None, *, fresh_inode: bool = False) -> None:
            scope.cancel()
            await trio.sleep_forever()

    disk, tape = MemoryDisk(), list[Any]()
    if was == "running":
        await fed_and_killed(named(Gate()), Mortal(disk), [1], sink=TapeSink(tape))
    else:
        await _ended(disk, tape, was)
    assert status_of(MemoryStore(disk=disk), "run") == was

    other = pipeline([stage(echo, name="b")], name="f") if why == "version" else ECHO
    sink = None if why == "sink" else Slowly(tape) if why == "cancelled" else TapeSink(tape)
    expected = {"version": VersionMismatch, "sink": ConfigurationError}
    with trio.CancelScope() as scope, pytest.raises(expected.get(why, trio.Cancelled)):
        async with other.open(store=MemoryStore(disk=disk), run_id="run", sink=sink):
            pass

    assert status_of(MemoryStore(disk=disk), "run") == was
    await finished(ECHO, MemoryStore(disk=disk), sink=TapeSink(tape))
    assert tape == [1]


async def _ended(disk: MemoryDisk, tape: list[Any], how: str) -> None:
    """A part that holds an item and was stopped, or has failed."""
    async with named(Gate()).open(
        store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    ) as run:
        await run.feed([1])
        if how == "failed":
            run._fail(Boom())
        with contextlib.suppress(Boom):
            await run.stop()
