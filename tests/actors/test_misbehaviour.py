"""Code that misbehaves inside an actor hurts its own message, and nobody else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskFailed,
    AskTimeout,
    ChildSpec,
    Fixed,
    RateLimit,
    Retry,
    StrayCancelled,
    Supervisor,
    Timeout,
    Turn,
    TurnEnded,
    TurnTimeout,
    WorkerDied,
)
from actorflow.runtime.kernel import Kernel
from tests.runtime.actors import Crash, Does, Hangs, Keeps, letter, letters

jumps = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture(params=[True, False], ids=["fast", "full"], autouse=True)
def both_roads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with the fast branch, once without."""
    monkeypatch.setattr(Kernel, "fast", request.param)


async def echo(message: Any, ctx: Turn) -> Any:
    return message


async def foreign_cancelled() -> BaseException:
    """A `Cancelled` kept from a scope that is long over."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            kept.append(error)
            raise
    return kept[0]


# What a handler raises -----------------------------------------------------------------------


class Raises(Actor):
    """Raises what it is told to on "bad" until attempt *good*, else counts what it handles."""

    error: BaseException
    late: bool
    good: int = 10**6
    seen: list[tuple[Any, int]] = attrs.Factory(list)
    starts: list[int] = attrs.Factory(list)
    count: int = 0

    async def on_start(self, ctx: Turn) -> None:
        self.starts.append(self.count)

    async def receive(self, message: Any, ctx: Turn) -> int:
        self.count += 1
        self.seen.append((message, ctx.attempt))
        if message == "bad" and ctx.attempt < self.good:
            if self.late:
                await trio.lowlevel.checkpoint()
            raise self.error
        return self.count


async def an_error(kind: str) -> BaseException:
    errors: dict[str, BaseException] = {
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "bare": Crash("bare"),
        "group": BaseExceptionGroup("both", [Crash("bare"), OSError()]),
        "generator exit": GeneratorExit(),
    }
    return errors.get(kind) or await foreign_cancelled()


ERRORS = ("exit", "interrupt", "bare", "group", "generator exit", "stray")


@jumps
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("kind", ERRORS)
async def test_whatever_is_raised_without_a_retry_costs_its_message_only(
    kind: str, late: bool
) -> None:
    error = await an_error(kind)
    actor = Raises(error=error, late=late)

    async with ActorSystem("s") as system:
        neighbour = await system.spawn(Does(do=echo))
        ref = await system.spawn(actor, name="r")
        for message in ("first", "bad", "after"):
            await ref.tell(message)
        count = await ref.ask("last")
        assert await neighbour.ask("hello") == "hello"
        assert ref.cell.incarnation == (1 if kind == "stray" else 2)

    assert actor.seen == [("first", 1), ("bad", 1), ("after", 1), ("last", 1)]
    if kind == "stray":  # An exception: it fails the message, and the fields go back.
        assert count == 3
        assert isinstance(letter(system).error, StrayCancelled)
        assert letter(system).error.__cause__ is error  # type: ignore[union-attr]
    else:
        assert count == 2
        assert actor.starts == [0, 0]
        assert letter(system).error is error
    assert letters(system) == [("bad", "failed", 1)]


@jumps
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("kind", ERRORS)
async def test_whatever_is_raised_under_a_retry_is_tried_again(kind: str, late: bool) -> None:
    actor = Raises(error=await an_error(kind), late=late, good=3)

    async with ActorSystem("s") as system:
        ref = await system.spawn(
            actor, name="r", policies=[Retry(3, backoff=Fixed(1))], backoff=Fixed(0)
        )
        await ref.tell("bad")
        await ref.tell("after")
        await trio.sleep(5)
        assert ref.cell.incarnation == (1 if kind == "stray" else 3)

    assert actor.seen == [("bad", 1), ("after", 1), ("bad", 2), ("bad", 3)]
    assert system.dead_letters() == ()


@jumps
@pytest.mark.parametrize("kind", ERRORS)
async def test_whoever_asks_hears_what_was_raised(kind: str) -> None:
    error = await an_error(kind)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Raises(error=error, late=True))
        with pytest.raises(AskFailed) as caught:
            await ref.ask("bad")

    cause = caught.value.__cause__
    assert (isinstance(cause, StrayCancelled)) if kind == "stray" else (cause is error)


@jumps
async def test_a_cancelled_that_a_handler_keeps_and_raises_in_a_later_turn_is_a_stray() -> None:
    kept: list[BaseException] = []

    async def keep(message: Any, ctx: Turn) -> str:
        if message == "keep":
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                kept.append(error)
                raise
        if message == "raise":
            raise kept[0]
        return "alive"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=keep), policies=[Timeout(1)])
        await ref.tell("keep")
        await ref.tell("raise")
        assert await ref.ask("on") == "alive"

    errors = [type(each.error) for each in system.dead_letters()]
    assert errors == [TurnTimeout, StrayCancelled]


# Timeouts ------------------------------------------------------------------------------------


@jumps
async def test_a_handler_that_hangs_is_ended_at_its_timeout_and_the_next_message_is_handled() -> (
    None
):
    async def hang(message: Any, ctx: Turn) -> Any:
        if message == "hang":
            await trio.sleep_forever()
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=hang), name="h", policies=[Timeout(2)])
        with pytest.raises(AskFailed) as caught:
            await ref.ask("hang", timeout=100)
        assert await ref.ask("next") == "next"
        assert ref.cell.incarnation == 1

    assert isinstance(caught.value.__cause__, TurnTimeout)
    assert str(caught.value.__cause__) == "/s/h: did not finish within 2 s"
    assert trio.current_time() == pytest.approx(2, abs=0.01)


@jumps
async def test_a_value_returned_after_the_timeout_counts() -> None:
    async def late(message: Any, ctx: Turn) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ctx.tell(other, "sent")
        return "late but here"

    async with ActorSystem("s") as system:
        kept = Keeps()
        other = await system.spawn(kept)
        ref = await system.spawn(Does(do=late), policies=[Timeout(2)])

        assert await ref.ask("x") == "late but here"
        assert await ref.ask("again") == "late but here"

    assert kept.kept == ["sent", "sent"]
    assert system.dead_letters() == ()


@jumps
async def test_a_value_returned_after_a_stop_is_discarded_and_the_attempt_given_back() -> None:
    seen: list[tuple[str, int, int]] = []

    async def late(message: Any, ctx: Turn) -> str:
        seen.append((message, ctx.attempt, ref.cell.incarnation))
        ctx.tell(other, "sent")
        if ref.cell.incarnation == 1:
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep_forever()
        return "value"

    async def crash(message: Any, ctx: Turn) -> None:
        raise Crash

    kept = Keeps()
    children = [
        ChildSpec("late", Does(do=late), shutdown=1),
        ChildSpec("other", kept),
        ChildSpec("crash", Does(do=crash)),
    ]
    async with ActorSystem("s") as system:
        await system.spawn(Supervisor(children, strategy="one_for_all"), name="sup")
        ref: ActorRef[Any] = system.ref(Does, "sup/late")
        other: ActorRef[Any] = system.ref(Keeps, "sup/other")
        await ref.tell("x")
        await wait_all_tasks_blocked()
        await system.ref(Does, "sup/crash").tell("crash")
        await trio.sleep(2)

    assert seen == [("x", 1, 1), ("x", 1, 2)]
    assert kept.kept == ["sent"]
    assert letters(system) == [("crash", "failed", 1)]


@jumps
@pytest.mark.parametrize("wait", ["sleep", "checkpoint"])
async def test_a_handler_that_swallows_its_cancellation_for_ever_is_closed(wait: str) -> None:
    closed: list[str] = []

    async def deaf(message: Any, ctx: Turn) -> str:
        try:
            while message == "deaf":
                with contextlib.suppress(trio.Cancelled):
                    if wait == "sleep" or not ctx.cancelled():
                        await trio.sleep_forever()
                    await trio.lowlevel.checkpoint()
        finally:
            closed.append(message)
        return "alive"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=deaf), policies=[Timeout(1)])
        with pytest.raises(AskFailed) as caught:
            await ref.ask("deaf")
        assert isinstance(caught.value.__cause__, TurnTimeout)
        assert await ref.ask("on") == "alive"

    assert closed == ["deaf", "on"]


@jumps
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_handler_that_ignores_even_being_closed_is_abandoned() -> None:
    async def deaf(message: Any, ctx: Turn) -> str:
        for _ in range(300 if message == "deaf" else 0):
            with contextlib.suppress(BaseException):
                await trio.sleep_forever()
        return "alive"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=deaf), policies=[Timeout(1)])
        with pytest.raises(AskFailed):
            await ref.ask("deaf")
        assert await ref.ask("on") == "alive"


@jumps
async def test_a_handler_may_cancel_its_own_scopes_as_often_as_it_likes() -> None:
    async def patient(message: Any, ctx: Turn) -> int:
        count = 0
        for _ in range(300):
            with trio.move_on_after(0.01) as scope:
                await trio.sleep_forever()
            count += scope.cancelled_caught
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(1):
                await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        return count

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=patient), policies=[Timeout(100)])

        assert await ref.ask("x", timeout=100) == 300


@jumps
@pytest.mark.parametrize("shape", ["scope", "nursery", "two", "raises", "shield"])
async def test_our_timeout_goes_through_the_handlers_own_scopes_and_nurseries(shape: str) -> None:
    ended: list[float] = []

    async def raise_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while ending")

    async def nested(message: Any, ctx: Turn) -> Any:
        if message == "next":
            return message
        try:
            if shape == "scope":
                with trio.fail_after(50):
                    await trio.sleep_forever()
            elif shape == "shield":
                with trio.move_on_after(5, shield=True):
                    await trio.sleep_forever()
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(raise_at_the_end if shape == "raises" else trio.sleep_forever)
                if shape != "nursery":
                    nursery.start_soon(trio.sleep_forever)
        finally:
            ended.append(trio.current_time())

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=nested), name="n", policies=[Timeout(2)])
        with pytest.raises(AskFailed) as caught:
            await ref.ask("x", timeout=100)
        assert await ref.ask("next") == "next"
        assert ref.cell.incarnation == 1

    cause = caught.value.__cause__
    if shape == "raises":
        assert isinstance(cause, ExceptionGroup)
        assert [str(each) for each in cause.exceptions] == ["while ending"]
    else:
        assert isinstance(cause, TurnTimeout)
    assert ended == [pytest.approx(5 if shape == "shield" else 2, abs=0.01)]


@jumps
async def test_a_task_that_a_handler_leaves_in_a_nursery_of_its_own_ends_with_the_stop() -> None:
    async def nursing(message: Any, ctx: Turn) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.sleep_forever)

    async with ActorSystem("s") as system:
        before = trio.lowlevel.current_statistics().tasks_living
        ref = await system.spawn(Does(do=nursing), shutdown=1)
        await ref.tell("x")
        await wait_all_tasks_blocked()
        await system.stop()
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living < before + 1

    assert letters(system) == [("x", "stopped", 0)]


# Threads -------------------------------------------------------------------------------------


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets the threads of a test end; they do at its end at the latest."""
    event = threading.Event()
    yield event
    event.set()


