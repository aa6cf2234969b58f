"""However the block of a system ends, it ends, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    ChildSpec,
    ConfigurationError,
    DynamicSupervisor,
    Fixed,
    NotRunningError,
    Retry,
    Supervisor,
    Turn,
)
from actorflow.runtime.life import STOP_SECONDS_LEAST
from tests.runtime.actors import Crash, Does, Hangs, Holds, Keeps, letters

pytestmark = pytest.mark.usefixtures("autojump_clock")

#: Retries and restarts without end.
ENDLESS: dict[str, Any] = {
    "policies": [Retry(10**6, backoff=Fixed(0.5))],
    "max_restarts": 10**6,
    "backoff": Fixed(0.1),
}


def tasks() -> int:
    """How many tasks there are in this run of trio."""
    return trio.lowlevel.current_statistics().tasks_living


class Diary(Actor):
    """Notes its starts and ends under its own name."""

    notes: list[str]
    stop_takes: float = 0.0

    async def on_start(self, ctx: Turn) -> None:
        self.notes.append(f"+{ctx.self.name}")

    async def on_stop(self, ctx: Turn) -> None:
        self.notes.append(f"-{ctx.self.name}")
        await trio.sleep(self.stop_takes)
        self.notes.append(f"={ctx.self.name}")

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case "hang":
                await trio.sleep_forever()
            case "crash":
                raise Crash
            case "stop":
                ctx.stop()
            case Actor():
                return ctx.spawn(message, name="child")
        return message


# Kinds of actors -----------------------------------------------------------------------------


async def busy(message: Any, ctx: Turn) -> None:
    await trio.sleep(0.1)
    ctx.tell(ctx.self, message)


async def crashing(message: Any, ctx: Turn) -> None:
    await trio.sleep(0.1)
    raise Crash


async def failing(message: Any, ctx: Turn) -> None:
    raise OSError


async def deaf(message: Any, ctx: Turn) -> None:
    while True:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()


async def mother(message: Any, ctx: Turn) -> None:
    child = ctx.spawn(Does(do=hung_mother), name="child")
    ctx.tell(child, message)


async def hung_mother(message: Any, ctx: Turn) -> None:
    if ctx.self.name == "child":
        ctx.tell(ctx.spawn(Hangs, name="grandchild"), message)
        ctx.tell(ctx.self, "hang")
    await trio.sleep_forever() if message == "hang" else None


async def waits_for_room(message: Any, ctx: Turn) -> None:
    for name in ("a", "b"):
        full = ctx.spawn(Hangs, name=f"{name}{ctx.message_id[:8]}", capacity=1)
        for number in range(3):
            ctx.tell(full, number)


async def later(message: Any, ctx: Turn) -> None:
    ctx.tell(ctx.self, message, delay=1000)
    ctx.timers.start("t", 1000, "tick")


class NeverStops(Keeps):
    async def on_stop(self, ctx: Turn) -> None:
        await trio.sleep_forever()


class BreaksAtStop(Keeps):
    async def on_stop(self, ctx: Turn) -> None:
        raise SystemExit(3)


KINDS: dict[str, Callable[[], Any]] = {
    "idle": Keeps,
    "busy": lambda: Does(do=busy),
    "hung": Hangs,
    "crashing": lambda: Does(do=crashing),
    "failing": lambda: Does(do=failing),
    "deaf": lambda: Does(do=deaf),
    "mother": lambda: Does(do=mother),
    "spilling": lambda: Does(do=waits_for_room),
    "later": lambda: Does(do=later),
    "never stops": NeverStops,
    "breaks at stop": BreaksAtStop,
    "supervisor": lambda: Supervisor(
        [ChildSpec(name, kind, shutdown=2) for name, kind in (("a", Hangs), ("b", NeverStops))]
    ),
}


async def populate(system: ActorSystem, kind: str) -> None:
    """Actors of one *kind*, each with mail."""
    for name in ("one", "two"):
        ref = await system.spawn(KINDS[kind](), name=name, **ENDLESS)
        if kind == "supervisor":
            ref = system.ref(Hangs, f"{name}/a")
        for number in range(0 if kind == "idle" else 3):
            await ref.tell(number)
    await trio.sleep(1)


async def finish(system: ActorSystem, way: str) -> None:
    """End the body of the block in one *way*; an exception and a cancellation are two."""
    match way:
        case "drain":
            await system.drain(10)
        case "stop":
            await system.stop()
        case "cancel":
            system.cancel()
        case "outside":
            await trio.sleep_forever()
        case "error":
            raise ERROR


ERROR = OSError("of the body")
WAYS = ("return", "drain", "stop", "cancel", "outside", "error")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_block_ends_and_nothing_is_left(kind: str, way: str) -> None:
    before, caught = tasks(), None
    system = ActorSystem("s")

    with trio.move_on_after(20 if way == "outside" else math.inf) as scope:
        try:
            async with system:
                await populate(system, kind)
                began = trio.current_time()
                await finish(system, way)
        except OSError as error:
            caught = error

    took = trio.current_time() - began
    assert tasks() == before
    assert scope.cancelled_caught == (way == "outside")
    assert caught is (ERROR if way == "error" else None)
    # A stop gives each of the two 5 s for its turn and its `on_stop`, which has a least time.
    limits = {"return": 50, "drain": 10, "stop": 20, "cancel": 0, "outside": 39, "error": 20}
    assert took <= limits[way] + 2 * STOP_SECONDS_LEAST + 0.01
    assert system.stats()["actors"] == 0
    assert system.stats()["held"] == 0
    if kind in ("hung", "deaf"):
        assert letters(system) == [(number, "stopped", 0) for number in (0, 1, 2)] * 2


async def test_an_exception_of_the_body_is_the_one_that_comes_out() -> None:
    before = tasks()
    error = ValueError("mine")

    caught = None

    try:
        async with ActorSystem("s") as system:
            for number, kind in enumerate(KINDS):
                await system.spawn(KINDS[kind](), name=f"n{number}")
            raise error
    except Exception as raised:
        caught = raised

    assert caught is error
    assert error.__cause__ is error.__context__ is None
    assert tasks() == before


async def test_a_cancellation_while_leaving_stops_at_once() -> None:
    before = tasks()

    with trio.move_on_after(3) as scope:
        async with ActorSystem("s") as system:
            ref = await system.spawn(Hangs, shutdown=2.0)
            await ref.tell("hang")

    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(5, abs=0.01)
    assert tasks() == before
    assert letters(system) == [("hang", "stopped", 0)]


async def test_stopping_never_cancels_the_body() -> None:
    async with ActorSystem("s") as system:
        await system.spawn(Hangs)
        system.cancel()
        await trio.sleep(10)
        await trio.lowlevel.checkpoint()

    assert trio.current_time() >= 10


# Drain ---------------------------------------------------------------------------------------


async def test_a_drain_in_time_handles_all_that_is_held_and_returns_then() -> None:
    async def slowly(message: Any, ctx: Turn) -> None:
        await trio.sleep(1)
        kept.append(message)

    kept: list[Any] = []
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=slowly))
        for number in range(5):
            await ref.tell(number)

        await system.drain(100)

        assert kept == [0, 1, 2, 3, 4]
        assert trio.current_time() == pytest.approx(5, abs=0.01)
    assert system.dead_letters() == ()


async def test_a_drain_past_its_deadline_makes_dead_letters_and_fails_asks() -> None:
    failures: list[BaseException] = []

    async def ask(ref: ActorRef[Any], message: str) -> None:
        try:
            await ref.ask(message, timeout=1000)
        except ActorStopped as error:
            failures.append(error)

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Hangs, name="h", shutdown=50)
        for message in ("leased", "waits"):
            nursery.start_soon(ask, ref, message)
            await wait_all_tasks_blocked()
        await ref.tell("told")
        began = trio.current_time()

        await system.drain(10)

        assert trio.current_time() - began == pytest.approx(10, abs=0.01)
    assert [str(each).partition(":")[0] for each in failures] == ["/s/h"] * 2
    assert letters(system) == [(each, "stopped", 0) for each in ("leased", "waits", "told")]


async def test_while_draining_actors_finish_what_they_have_begun_among_themselves() -> None:
    trace: list[int] = []

    async def count_down(message: int, ctx: Turn) -> None:
        await trio.sleep(1)
        trace.append(message)
        if message:
            ctx.tell(refs[message % 2], message - 1)

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        refs = [await system.spawn(Does(do=count_down)) for _ in range(2)]
        await refs[0].tell(6)
        nursery.start_soon(system.drain, 100)
        await trio.sleep(3.5)

        with pytest.raises(NotRunningError):
            await refs[0].tell(0)
        with pytest.raises(NotRunningError):
            refs[0].tell_nowait(0)
        with pytest.raises(NotRunningError):
            await refs[0].ask(0)
        with pytest.raises(NotRunningError):
            await system.spawn(Keeps)

    assert trace == [6, 5, 4, 3, 2, 1, 0]
    assert system.dead_letters() == ()


async def test_a_drain_waits_for_retries_and_restarts() -> None:
    attempts: list[int] = []

    async def third_time(message: Any, ctx: Turn) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise Crash

    async with ActorSystem("s") as system:
        ref = await system.spawn(
            Does(do=third_time), policies=[Retry(3, backoff=Fixed(2))], backoff=Fixed(1)
        )
        await ref.tell("x")

    assert attempts == [1, 2, 3]
    assert system.dead_letters() == ()


async def test_two_endings_at_once_are_one() -> None:
    before = tasks()
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Hangs)
        await ref.tell("hang")
        await wait_all_tasks_blocked()
        nursery.start_soon(system.drain, 50)
        await trio.sleep(1)
        nursery.start_soon(system.drain, 3)
        await trio.sleep(1)
        nursery.start_soon(system.stop)
        await trio.sleep(1)
        system.cancel()

    assert trio.current_time() == pytest.approx(3, abs=0.01)
    assert tasks() == before


async def test_cancel_cuts_a_stop_short_that_waits_for_grandchildren() -> None:
    async with ActorSystem("s") as system:
        parent = await system.spawn(Diary(notes=[]), name="p", shutdown=500)
        child = await parent.ask(Holds(gate=trio.Event()))
        await child.tell("hang")
        await parent.tell("stop")
        await wait_all_tasks_blocked()

        system.cancel()
        await child.stopped()
        await parent.stopped()

        assert trio.current_time() == 0


async def test_a_stop_holds_for_the_children_of_an_actor_that_is_ending_by_itself() -> None:
    async def begin(message: Any, ctx: Turn) -> None:
        if message == "begin":
            ctx.tell(ctx.spawn(Hangs, name="child", shutdown=1000), "hang")
        else:
            ctx.stop()

    async with ActorSystem("s") as system:
        parent = await system.spawn(Does(do=begin), name="p", shutdown=2)
        await parent.tell("begin")
        await wait_all_tasks_blocked()
        await parent.tell("stop")
        await wait_all_tasks_blocked()

        await system.stop()

    assert trio.current_time() == pytest.approx(2, abs=0.01)


# on_stop -------------------------------------------------------------------------------------


async def test_siblings_stop_in_reverse_order_of_their_start_one_after_the_other() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        for name in "abc":
            await system.spawn(Diary(notes=notes, stop_takes=1), name=name)
        notes.clear()

        await system.stop()

    assert notes == ["-c", "=c", "-b", "=b", "-a", "=a"]


@pytest.mark.parametrize("way", WAYS)
async def test_every_actor_is_stopped_after_all_that_started_after_it(way: str) -> None:
    notes: list[str] = []
    inner = Supervisor([ChildSpec(name, Diary(notes=notes)) for name in ("x", "y")])
    outer = Supervisor([ChildSpec("in", inner), ChildSpec("z", Diary(notes=notes))])

    with trio.move_on_after(50 if way == "outside" else math.inf):
        try:
            async with ActorSystem("s") as system:
                first = await system.spawn(Diary(notes=notes), name="first")
                await system.spawn(outer, name="out")
                parent: Any = await system.spawn(Diary(notes=notes), name="parent")
                await parent.ask(Diary(notes=notes))
                await wait_all_tasks_blocked()
                assert notes == ["+first", "+x", "+y", "+z", "+parent", "+child"]
                notes.clear()
                if way != "return":
                    await first.tell("hang")
                await finish(system, way)
        except OSError:
            pass

    began = [note[1:] for note in notes if note[0] == "-"]
    assert began == ["child", "parent", "z", "y", "x", "first"]


async def test_an_actor_ends_before_its_children_stop_if_it_ends_by_itself_or_by_a_crash() -> None:
    for message in ("stop", "crash"):
        notes: list[str] = []
        async with ActorSystem("s") as system:
            parent = await system.spawn(Diary(notes=notes), name="p", restart="temporary")
            await parent.ask(Diary(notes=notes))
            await parent.tell(message)
            await parent.stopped()

            assert notes == ["+p", "+child", "-child", "=child", "-p", "=p"]


async def test_on_stop_runs_at_a_crash_and_before_the_restart() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Diary(notes=notes), name="d")
        await ref.tell("crash")
        await wait_all_tasks_blocked()

        assert notes == ["+d", "-d", "=d", "+d"]


async def test_on_stop_does_not_run_if_on_start_failed() -> None:
    notes: list[str] = []

    class Broken(Diary):
        async def on_start(self, ctx: Turn) -> None:
            raise OSError("no")

    async with ActorSystem("s") as system:
        with pytest.raises(OSError, match="no"):
            await system.spawn(Broken(notes=notes), name="b")

    assert notes == []


@pytest.mark.parametrize("message", ["stop", "crash", None])
async def test_an_on_stop_that_hangs_is_cut_at_the_time_it_has(message: str | None) -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(
            Diary(notes=notes, stop_takes=math.inf), name="d", shutdown=3, restart="temporary"
        )
        if message is None:
            await system.stop()
        else:
            await ref.tell(message)
            await ref.stopped()

        assert trio.current_time() == pytest.approx(3, abs=0.01)
        assert system.stats()["errors"] == 1
    assert notes == ["+d", "-d"]


async def test_on_stop_is_cut_after_a_turn_in_progress_too() -> None:
    stopped_at: list[float] = []

    class Late(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            await trio.sleep(2)

        async def on_stop(self, ctx: Turn) -> None:
            try:
                await trio.sleep_forever()
            finally:
                stopped_at.append(trio.current_time())

    async with ActorSystem("s") as system:
        ref = await system.spawn(Late, shutdown=3)
        await ref.tell("x")
        await wait_all_tasks_blocked()
        await system.stop()

    assert stopped_at == [pytest.approx(3)]  # What was left of its `shutdown`.
    assert system.dead_letters() == ()


@pytest.mark.parametrize(
    ("turn_takes", "stopped_at"),
    [(2.98, 2.98 + STOP_SECONDS_LEAST), (math.inf, 3 + STOP_SECONDS_LEAST)],
)
async def test_on_stop_has_a_least_time_when_its_shutdown_is_used_up(
    turn_takes: float, stopped_at: float
) -> None:
    ended: list[float] = []

    class Late(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            await trio.sleep(turn_takes)

        async def on_stop(self, ctx: Turn) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(trio.current_time())

    async with ActorSystem("s") as system:
        ref = await system.spawn(Late, shutdown=3)
        await ref.tell("x")
        await wait_all_tasks_blocked()
        await system.stop()

    assert ended == [pytest.approx(stopped_at)]


async def test_a_cancel_leaves_an_on_stop_in_progress_its_least_time() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        for name, takes in (("hangs", math.inf), ("quick", STOP_SECONDS_LEAST / 2)):
            await system.spawn(Diary(notes=notes, stop_takes=takes), name=name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.stop)
            await wait_all_tasks_blocked()
            system.cancel()

    assert notes == ["+hangs", "+quick", "-quick", "=quick", "-hangs"]
    assert trio.current_time() == pytest.approx(STOP_SECONDS_LEAST * 1.5)


async def test_on_stop_may_ask_nothing_of_the_tree_that_would_hold_it_up() -> None:
    class Asks(Actor):
        other: ActorRef[Any]

        async def on_stop(self, ctx: Turn) -> None:
            with pytest.raises(AskTimeout):
                await ctx.ask(self.other, "x", timeout=1)

    async with ActorSystem("s") as system:
        other = await system.spawn(Hangs, name="other")
        await system.spawn(Asks(other=other), name="asks", shutdown=2)
        await system.stop()

    assert system.stats()["errors"] == 0
    assert system.stats()["held"] == 0


# Starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("no"), SystemExit(3), KeyboardInterrupt(), Crash("no")])
@pytest.mark.parametrize("place", ["on_start", "on_start, later", "factory"])
async def test_a_start_that_raises_is_raised_by_spawn_and_the_name_is_free_again(
    error: BaseException, place: str
) -> None:
    class Broken(Actor):
        async def on_start(self, ctx: Turn) -> None:
            if place != "on_start":
                await trio.lowlevel.checkpoint()
            raise error

    def factory() -> Actor:
        raise error

    async with ActorSystem("s") as system:
        neighbour = await system.spawn(Does(do=echo))
        with pytest.raises(type(error)) as caught:
            await system.spawn(factory if place == "factory" else Broken, name="b")

        assert caught.value is error
        assert system.stats()["actors"] == 1
        with pytest.raises(LookupError):
            system.ref(Broken, "b")
        again = await system.spawn(Does(do=echo), name="b")
        assert await again.ask("hello") == "hello"
        assert await neighbour.ask("hello") == "hello"


async def echo(message: Any, ctx: Turn) -> Any:
    return message


class StartsNever(Actor):
    async def on_start(self, ctx: Turn) -> None:
        await trio.sleep_forever()


async def test_a_cancelled_spawn_leaves_nothing_registered() -> None:
    async with ActorSystem("s") as system:
        await wait_all_tasks_blocked()
        before = tasks()
        with trio.move_on_after(1):
            await system.spawn(StartsNever, name="n", shutdown=2)
        await trio.sleep(2.1)

        assert tasks() == before
        assert system.stats()["actors"] == 0
        await system.spawn(Keeps, name="n")


async def test_a_spawn_cancelled_before_it_began_leaves_nothing_registered() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        await wait_all_tasks_blocked()
        before = tasks()
        with trio.CancelScope() as scope:
            scope.cancel()
            await system.spawn(Diary(notes=notes), name="n")
        await trio.sleep(6)

        assert tasks() == before
        assert system.stats()["actors"] == 0
        assert notes in ([], ["+n", "-n", "=n"])


async def test_an_on_start_that_hangs_fails_after_a_minute() -> None:
    async with ActorSystem("s") as system:
        with pytest.raises(TimeoutError):
            await system.spawn(StartsNever, name="n")

        assert trio.current_time() == pytest.approx(60, abs=0.01)
        assert system.stats()["actors"] == 0


@pytest.mark.parametrize("way", ["stop", "cancel", "drain"])
async def test_a_spawn_fails_when_the_system_ends_under_it(way: str) -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:

        async def spawn() -> None:
            with pytest.raises(NotRunningError):
                await system.spawn(StartsNever, name="n", shutdown=1)

        nursery.start_soon(spawn)
        await wait_all_tasks_blocked()
        await finish(system, way)

    assert trio.current_time() <= 10.1
    assert system.stats()["actors"] == 0


async def test_a_start_that_was_killed_has_no_effects() -> None:
    class Swallows(Actor):
        target: ActorRef[Any]

        async def on_start(self, ctx: Turn) -> None:
            ctx.tell(self.target, "started")
            ctx.spawn(Keeps, name="child")
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                return

    async with ActorSystem("s") as system:
        target = Keeps()
        ref = await system.spawn(target, name="t")
        with trio.move_on_after(1):
            await system.spawn(Swallows(target=ref), name="n", shutdown=1)
        await trio.sleep(2)

        assert target.kept == []
        assert system.stats()["actors"] == 1


@pytest.mark.parametrize("last", ["stop", "crash", "killed"])
async def test_a_child_spawned_in_a_last_turn_is_gone_with_its_mail(last: str) -> None:
    async def spawn_and_end(message: Any, ctx: Turn) -> None:
        if message == "crash":
            raise Crash
        child = ctx.spawn(Keeps, name="child")
        ctx.tell(child, "hello")
        if last == "stop":
            ctx.stop()
        elif last == "crash":
            ctx.tell(ctx.self, "crash")

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=spawn_and_end), name="p", restart="temporary")
        await ref.tell("x")
        if last == "killed":
            system.cancel()
        await ref.stopped()

        assert system.stats()["actors"] == 0
        assert system.stats()["held"] == 0


# Using it at the wrong time ------------------------------------------------------------------


async def test_a_system_is_used_once() -> None:
    system = ActorSystem("s")
    async with system:
        with pytest.raises(NotRunningError):
            await system.__aenter__()

    with pytest.raises(NotRunningError) as caught:
        async with system:
            pass
    assert str(caught.value) == "system 's' was started before; make another one"


async def test_a_system_that_has_not_begun_says_so() -> None:
    system = ActorSystem("s")

    for verb in (lambda: system.spawn(Keeps), system.drain, system.stop, system.settled):
        with pytest.raises(NotRunningError):
            await verb()
    for plain in (system.cancel, system.stats, system.tree, system.events):
        with pytest.raises(NotRunningError):
            plain()
    assert system.dead_letters() == ()


async def test_after_the_end_nothing_is_taken_and_ending_again_does_nothing() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Keeps, name="k")
        pool: Any = await system.spawn(DynamicSupervisor(), name="pool")

    for verb in (lambda: ref.tell(1), lambda: ref.ask(1)):
        with pytest.raises(ActorStopped):
            await verb()
    with pytest.raises(ActorStopped):
        ref.tell_nowait(1)
    with pytest.raises(ActorStopped):
        await pool.start_child(ChildSpec("c", Keeps))
    with pytest.raises(NotRunningError):
        await system.spawn(Keeps)
    with pytest.raises(LookupError):
        system.ref(Keeps, "k")
    await ref.stopped()
    await pool.stopped()
    await system.drain()
    await system.stop()
    system.cancel()


async def test_a_taken_name_is_refused_and_hurts_nobody() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=echo), name="k")
        with pytest.raises(ConfigurationError):
            await system.spawn(Keeps, name="k")

        assert await ref.ask("on") == "on"


# Ctrl-C --------------------------------------------------------------------------------------

SCRIPT = """
import json, logging, signal, sys, time
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from actorflow import ActorSystem
from tests.actors import test_endings as here
from tests.runtime.actors import Does

