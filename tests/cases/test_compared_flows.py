"""What `docs/compared.md` says of flows and has no case of its own: one test for each row."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    CompilationError,
    ConfigurationError,
    Context,
    Graph,
    RateLimit,
    Retry,
    Route,
    Send,
    StageError,
    Steps,
    Turn,
    TurnTimeout,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.policies.backoff import Fixed
from tests.cli.support import invoke
from tests.flows.flowing import Boom, counted, double, increment, pipeline
from tests.flows.lives import SECONDS, Held, Mortal, TapeSink

virtual = pytest.mark.usefixtures("autojump_clock")


async def same(value: Any) -> Any:
    return value


# What a store costs and keeps -----------------------------------------------------------


class Weighed(Held):
    """Notes how many bytes each commit has."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self.bytes: list[int] = []

    def commit(self, change: Any) -> None:
        super().commit(change)
        self.bytes.append(len(change.cut or b""))


async def test_stages_do_not_wait_for_the_disk_and_a_large_value_is_not_written_at_each() -> None:
    """While the disk is busy with the first checkpoint the item goes through all ten stages."""
    large = [str(number) for number in range(10_000)]
    size = sum(map(len, large))
    store, through = Weighed(MemoryDisk()), trio.Event()

    async def last(value: Any) -> Any:
        through.set()
        return value

    nodes = [*(stage(same, name=f"s{number}") for number in range(9)), last]
    async with pipeline(nodes, name="large").open(store=store, run_id="run") as run:
        store.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.feed, [large])
            await through.wait()
            store.let_go()
        report = await run.finish()

    assert report.counts == counted(fed=1, done=1)
    assert 1 <= sum(each > size for each in store.bytes) <= 3