class Threads(Actor):
    """Waits in a thread for *release* on its first attempt."""

    release: threading.Event
    attempts: list[int] = attrs.Factory(list)

    async def receive(self, message: Any, ctx: Turn) -> Any:
        self.attempts.append(ctx.attempt)
        if message == "hang" and ctx.attempt == 1:
            return await ctx.to_thread(self.release.wait, 20)
        return "done"


async def stuck(system: ActorSystem, actor: Actor) -> ActorRef[Any]:
    """An actor whose thread has just outlived its turn."""
    policies = [Timeout(0.02), Retry(2, backoff=Fixed(0))]
    ref = await system.spawn(actor, name="t", policies=policies, shutdown=0.1)
    await ref.tell("hang")
    await stuck_threads(system, 1, 2)
    return ref


async def stuck_threads(system: ActorSystem, *counts: int) -> None:
    """Wait until one of *counts* threads are stuck."""
    with trio.fail_after(5):
        while system.stats().get("stuck_threads") not in counts:  # noqa: ASYNC110
            await trio.sleep(0.005)


async def test_a_stuck_thread_is_shown_and_its_message_waits_for_its_end(
    release: threading.Event,
) -> None:
    actor = Threads(release=release)

    async with ActorSystem("s") as system:
        ref = await stuck(system, actor)
        await trio.sleep(0.05)
        assert system.stats()["stuck_threads"] == 1
        assert actor.attempts == [1]

        release.set()

        assert await ref.ask("next") == "done"
        assert system.stats()["stuck_threads"] == 0
    assert actor.attempts == [1, 1, 2]
    assert system.dead_letters() == ()


