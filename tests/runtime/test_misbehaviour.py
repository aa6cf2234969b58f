"""Handlers, hooks and policies that do what nobody should, on both roads. Whatever they do,
they do it to themselves: the system goes on, the neighbours notice nothing, the block ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorSystem,
    ConfigurationError,
    Down,
    Fixed,
    Retry,
    StrayCancelled,
    Supervisor,
    Timeout,
    Turn,
    UsageError,
)
from actorflow.policies import ChildSpec, Divert, Quarantine
from tests.runtime.actors import Crash, Does, Keeps, letter, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")

AGAIN = Retry(2, backoff=Fixed(0))


async def stray() -> trio.Cancelled:
    """A `Cancelled` out of a scope that has been left."""
    caught: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            caught.append(cancelled)
    return caught[0]


async def alive(ref: ActorRef[Any]) -> bool:
    answer: bool = await ref.ask("alive?", timeout=1000) == "alive"
    return answer


def misbehaving(act: Callable[[Any, Turn], Any]) -> Does:
    """Answers "alive?"; anything else is for *act*."""

    async def handle(message: Any, ctx: Turn) -> Any:
        return "alive" if message == "alive?" else await act(message, ctx)

    return Does(do=handle)


# What handlers raise -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [OSError(), StopAsyncIteration(), ExceptionGroup("many", [OSError()]), trio.TooSlowError()],
    ids=repr,
)
async def test_an_exception_fails_the_message_and_the_actor_lives(error: Exception) -> None:
    async def act(message: Any, ctx: Turn) -> None:
        raise error

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act))
        await ref.tell("go")

        assert await alive(ref)
        assert ref.cell.incarnation == 1
    assert letter(system).error is error


async def test_an_exception_whose_repr_fails_is_a_dead_letter_like_any_other() -> None:
    class Unprintable(Exception):
        def __repr__(self) -> str:
            raise OSError("no repr")

        __str__ = __repr__

    async def act(message: Any, ctx: Turn) -> None:
        raise Unprintable

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act))
        await ref.tell("go")

        assert await alive(ref)
    assert letters(system) == [("go", "failed", 1)]


@pytest.mark.parametrize("suspends", [False, True])
async def test_a_stray_cancelled_fails_the_message(suspends: bool) -> None:
    foreign = await stray()

    async def act(message: Any, ctx: Turn) -> None:
        if suspends:
            await trio.sleep(1)
        raise foreign

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), name="bad")
        await ref.tell("go")

        assert await alive(ref)
    error = letter(system).error
    assert isinstance(error, StrayCancelled)
    assert error.__cause__ is foreign
    assert str(error).startswith("/s/bad: the handler raised a trio.Cancelled of a foreign scope;")


async def test_a_stray_cancelled_among_other_errors_fails_the_message_with_those() -> None:
    foreign = await stray()

    async def act(message: Any, ctx: Turn) -> None:
        raise BaseExceptionGroup("both", [foreign, OSError("mine")])

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act))
        await ref.tell("go")

        assert await alive(ref)
        assert ref.cell.incarnation == 1
    error = letter(system).error
    assert isinstance(error, ExceptionGroup)
    assert [repr(each) for each in error.exceptions] == ["OSError('mine')"]


# Cancellation swallowed --------------------------------------------------------------------


async def test_an_error_raised_while_the_timeout_cancels_is_the_failure() -> None:
    async def act(message: Any, ctx: Turn) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while cleaning up")

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), policies=[Timeout(3)])
        await ref.tell("go")

        assert await alive(ref)
    assert repr(letter(system).error) == "OSError('while cleaning up')"


async def test_an_error_in_one_task_of_a_turn_that_timed_out_does_not_crash_the_actor() -> None:
    async def fails_on_cancel() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while cleaning up")

    async def act(message: Any, ctx: Turn) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_on_cancel)
            nursery.start_soon(trio.sleep_forever)

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), policies=[Timeout(3)])
        await ref.tell("go")

        assert await alive(ref)
        assert ref.cell.incarnation == 1


async def test_a_handler_that_swallows_every_cancellation_inside_its_own_nursery_is_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(message: Any, ctx: Turn) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            while True:
                with contextlib.suppress(trio.Cancelled):
                    await trio.sleep_forever()

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), policies=[Timeout(3)])
        await ref.tell("go")
        assert await alive(ref)
        assert ref.cell.incarnation == 1
        await ref.tell("again")
        await wait_all_tasks_blocked()
        system.cancel()

    assert letters(system) == [("go", "failed", 1), ("again", "stopped", 0)]


async def test_every_turn_has_the_whole_timeout() -> None:
    async def act(message: float, ctx: Turn) -> float:
        await trio.sleep(message)
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), policies=[Timeout(3)])

        for seconds in (2, 2.9, 2, 2.9):
            assert await ref.ask(seconds, timeout=100) == seconds
        await ref.tell(3.1)
        assert await alive(ref)
    assert [each.body for each in system.dead_letters()] == [3.1]


# Hooks -------------------------------------------------------------------------------------


class Hooked(Actor):
    """Its hooks do as the test says."""

    start: Any = None
    stop: Any = None

    async def on_start(self, ctx: Turn) -> None:
        if self.start is not None:
            await self.start(ctx)

    async def on_stop(self, ctx: Turn) -> None:
        if self.stop is not None:
            await self.stop(ctx)

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "stop":
            ctx.stop()
        if isinstance(message, BaseException):
            raise message
        return message


async def test_a_start_that_makes_no_actor_is_refused() -> None:
    async with ActorSystem("s") as system:
        with pytest.raises(ConfigurationError) as caught:
            await system.spawn(lambda: "no actor", name="bad")

    assert str(caught.value) == (
        "start of /s/bad must be a callable that returns an Actor, got 'no actor'"
    )


async def test_what_on_start_asks_for_happens_when_it_returns() -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:
        target = await system.spawn(keeps)

        async def start(ctx: Turn) -> None:
            ctx.tell(target, "started")
            ctx.tell(ctx.self, "first")
            ctx.timers.start("key", 2, "tick")
            await trio.sleep(1)
            assert keeps.kept == []

        await system.spawn(Hooked(start=start))
        await wait_all_tasks_blocked()

        assert keeps.kept == ["started"]


async def test_an_on_start_that_fails_sends_nothing() -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:
        target = await system.spawn(keeps)

        async def start(ctx: Turn) -> None:
            ctx.tell(target, "never")
            ctx.spawn(Hooked, name="child")
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011
            await system.spawn(Hooked(start=start))
        assert system.stats()["actors"] == 1

    assert keeps.kept == []


async def test_an_on_start_that_sends_into_a_circle_of_full_mailboxes_gets_through() -> None:
    async with ActorSystem("s") as system:
        refs: dict[str, ActorRef[Any]] = {}
        handled: list[Any] = []

        async def old(message: Any, ctx: Turn) -> None:
            handled.append(message)
            await trio.sleep(1)
            if message != "hello":
                ctx.tell(refs["new"], message)

        refs["old"] = await system.spawn(Does(do=old), name="old", capacity=1)

        class New(Actor):
            async def on_start(self, ctx: Turn) -> None:
                refs["new"] = ctx.self
                await trio.sleep(0.5)
                ctx.tell(refs["old"], "hello")

            async def receive(self, message: Any, ctx: Turn) -> None:
                handled.append(("new", message))

        async with trio.open_nursery() as nursery:

            async def start() -> None:
                await system.spawn(New, name="new", capacity=1)

            nursery.start_soon(start)
            await wait_all_tasks_blocked()
            for number in range(4):
                nursery.start_soon(refs["old"].tell, number)

    assert len(handled) == 9
    assert system.stats()["mailbox_spilled"] <= 2


async def test_on_stop_runs_if_the_kill_comes_after_on_start_has_succeeded() -> None:
    stopped: list[str] = []

    async def start(ctx: Turn) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return  # It has opened what it was to open, and says so.

    async def stop(ctx: Turn) -> None:
        stopped.append("stopped")

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:

        async def spawn() -> None:
            with pytest.raises((UsageError, RuntimeError)):
                await system.spawn(Hooked(start=start, stop=stop))

        nursery.start_soon(spawn)
        await wait_all_tasks_blocked()
        system.cancel()

    assert stopped == ["stopped"]


async def test_what_on_stop_sends_leaves() -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:
        target = await system.spawn(keeps)

        async def stop(ctx: Turn) -> None:
            ctx.tell(target, "goodbye")
            await target.tell("farewell")

        ref = await system.spawn(Hooked(stop=stop))
        await ref.tell("stop")
        await ref.stopped()

    assert keeps.kept == ["goodbye", "farewell"]


# Policies and observers --------------------------------------------------------------------


class Decides:
    """A policy of somebody's own."""

    def __init__(self, decide: Callable[[], Any]) -> None:
        self._decide = decide

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Any:
        return self._decide()