where = sys.argv[1]
logging.disable(logging.CRITICAL)

async def interrupt(after, helpers):
    with helpers:
        if after is None:
            for _ in range(50):
                await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(after)
        signal.raise_signal(signal.SIGINT)

async def spins(message, ctx):
    while True:
        await trio.lowlevel.checkpoint()

async def computes(message, ctx):
    until = time.perf_counter() + 0.3
    signal.raise_signal(signal.SIGINT)
    while time.perf_counter() < until:
        pass
    computed.append(message)

async def main(kind, seen):
    before, helpers = here.tasks(), [trio.CancelScope(), trio.CancelScope()]
    try:
        async with ActorSystem("s") as system:
            seen["system"] = system
            await here.populate(system, kind)
            if where == "spin":
                spinning = await system.spawn(Does(do=spins), shutdown=0.05)
                await spinning.tell("spin")
            elif where == "compute":
                computing = await system.spawn(Does(do=computes), name="computing")
                await computing.tell("compute")
            if where in ("body", "leaving", "spin"):
                after = {"body": 1, "leaving": 10, "spin": None}[where]
                trio.lowlevel.spawn_system_task(interrupt, after, helpers[0])
            if where == "twice":
                trio.lowlevel.spawn_system_task(interrupt, 1, helpers[0])
                trio.lowlevel.spawn_system_task(interrupt, 2, helpers[1])
            seen["began"] = trio.current_time()
            if where != "leaving":
                await trio.sleep_forever()
    finally:
        for helper in helpers:
            helper.cancel()
        await wait_all_tasks_blocked()
        seen["left"] = here.tasks() - before
        seen["took"] = trio.current_time() - seen["began"]