@pytest.mark.parametrize("way", ["drain", "stop", "cancel", "error"])
async def test_a_stuck_thread_holds_no_ending_up(release: threading.Event, way: str) -> None:
    actor = Threads(release=release)
    began = 0.0

    with contextlib.suppress(OSError):
        async with ActorSystem("s") as system:
            await stuck(system, actor)
            began = trio.current_time()
            if way == "drain":
                await system.drain(0.1)
            elif way == "stop":
                await system.stop()
            elif way == "cancel":
                system.cancel()
            else:
                raise OSError

    assert trio.current_time() - began < 5
    assert actor.attempts == [1]
    assert letters(system) == [("hang", "stopped", 0)]


async def test_every_thread_that_outlives_its_turn_is_waited_for(release: threading.Event) -> None:
    class Two(Threads):
        first: threading.Event

        async def receive(self, message: Any, ctx: Turn) -> Any:
            self.attempts.append(ctx.attempt)
            if message == "hang" and ctx.attempt == 1:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ctx.to_thread, self.first.wait, 20)
                    nursery.start_soon(ctx.to_thread, self.release.wait, 20)
            return "done"

    first = threading.Event()
    actor = Two(release=release, first=first)
    async with ActorSystem("s") as system:
        ref = await stuck(system, actor)
        assert system.stats()["stuck_threads"] == 2

        for event, left in ((first, 1), (release, 0)):
            assert actor.attempts == [1]
            event.set()
            await stuck_threads(system, left)

        assert await ref.ask("next") == "done"
    assert sorted(actor.attempts) == [1, 1, 2]