def test_a_run_that_has_finished_can_still_be_looked_at(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    pipeline([increment], name="kept").run_sync(range(5), store=url, run_id="run")

    found = invoke("snapshot", "show", "run", "--store", url, "--json")

    assert found.exit_code == 0
    assert json.loads(found.stdout)["kept"]["count"] >= 1


async def test_another_body_is_the_same_version_until_somebody_says_so() -> None:
    def made(factor: int, version: int) -> Any:
        async def work(value: int) -> int:
            return value * factor

        return pipeline([stage(work, version=version)], name="f")

    assert made(2, 1).version == made(3, 1).version
    assert made(2, 1).version != made(2, 2).version


async def test_a_stream_that_was_left_goes_on_where_it_was() -> None:
    disk, tape = MemoryDisk(), list[int]()
    flow = pipeline([same], name="f")

    async def part(most: int) -> int:
        taken = 0
        given: dict[str, Any] = {"store": Mortal(disk), "run_id": "run", "sink": TapeSink(tape)}
        with trio.fail_after(3 * SECONDS):
            async with flow.stream(range(20), window=1, **given) as results:
                async for _ in results:
                    taken += 1
                    if taken == most:
                        break
        return taken

    assert await part(5) == 5
    assert len(tape) < 20
    await part(100)

    assert sorted(tape) == list(range(20))


@pytest.mark.parametrize("to", ["a function", "a sink that has places"])
@pytest.mark.parametrize("window", [1, 2, 8])
async def test_a_stream_and_a_sink_and_a_store_go_together_whatever_the_window_is(
    window: int, to: str
) -> None:
    """An item may come and go between two checkpoints: its result waits for one all the same."""
    tape: list[int] = []
    sink: Any = tape.append if to == "a function" else TapeSink(tape)
    store = MemoryStore(disk=MemoryDisk())

    with trio.fail_after(3 * SECONDS):
        async with pipeline([same], name="f").stream(
            range(40), window=window, store=store, run_id="run", sink=sink
        ) as results:
            found = [each.value async for each in results]

    assert sorted(found) == sorted(tape) == list(range(40))


# Time that nobody needs -----------------------------------------------------------------


@virtual
@pytest.mark.parametrize("ending", ["finish", "drain", "stop", "leave"])
async def test_no_ending_adds_a_moment(ending: str) -> None:
    for _ in range(20):
        async with pipeline([stage(increment, workers=10), double]).open() as run:
            await run.feed(range(10))
            await wait_all_tasks_blocked()
            if ending != "leave":
                await getattr(run, ending)()

    assert trio.current_time() == 0


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("level", ["bar", "compact", "detailed", "full"])
async def test_no_display_makes_the_loop_sleep(
    level: Any, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def refuse(seconds: float) -> None:
        raise AssertionError("a display slept")

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(time, "sleep", refuse)

    report = await pipeline([increment]).run(range(3), progress=level)

    assert terminal.getvalue()
    assert report.observer_failures == 0
    assert trio.current_time() == 0


# Who goes first -------------------------------------------------------------------------


@virtual
async def test_an_urgent_item_waits_for_a_turn_of_others_and_not_for_all_that_they_have() -> None:
    order: list[Any] = []

    async def slow(value: Any) -> None:
        order.append(value)
        await trio.sleep(1)

    feeders, capacity = 5, 4
    async with pipeline([stage(slow, capacity=capacity)]).open() as run:
        async with trio.open_nursery() as nursery:
            for first in range(feeders):
                nursery.start_soon(run.feed, [first] * 50)
            await trio.sleep(4.5)
            before = len(order)
            await run.feed(["urgent"], priority=0)
        await run.finish()

    assert order.index("urgent") - before <= feeders * capacity
    assert len(order) == 50 * feeders + 1


# What is refused at once ----------------------------------------------------------------

WRONG: dict[str, Any] = {
    "a wait below 0": lambda: Fixed(-1),
    "a rate of 0": lambda: RateLimit(0),
    "a rate of a section": lambda: stage(same, rates={"api": RateLimit(-5)}),
    "a limit of 0": lambda: stage(same, limits={"db": 0}),
    "a limit of a step": lambda: Steps(same, limits={"same": 0}),
    "a step that is not there": lambda: Steps(same, limits={"other": 1}),
    "a capacity below 0": lambda: stage(same, capacity=-1),
    "no workers": lambda: stage(same, workers=0),
    "no attempts": lambda: Retry(0),
    "a time of nothing": lambda: stage(same, timeout=0),
    "an empty flow": lambda: pipeline([]),
    "two of one name": lambda: pipeline([same, same]),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_what_can_never_work_is_refused_when_it_is_declared(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


# Inputs and nodes that fail again and again ---------------------------------------------


class Broken:
    """An iterator that raises whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.asked += 1
        raise Boom("again")

    def __aiter__(self) -> Broken:
        return self

    async def __anext__(self) -> int:
        return next(self)


async def test_an_input_that_only_raises_is_asked_once_and_its_error_comes_out() -> None:
    broken = Broken()

    with pytest.raises(Boom):
        await pipeline([same]).run(iter(broken))

    assert broken.asked == 1


async def test_a_node_whose_values_only_raise_costs_its_item_and_no_more() -> None:
    async def values(value: int) -> Any:
        async for each in broken:
            yield each

    broken = Broken()
    report = await pipeline([values]).run(range(3))

    assert report.counts == counted(fed=3, dead=3)
    assert broken.asked == 3


async def test_a_call_that_does_not_fit_costs_its_item_and_nothing_hangs() -> None:
    graph: Graph[Any, Any] = Graph("g").add(
        stage(same, name="from"), stage(lambda a: a, name="to", unpack=True, runs_in="loop")
    )
    report = await graph.connect("from", "to").run([(1,), (1, 2), (3,)])

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert isinstance(report.dead[0].error, TypeError)


# Graphs ---------------------------------------------------------------------------------


def test_two_thousand_stages_in_a_row_are_a_graph() -> None:
    nodes = [stage(same, name=f"s{number}") for number in range(2_000)]
    graph: Graph[Any, Any] = Graph("long").add(*nodes)
    for one, other in itertools.pairwise(nodes):
        graph.connect(one, other)

    assert graph.run_sync([1]).counts == counted(fed=1, done=1)


def test_a_node_of_another_name_is_connected_by_that_or_as_it_is() -> None:
    one, two = stage(same, name="one"), stage(same, name="two")
    for pair in ((one, two), ("one", "two"), (one, "two")):
        graph: Graph[int, int] = Graph("g").add(one, two).connect(*pair)
        assert graph.run_sync([1]).stages["two"].received == 1


def test_a_graph_with_a_circle_never_runs_and_says_each_time_why() -> None:
    one, two = stage(same, name="one"), stage(same, name="two")
    graph: Graph[int, int] = Graph("g").add(one, two).connect(one, two).connect(two, one)

    for _ in range(2):
        with pytest.raises(CompilationError, match="'one' -> 'two' -> 'one' is a circle"):
            graph.run_sync([1])


# Many items -----------------------------------------------------------------------------


async def test_twenty_thousand_items_are_a_handful_of_tasks() -> None:
    most = 0

    async def work(value: int) -> int:
        nonlocal most
        await trio.lowlevel.checkpoint()
        most = max(most, trio.lowlevel.current_statistics().tasks_living)
        return value

    before = trio.lowlevel.current_statistics().tasks_living
    await pipeline([stage(work, workers=4)]).map(range(20_000))

    assert most - before < 20


@virtual
@pytest.mark.parametrize("items", [2_000, 2_000_000])
async def test_what_is_cancelled_is_what_was_inside_however_long_the_input_is(items: int) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(items):
            read.append(number)
            yield number

    with trio.move_on_after(1) as scope:
        await pipeline([Forever()]).map(numbers())

    assert scope.cancelled_caught
    assert trio.current_time() == 1
    assert len(read) <= 1025


class Forever:
    """Never done."""

    async def __call__(self, value: int) -> None:
        await trio.sleep_forever()


# What a handler is given ----------------------------------------------------------------


async def test_only_what_is_a_turn_is_given_a_turn() -> None:
    async def scale(value: float, factor: int = 2) -> float:
        return value * factor

    async def named(value: float, *, ctx: Turn) -> str:
        return f"{value} at attempt {ctx.attempt}"

    assert await pipeline([stage(round, name="round"), scale, named]).map([1.6]) == [
        "4 at attempt 1"
    ]


@virtual
async def test_a_timeout_is_told_as_any_other_failure() -> None:
    with pytest.raises(StageError) as caught:
        await pipeline([stage(Forever(), name="forever", timeout=1)]).invoke(1)

    assert (caught.value.stage, caught.value.attempts) == ("forever", 1)
    assert isinstance(caught.value.__cause__, TurnTimeout)


async def test_nothing_is_given_back_where_a_context_should_be() -> None:
    @stage(writes=["price"])
    async def forgets(context: Context) -> Any:
        return None

    report = await pipeline([forgets, stage(same, name="next")]).run([{"id": 1}])

    assert [each.stage_or_actor for each in report.dead] == ["forgets"]
    assert "Context" in str(report.dead[0].error)


async def send_nowhere(value: int) -> Send:
    return Send("nowhere", value)


async def sends_nowhere(value: int) -> AsyncIterator[Send]:
    yield Send("nowhere", value)


@pytest.mark.parametrize(
    "first", [send_nowhere, sends_nowhere, stage(Steps(same, send_nowhere), name="send_nowhere")]
)
async def test_a_send_where_no_route_follows_keeps_the_run_from_beginning(first: Any) -> None:
    flow = pipeline([first, same])

    with pytest.raises(CompilationError, match=r"'sends?_nowhere' returns Send.* no Route follows"):
        flow.check()
    with pytest.raises(CompilationError, match="no Route follows"):
        await flow.map([1])


async def test_a_send_may_leave_a_flow_that_is_part_of_one_with_routes() -> None:
    part = pipeline([send_nowhere], name="part")

    assert await pipeline([part, Route({"nowhere": same})]).map([1]) == [1]


async def test_a_send_may_be_looked_at_by_the_edges_of_a_graph() -> None:
    flow = Graph().add(send_nowhere, same)
    flow.connect(send_nowhere, same, map=lambda sent: sent.patch)

    assert await flow.map([1]) == [1]


async def test_a_send_of_a_context_where_no_route_follows_fails_its_item() -> None:
    async def send(context: Context) -> Any:
        return Send("nowhere", {"rank": 1})

    async def then(context: Context) -> Context:
        return context

    report = await pipeline([send, then]).run([{"id": 1}])

    assert report.counts == counted(fed=1, dead=1)
    assert isinstance(report.dead[0].error, ConfigurationError)


async def test_one_failure_costs_no_result_of_another_item() -> None:
    async def picky(value: int) -> int:
        if value == 25:
            raise Boom
        return value

    sink: list[int] = []
    report = await pipeline([picky]).run(range(50), sink=sink.append)

    assert report.counts == counted(fed=50, done=49, dead=1)
    assert sorted(sink) == [each for each in range(50) if each != 25]


async def test_items_of_one_list_do_not_share_it(autojump_clock: MockClock) -> None:
    async def add(context: Context) -> dict[str, Any]:
        found: list[int] = context["found"]
        found.append(context["number"])
        return {"found": found}

    shared: list[int] = []
    values = await pipeline([add]).map([{"number": number, "found": shared} for number in range(3)])

    assert [dict(each)["found"] for each in values] == [[0], [1], [2]]
    assert shared == []


async def test_a_store_of_ones_own_in_memory_keeps_nothing_for_others() -> None:
    """Without a file or a server nothing outlives the process, and nothing says otherwise."""
    flow = pipeline([increment], name="f")
    await flow.run([1], store=MemoryStore(), run_id="run")

    report = await flow.run([1, 2], store=MemoryStore(), run_id="run")

    assert report.counts == counted(fed=2, done=2)