answers = {}
for kind in sys.argv[2:]:
    seen, computed = {}, []
    clock = None if where == "spin" else MockClock(autojump_threshold=0)
    try:
        trio.run(main, kind, seen, clock=clock)
        name = "nothing"
    except BaseException as error:
        name = type(error).__name__
    stats = seen["system"].stats()
    answers[kind] = [
        name, seen["left"], stats["actors"], stats["held"], round(seen["took"], 1), len(computed)
    ]
print(json.dumps(answers))
"""


def interrupted(where: str, *kinds: str) -> dict[str, list[Any]]:
    """What a process says after Ctrl-C in the situation *where*, for each of *kinds*."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, where, *kinds], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[Any]] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("where", ["body", "leaving", "compute", "twice"])
def test_ctrl_c_ends_everything_and_comes_out_as_itself(where: str) -> None:
    quick = ("idle", "never stops", "breaks at stop") if where == "leaving" else ()

    answers = interrupted(where, *(kind for kind in KINDS if kind not in quick))

    for kind, (name, left, actors, held, took, computed) in answers.items():
        assert (kind, name, left, actors, held) == (kind, "KeyboardInterrupt", 0, 0, 0)
        assert took <= {"body": 11, "leaving": 20, "compute": 15.4, "twice": 2}[where]
        assert computed == (where == "compute"), kind


def test_ctrl_c_while_a_handler_spins() -> None:
    kinds = ("idle", "busy", "crashing")

    answers = interrupted("spin", *kinds)

    for kind in kinds:
        assert answers[kind][:4] == ["KeyboardInterrupt", 0, 0, 0]