@jumps
async def test_a_thread_that_was_never_begun_is_not_waited_for() -> None:
    begun: list[str] = []

    async def cancelled_before(message: Any, ctx: Turn) -> str:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ctx.to_thread(begun.append, message)
        return "done"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=cancelled_before))

        assert await ref.ask("x") == "done"
        assert "stuck_threads" not in system.stats()
    assert begun == []


async def test_an_abandoned_thread_is_not_waited_for(release: threading.Event) -> None:
    async def abandon(message: Any, ctx: Turn) -> str:
        if message == "hang":
            await ctx.to_thread(release.wait, 20, abandon=True)
        return "done"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=abandon), policies=[Timeout(0.02)])
        await ref.tell("hang")

        assert await ref.ask("next") == "done"
    assert letters(system) == [("hang", "failed", 1)]


@pytest.mark.parametrize("error", [OSError("of the thread"), SystemExit(3)])
async def test_what_a_thread_raises_is_raised_in_the_handler(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def threaded(message: Any, ctx: Turn) -> str:
        if message == "bad":
            await ctx.to_thread(fail)
        return "done"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=threaded))
        with pytest.raises(AskFailed) as caught:
            await ref.ask("bad")
        assert await ref.ask("next") == "done"

    assert caught.value.__cause__ is error