def raise_(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    "decide",
    [lambda: raise_(OSError("no")), lambda: "retry", lambda: Divert("nobody"), lambda: Divert(7)],
    ids=["raises", "answers nonsense", "diverts to nobody", "diverts to a number"],
)
async def test_a_policy_that_fails_costs_its_message_and_nothing_else(
    decide: Callable[[], Any],
) -> None:
    async def act(message: Any, ctx: Turn) -> None:
        raise ValueError

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), policies=[Decides(decide)])
        await ref.tell("go")

        assert await alive(ref)
    assert [(body, reason) for body, reason, _ in letters(system)] == [("go", "failed")]
    assert system.stats()["held"] == 0


async def test_a_backoff_that_answers_nonsense_costs_its_message_and_nothing_else() -> None:
    class Nonsense:
        def delay(self, attempt: int, draw: float) -> float:
            return float("nan")

    async def act(message: Any, ctx: Turn) -> None:
        raise ValueError

    async with ActorSystem("s") as system:
        ref = await system.spawn(misbehaving(act), policies=[Retry(backoff=Nonsense())])
        await ref.tell("go")

        assert await alive(ref)
    assert letters(system) == [("go", "failed", 1)]


async def test_a_restart_backoff_that_fails_ends_its_actor_and_nothing_else() -> None:
    class Nonsense:
        def delay(self, attempt: int, draw: float) -> float:
            raise OSError("no")

    async with ActorSystem("s") as system:
        neighbour = await system.spawn(Hooked)
        ref = await system.spawn(Hooked, backoff=Nonsense())
        await ref.tell(Crash())
        with trio.move_on_after(100):
            await ref.stopped()

        assert await neighbour.ask("alive") == "alive"


