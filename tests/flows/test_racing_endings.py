"""Endings that several tasks call at once: who is first does not decide what is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import ActorSystem, JsonLinesSink, NotRunningError, Run, stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.flows import endings
from tests.flows.flowing import Gate, counted, increment, nothing_left, pipeline
from tests.flows.lives import SECONDS, Held, Slow, TapeSink, finished, status_of

VALUES = list(range(10))


async def echo(value: Any) -> Any:
    return value


FLOW = pipeline([echo], name="f")


class Trickle(Slow):
    """Gives what it has up to *pause*, and then nothing for ever."""

    def __init__(self, values: list[int], pause: int) -> None:
        super().__init__(values[:pause])

    async def pull(self, most: int) -> list[int]:
        return await super().pull(most) or await trio.sleep_forever()


class Lingering(Slow):
    """Takes its time to close."""

    async def aclose(self) -> None:
        await trio.sleep(0.05)


def status(disk: MemoryDisk) -> str:
    return status_of(MemoryStore(disk=disk), "run")


@contextlib.asynccontextmanager
async def fed_in_part(
    disk: MemoryDisk, tape: list[Any], **options: Any
) -> AsyncIterator[Run[Any, Any]]:
    """A run that has read a part of its source, holds nothing and waits for more."""
    store = MemoryStore(disk=disk)
    async with (
        nothing_left(),
        trio.open_nursery() as nursery,
        FLOW.open(store=store, run_id="run", sink=TapeSink(tape), **options) as run,
    ):
        nursery.start_soon(run.feed_from, Trickle(VALUES, 4))
        await wait_all_tasks_blocked(0.01)
        assert run.stats().counts == counted(fed=4, done=4)
        yield run


async def rest_comes(disk: MemoryDisk, tape: list[Any]) -> None:
    """The next part reads what was left, and nothing twice."""
    report = await FLOW.run(
        Slow(VALUES), store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
    )

    assert sorted(tape) == VALUES
    assert report.counts == counted(fed=10, done=10)
    assert status(disk) == "finished"


async def one_after_the_other(run: Run[Any, Any], verbs: Sequence[str], ticks: int) -> None:
    """Call *verbs* in tasks of their own, so many *ticks* of the scheduler apart."""

    async def call(verb: str) -> None:
        if verb == "cancel":
            run.cancel()
        else:
            await getattr(run, verb)()

    async with trio.open_nursery() as nursery:
        for verb in verbs:
            nursery.start_soon(call, verb)
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()


# Input that is left ----------------------------------------------------------------------

ORDERS = [
    ["finish"],
    ["drain", "finish"],
    ["finish", "drain"],
    ["stop", "finish"],
    ["finish", "stop"],
    ["cancel", "finish"],
    ["finish", "cancel"],
    ["drain", "stop", "finish"],
    ["drain", "leave"],
    ["leave"],
]


@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
async def test_no_order_of_endings_makes_a_run_finished_whose_input_is_left(
    order: list[str], ticks: int
) -> None:
    disk, tape = MemoryDisk(), list[Any]()
    with trio.fail_after(SECONDS):
        async with fed_in_part(disk, tape) as run:
            await one_after_the_other(run, [each for each in order if each != "leave"], ticks)

        assert status(disk) == ("running" if order == ["cancel", "finish"] else "parked") or (
            "cancel" in order  # Which may come when the last cut is on its way.
        )
        await rest_comes(disk, tape)


async def test_a_system_that_ends_makes_no_run_finished_whose_input_is_left() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    system = ActorSystem("house")
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery, system:
            store, sink = MemoryStore(disk=disk), TapeSink(tape)

            async def run() -> None:
                source = Trickle(VALUES, 4)
                await FLOW.run(source, store=store, run_id="run", sink=sink, system=system)

            nursery.start_soon(run)
            while len(tape) < 4:
                await wait_all_tasks_blocked(0.001)
            await system.stop()

        assert status(disk) == "parked"
        await rest_comes(disk, tape)


async def test_a_source_at_its_end_does_not_speak_for_another_one() -> None:
    disk, tape, gate = MemoryDisk(), list[Any](), Gate()
    flow = pipeline([stage(gate, name="a", workers=10)], name="f")

    async def feed(run: Run[Any, Any], source: Any) -> None:
        await run.feed_from(source)
        returned.append(source)

    returned: list[Any] = []
    ends = Lingering([100])
    with trio.fail_after(SECONDS):
        store = MemoryStore(disk=disk)
        async with (
            flow.open(store=store, run_id="run", sink=TapeSink(tape)) as run,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(feed, run, Trickle(VALUES, 4))
            await wait_all_tasks_blocked()
            nursery.start_soon(feed, run, ends)
            while len(gate.inside) < 5:
                await wait_all_tasks_blocked()
            nursery.start_soon(run.drain)
            while ends not in returned:  # Last of the two, as it takes its time.
                await wait_all_tasks_blocked(0.001)
            gate.open()

        assert status(disk) == "parked"
        flow = pipeline([stage(echo, name="a")], name="f")
        async with flow.open(
            store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)
        ) as run:
            await run.feed_from(Slow(VALUES))
            await run.feed_from(Slow([100]))
            await run.finish()

    assert sorted(tape) == [*VALUES, 100]


@pytest.mark.parametrize("verb", ["feed", "feed_from"])
async def test_input_that_was_refused_is_left(verb: str) -> None:
    disk, gate = MemoryDisk(), Gate()
    with trio.fail_after(SECONDS):
        async with (
            pipeline([gate], name="f").open(store=MemoryStore(disk=disk), run_id="run") as run,
            trio.open_nursery() as nursery,
        ):
            await run.feed_from(Slow([1, 2]))
            nursery.start_soon(run.drain)
            await wait_all_tasks_blocked()
            with pytest.raises(NotRunningError):
                await getattr(run, verb)([3])
            nursery.start_soon(run.finish)
            await wait_all_tasks_blocked()
            gate.open()

    assert run.report is not None
    assert run.report.counts == counted(fed=2, done=2)
    assert status(disk) == "parked"


async def test_input_that_was_refused_by_a_finish_was_too_much() -> None:
    disk, gate = MemoryDisk(), Gate()
    with trio.fail_after(SECONDS):
        async with (
            pipeline([gate], name="f").open(store=MemoryStore(disk=disk), run_id="run") as run,
            trio.open_nursery() as nursery,
        ):
            await run.feed([1])
            nursery.start_soon(run.finish)
            await wait_all_tasks_blocked()
            with pytest.raises(NotRunningError):
                await run.feed([2])
            gate.open()

    assert status(disk) == "finished"


@pytest.mark.parametrize("first", ["drain", "stop", "finish"])
async def test_a_feed_that_was_cut_short_leaves_input_unless_there_was_to_be_no_more(
    first: str,
) -> None:
    disk = MemoryDisk()

    async def few() -> AsyncIterator[int]:
        yield 1
        await trio.sleep_forever()

    async def feed(run: Run[Any, Any]) -> None:
        with pytest.raises(NotRunningError, match="it has taken 1 items"):
            await run.feed(few())

    with trio.fail_after(SECONDS):
        async with (
            FLOW.open(store=MemoryStore(disk=disk), run_id="run") as run,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(feed, run)
            await wait_all_tasks_blocked(0.01)
            await one_after_the_other(run, [first, "finish"], 3)

    assert status(disk) == ("finished" if first == "finish" else "parked")


async def test_a_drain_alone_never_says_that_there_is_no_more_input() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    async with FLOW.open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run:
        await run.feed_from(Slow(VALUES[:4]))
        await run.drain()  # Perhaps by a signal, before the next source.

    assert status(disk) == "parked"


async def test_a_source_of_an_earlier_part_that_was_not_given_again_is_left() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    async with fed_in_part(disk, tape):
        pass

    report = await finished(FLOW, MemoryStore(disk=disk), sink=TapeSink(tape))

    assert report.counts == counted(fed=4, done=4)
    assert status(disk) == "parked"
    await rest_comes(disk, tape)


# Input that is not -----------------------------------------------------------------------


@pytest.mark.parametrize("order", [["finish"], ["drain", "finish"], ["stop", "finish"], ["leave"]])
@pytest.mark.parametrize("source", [list, Slow, iter])
async def test_a_run_that_has_read_and_done_all_is_finished_in_any_order(
    order: list[str], source: Callable[[list[int]], Any]
) -> None:
    disk, tape = MemoryDisk(), list[Any]()
    async with FLOW.open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run:
        await run.feed_from(source(VALUES))
        while len(tape) < 10:
            await wait_all_tasks_blocked()
        await one_after_the_other(run, [each for each in order if each != "leave"], 3)

    assert status(disk) == "finished"
    assert sorted(tape) == VALUES


async def test_a_source_that_knows_it_has_nothing_left_was_read_to_its_end() -> None:
    disk, tape = MemoryDisk(), list[Any]()

    class Exact(Trickle):
        """Waits at its end, which it knows."""

        @property
        def left(self) -> int:
            return len(self._values) - self._index

    async with (
        trio.open_nursery() as nursery,
        FLOW.open(store=MemoryStore(disk=disk), run_id="run", sink=TapeSink(tape)) as run,
    ):
        nursery.start_soon(run.feed_from, Exact(VALUES, 10))
        await wait_all_tasks_blocked(0.01)
        await run.finish()

    assert status(disk) == "finished"


# Output that is left ---------------------------------------------------------------------


class Stuck(TapeSink):
    """Takes nothing any more once it is told."""

    stuck = False

    async def write(self, values: Sequence[Any]) -> None:
        if self.stuck:
            await trio.sleep_forever()
        await super().write(values)


@pytest.mark.parametrize("verb", ["drain", "stop"])
async def test_a_run_whose_sink_lacks_values_is_not_finished(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "REST_SECONDS", 0.01)
    monkeypatch.setattr(endings, "LEAST_SECONDS", 0.01)
    disk, tape = MemoryDisk(), list[Any]()
    sink = Stuck(tape)
    with trio.fail_after(SECONDS):
        async with (
            FLOW.open(store=MemoryStore(disk=disk), run_id="run", sink=sink) as run,
            trio.open_nursery() as nursery,
        ):
            await run.feed_from([1])
            await wait_all_tasks_blocked(0.01)
            sink.stuck = True
            await run.feed_from([2, 3])
            nursery.start_soon(run.finish)
            await wait_all_tasks_blocked(0.01)
            report = await (run.drain(0) if verb == "drain" else run.stop())

        assert report.counts == counted(fed=3, done=3)
        assert (tape, status(disk)) == ([1], "parked")
        await finished(FLOW, MemoryStore(disk=disk), sink=TapeSink(tape))

    assert (tape, status(disk)) == ([1, 2, 3], "finished")


@pytest.mark.parametrize("ending", ["finish", "drain"])
async def test_a_settled_sink_has_all_of_a_run_that_ends_between_two_cuts(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / "out.jsonl"
    with trio.fail_after(SECONDS):
        async with FLOW.open(
            store=MemoryStore(), sink=JsonLinesSink(path, settled=True), interval=3600
        ) as run:
            for some in (VALUES[:5], VALUES[5:]):  # The first cut comes at once.
                await run.feed_from(some)
                await wait_all_tasks_blocked(0.01)
            await getattr(run, ending)()

    assert path.read_text().split() == [str(each) for each in VALUES]


async def test_what_a_settled_sink_lacks_when_a_run_is_stopped_comes_next_time(
    tmp_path: Path,
) -> None:
    disk, path = MemoryDisk(), tmp_path / "out.jsonl"
    sink = JsonLinesSink(path, settled=True)
    with trio.fail_after(SECONDS):
        async with FLOW.open(
            store=MemoryStore(disk=disk), run_id="run", sink=sink, interval=3600
        ) as run:
            for some in (VALUES[:5], VALUES[5:]):  # The first cut comes at once.
                await run.feed_from(some)
                await wait_all_tasks_blocked(0.01)
            began = trio.current_time()
            await run.stop()
            assert trio.current_time() - began < 1
        await finished(FLOW, MemoryStore(disk=disk), sink=JsonLinesSink(path))

    assert path.read_text().split() == [str(each) for each in VALUES]


# Who waits for whom ----------------------------------------------------------------------


@pytest.mark.parametrize("order", [["drain", "finish"], ["finish", "drain"], ["stop", "finish"]])
async def test_every_ending_returns_when_the_last_cut_is_on_the_disk(order: list[str]) -> None:
    store = Held(MemoryDisk())
    returned: list[str] = []

    async def call(ending: Callable[[], Awaitable[Any]], name: str) -> None:
        await ending()
        returned.append(name)

    with trio.fail_after(SECONDS):
        async with FLOW.open(store=store, run_id="run") as run:
            await run.feed([1])
            await wait_all_tasks_blocked(0.01)
            store.hold()
            async with trio.open_nursery() as nursery:
                for name in order:
                    nursery.start_soon(call, getattr(run, name), name)
                    await wait_all_tasks_blocked(0.01)
                too_early = list(returned)
                store.let_go()

    assert too_early == []
    assert sorted(returned) == sorted(order)


async def test_leaving_the_block_waits_for_a_drain_that_has_begun() -> None:
    gate, left = Gate(), trio.Event()

    async def body(started: trio.Event) -> None:
        async with pipeline([gate]).open() as run:
            runs.append(run)
            await run.feed([1])
            started.set()
            await run.feed_from(Trickle(VALUES, 0))  # Returns when the drain begins.
        left.set()

    runs: list[Run[Any, Any]] = []
    with trio.fail_after(SECONDS):
        async with nothing_left(), trio.open_nursery() as nursery:
            started = trio.Event()
            nursery.start_soon(body, started)
            await started.wait()
            nursery.start_soon(runs[0].drain)
            await wait_all_tasks_blocked(0.01)
            assert not left.is_set()
            gate.open()
            await left.wait()

    assert runs[0].report is not None
    assert runs[0].report.counts == counted(fed=1, done=1)


async def test_leaving_the_block_waits_for_no_drain_when_the_run_is_cancelled() -> None:
    gate = Gate()
    with trio.fail_after(SECONDS):
        async with (
            nothing_left(),
            trio.open_nursery() as nursery,
            pipeline([gate]).open() as run,
        ):
            await run.feed([1])
            nursery.start_soon(run.drain)
            await wait_all_tasks_blocked(0.01)
            run.cancel()

    assert run.report is not None
    assert run.report.counts == counted(fed=1, held=1)


# Too late and too early ------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["finish", "drain", "stop"])
async def test_any_ending_of_a_run_that_had_finished_gives_its_report(verb: str) -> None:
    disk = MemoryDisk()
    await FLOW.run([1], store=MemoryStore(disk=disk), run_id="run")

    with trio.fail_after(SECONDS):
        async with FLOW.open(store=MemoryStore(disk=disk), run_id="run") as run:
            assert await getattr(run, verb)() is run.report

    assert status(disk) == "finished"


@pytest.mark.parametrize("verb", ["finish", "drain", "stop"])
async def test_a_run_that_has_not_begun_cannot_be_ended(verb: str) -> None:
    run = pipeline([increment]).open()

    with trio.fail_after(SECONDS), pytest.raises(NotRunningError, match="has not begun"):
        await getattr(run, verb)()

    async with run:
        await run.feed([1])
        assert (await run.finish()).counts == counted(fed=1, done=1)