# Processes -----------------------------------------------------------------------------------


async def test_a_worker_process_that_dies_costs_one_attempt() -> None:
    attempts: list[tuple[str, int]] = []

    async def in_process(message: Any, ctx: Turn) -> Any:
        attempts.append((message, ctx.attempt))
        if message == "dies" or (message == "once" and ctx.attempt == 1):
            await ctx.to_process(os._exit, 3)
        return await ctx.to_process(os.path.basename, f"/tmp/{message}")

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=in_process), policies=[Retry(2, backoff=Fixed(0))])
        assert await ref.ask("once", timeout=30) == "once"
        assert ref.cell.incarnation == 2
        with pytest.raises(AskFailed) as caught:
            await ref.ask("dies", timeout=30)
        assert isinstance(caught.value.__cause__, WorkerDied)
        assert await ref.ask("next", timeout=30) == "next"

    assert attempts == [("once", 1), ("once", 2), ("dies", 1), ("dies", 2), ("next", 1)]
    assert letters(system) == [("dies", "failed", 2)]


async def test_a_first_use_of_processes_that_is_cancelled_spoils_no_later_one() -> None:
    async def in_process(message: Any, ctx: Turn) -> Any:
        with trio.CancelScope() as scope:
            if message == "cancelled":
                scope.cancel()
            return await ctx.to_process(os.path.basename, "/tmp/x")
        return "cancelled"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=in_process))
        assert await ref.ask("cancelled") == "cancelled"

        assert await ref.ask("x", timeout=30) == "x"


# Code of the user's that is no handler -------------------------------------------------------


@jumps
async def test_an_observer_that_raises_is_counted_and_disturbs_nobody() -> None:
    class Grumbles:
        def on_event(self, event: Any) -> None:
            raise ValueError(event)

    class Listens:
        def __init__(self) -> None:
            self.heard = 0

        def on_event(self, event: Any) -> None:
            self.heard += 1

    listens = Listens()
    async with ActorSystem("s", observers=[Grumbles(), listens]) as system:
        ref = await system.spawn(Raises(error=Crash(), late=False))
        await ref.tell("bad")
        assert await ref.ask("next") == 1
        errors = system.stats()["observer_errors"]
        assert errors == listens.heard > 2