# Refs that take no messages ----------------------------------------------------------------


async def test_sending_to_a_supervisor_fails_the_turn_and_says_what_to_do() -> None:
    async with ActorSystem("s") as system:
        supervisor = await system.spawn(Supervisor([ChildSpec("a", Hooked)]), name="sup")

        async def act(message: Any, ctx: Turn) -> None:
            if message == "tell":
                ctx.tell(supervisor, "hello")
            elif message == "ask":
                await ctx.ask(supervisor, "hello")
            else:
                ctx.tell(ctx.spawn(Supervisor([]), name="mine"), "hello")

        ref = await system.spawn(misbehaving(act), name="bad")
        for message in ("tell", "ask", "spawned"):
            await ref.tell(message)
        assert await alive(ref)

    assert [repr(each.error) for each in system.dead_letters()] == [
        "UsageError('/s/sup is a supervisor; tell one of its children')",
        "UsageError('/s/sup is a supervisor; ask one of its children')",
        "UsageError('/s/bad/mine is a supervisor; tell one of its children')",
    ]


async def test_a_supervisor_can_be_watched() -> None:
    async with ActorSystem("s") as system:
        downs: list[Any] = []

        async def watch(message: Any, ctx: Turn) -> None:
            if message == "watch":
                ctx.watch(supervisor)
            else:
                downs.append(message)

        supervisor = await system.spawn(
            Supervisor(
                [ChildSpec("a", Hooked, restart="transient", significant=True)],
                auto_shutdown="any_significant",
            ),
            name="sup",
        )
        watcher = await system.spawn(Does(do=watch))
        await watcher.ask("watch")
        await system.ref(Hooked, "sup/a").tell("stop")
        await supervisor.stopped()

    assert downs == [Down(supervisor, "normal", 1)]


async def test_a_body_that_cannot_be_packed_is_shared_and_counted_whatever_it_raises() -> None:
    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("touched")

    hostile, seen = Hostile(), []

    async def act(message: Any, ctx: Turn) -> None:
        seen.append(message)
        if ctx.attempt == 1:
            raise OSError

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=act), policies=[AGAIN])
        await ref.tell([hostile])

    assert [message[0] is hostile for message in seen] == [True, True]
    assert system.stats()["shared_bodies"] == 1


async def test_quarantine_for_a_reason_of_ones_own_choice() -> None:
    async def act(message: Any, ctx: Turn) -> None:
        raise ValueError

    async with ActorSystem("s") as system:
        policy = Decides(lambda: Quarantine("poison"))
        ref = await system.spawn(misbehaving(act), policies=[policy])
        await ref.tell("go")

    assert letters(system) == [("go", "poison", 1)]