class Decides:
    """A policy that cannot decide."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Any:
        raise self.error


@jumps
@pytest.mark.parametrize("mistake", [ValueError("undecided"), SystemExit(3)])
async def test_a_policy_that_fails_to_decide_costs_the_message_only(mistake: BaseException) -> None:
    async def fail(message: Any, ctx: Turn) -> Any:
        if message == "bad":
            raise OSError("handler")
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=fail), policies=[Decides(mistake), Retry(3)])
        await ref.tell("bad")
        assert await ref.ask("next") == "next"
        assert system.stats()["errors"] == 1
        assert ref.cell.incarnation == 1

    assert letters(system) == [("bad", "failed", 1)]
    assert isinstance(letter(system).error, OSError)


@jumps
@pytest.mark.parametrize("mistake", [ValueError("no key"), SystemExit(3)])
async def test_a_key_function_that_raises_costs_the_message_only(mistake: BaseException) -> None:
    def key(message: Any) -> Any:
        if message == "bad":
            raise mistake
        return message

    actor = Keeps()
    async with ActorSystem("s") as system:
        ref = await system.spawn(actor, policies=[RateLimit(100, key=key)])
        for message in ("one", "bad", "two"):
            await ref.tell(message)

    assert actor.kept == ["one", "two"]
    assert letters(system) == [("bad", "failed", 0)]
    assert letter(system).error is mistake


@jumps
async def test_an_actor_that_stops_itself_fails_the_asks_of_others_and_answers_its_own() -> None:
    answers: dict[int, Any] = {}

    async def stop(message: Any, ctx: Turn) -> str:
        await trio.sleep(1)
        ctx.stop()
        return "the last"

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Does(do=stop), capacity=2)

        async def ask(number: int) -> None:
            try:
                answers[number] = await ref.ask(number)
            except ActorStopped as error:
                answers[number] = type(error)

        for number in range(5):
            nursery.start_soon(ask, number)
            await wait_all_tasks_blocked()

    assert answers == {0: "the last"} | dict.fromkeys((1, 2, 3, 4), ActorStopped)
    assert letters(system) == [(1, "stopped", 0), (2, "stopped", 0)]
    assert trio.current_time() == pytest.approx(1, abs=0.01)


@jumps
@pytest.mark.parametrize("error", [OSError("no"), Crash("no")])
@pytest.mark.parametrize("supervisor", [False, True])
async def test_a_child_spawned_in_a_failing_turn_never_lives(
    error: BaseException, supervisor: bool
) -> None:
    children: list[ActorRef[Any]] = []
    begun: list[str] = []

    class Begins(Actor):
        async def on_start(self, ctx: Turn) -> None:
            begun.append(ctx.self.name)

        async def receive(self, message: Any, ctx: Turn) -> Any:
            return message

    async def parent(message: Any, ctx: Turn) -> Any:
        what = Supervisor([ChildSpec("inner", Begins)]) if supervisor else Begins
        children.append(ctx.spawn(what, name="child"))
        if not supervisor:
            ctx.tell(children[-1], "hello")
        if message == "bad":
            raise error
        return children[-1]

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=parent), name="p")
        with pytest.raises(AskFailed):
            await ref.ask("bad")
        assert begun == []
        assert system.stats()["actors"] == 1
        await children[0].stopped()
        if not supervisor:
            with pytest.raises(ActorStopped):
                await children[0].tell("hello")

        again = await ref.ask("good")
        if not supervisor:
            assert await again.ask("hello") == "hello"
        await wait_all_tasks_blocked()

    assert begun == ["inner" if supervisor else "child"]


@jumps
async def test_a_child_that_cannot_start_ends_and_its_mail_dies() -> None:
    class Broken(Actor):
        async def on_start(self, ctx: Turn) -> None:
            raise OSError("no")

    async def parent(message: Any, ctx: Turn) -> Any:
        child = ctx.spawn(Broken, name="child")
        ctx.tell(child, "hello")
        return child

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=parent), name="p")
        child = await ref.ask("x")
        await child.stopped()
        assert system.stats()["actors"] == 1
        assert await ref.ask("x") == child

    assert letters(system) == [("hello", "stopped", 0)] * 2


@jumps
async def test_a_turn_used_after_its_end_does_no_harm() -> None:
    kept: list[Turn] = []

    async def keep(message: Any, ctx: Turn) -> Any:
        kept.append(ctx)
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=keep))
        await ref.ask("x")
        with pytest.raises(TurnEnded):
            kept[0].tell(ref, 1)
        with pytest.raises(TurnEnded):
            kept[0].stop()
        with pytest.raises(TurnEnded):
            kept[0].stash()
        with pytest.raises(TurnEnded):
            await kept[0].to_thread(len, "")
        assert await ref.ask("y") == "y"


@jumps
async def test_an_asker_that_gives_up_leaves_a_hung_actor_to_its_own_fate() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Hangs, name="h")
        with pytest.raises(AskTimeout):
            await ref.ask("x", timeout=3)
        await trio.sleep(1)

        assert system.stats()["held"] == 0
    assert [(each.body, each.reason) for each in system.dead_letters()] == [("x", "expired")]
