"""Children that a turn spawns: they live from its commit to the end of their parent."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    ConfigurationError,
    Down,
    DynamicSupervisor,
    Fixed,
    Retry,
    Turn,
)
from tests.runtime.actors import Crash, Does, Keeps, letter, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


async def echo(message: Any, ctx: Turn) -> Any:
    if message == "crash":
        raise Crash
    if message == "stop":
        ctx.stop()
    return message


async def parent(system: ActorSystem, child: Any = None, **options: Any) -> ActorRef[Any]:
    """An actor that spawns a child named as a message says, and answers its ref."""

    async def spawn(message: Any, ctx: Turn) -> Any:
        if message == "crash":
            raise Crash
        if message == "stop":
            ctx.stop()
            return None
        return ctx.spawn(child or Does(do=echo), name=message, **options)

    return await system.spawn(Does(do=spawn), name="parent")


async def test_a_child_takes_messages_from_the_commit_on() -> None:
    keeps, gate = Keeps(), trio.Event()

    async with ActorSystem("s") as system:
        refs: list[ActorRef[Any]] = []

        async def spawn(message: Any, ctx: Turn) -> None:
            child = ctx.spawn(keeps, name="child")
            refs.append(child)
            ctx.tell(child, "from the turn")
            await gate.wait()

        ref = await system.spawn(Does(do=spawn), name="parent")
        await ref.tell("go")
        await wait_all_tasks_blocked()
        await refs[0].tell("from outside")
        assert system.tree().children[0].children == ()

        gate.set()
        await wait_all_tasks_blocked()

        assert refs[0].path == "/s/parent/child"
        assert keeps.kept == ["from outside", "from the turn"]


async def test_a_failed_turn_leaves_no_child_and_the_name_is_free_for_its_retry() -> None:
    async with ActorSystem("s") as system:
        refs: list[ActorRef[Any]] = []

        async def spawn(message: Any, ctx: Turn) -> Any:
            refs.append(ctx.spawn(Does(do=echo), name="child"))
            if ctx.attempt == 1:
                raise OSError
            return refs[-1]

        ref = await system.spawn(Does(do=spawn), policies=[Retry(2, backoff=Fixed(1))])
        child = await ref.ask("go")

        with pytest.raises(ActorStopped):
            await refs[0].tell("to the first")
        assert await child.ask("alive") == "alive"
        assert system.stats()["actors"] == 2


async def test_two_children_of_one_name_fail_the_turn() -> None:
    async with ActorSystem("s") as system:
        ref = await parent(system)
        await ref.ask("child")
        await ref.tell("child")
        await wait_all_tasks_blocked()

        assert system.stats()["actors"] == 2
    error = letter(system).error
    assert isinstance(error, ConfigurationError)
    assert str(error) == (
        "spawn() name must be a path that no living actor has, got '/s/parent/child'"
    )


async def test_a_child_that_has_ended_leaves_its_name_and_its_neighbours_alone() -> None:
    async with ActorSystem("s") as system:
        ref = await parent(system)
        first, neighbour = await ref.ask("child"), await ref.ask("neighbour")
        await first.tell("stop")
        await first.stopped()
        second = await ref.ask("child")

        assert await second.ask("alive") == "alive"
        assert await neighbour.ask("alive") == "alive"
        with pytest.raises(ActorStopped):
            await first.tell("late")
        assert first == second  # A ref is its path.


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_children_end_with_their_parent_and_their_mail_is_not_lost(end: str) -> None:
    async with ActorSystem("s") as system:
        ref = await parent(system, Keeps(), capacity=2)
        child = await ref.ask("child")
        await wait_all_tasks_blocked()
        await ref.tell(end)
        await child.stopped()
        await wait_all_tasks_blocked()

        assert system.stats()["actors"] == (1 if end == "crash" else 0)
        if end == "crash":
            again = await ref.ask("child")
            await again.tell("alive")


async def test_a_child_is_restarted_within_a_budget_of_its_own() -> None:
    async with ActorSystem("s") as system:
        downs: list[Any] = []

        async def spawn(message: Any, ctx: Turn) -> Any:
            if isinstance(message, Down):
                downs.append(message)
                return None
            child = ctx.spawn(Does(do=echo), name=message, max_restarts=1, backoff=Fixed(0))
            ctx.watch(child)
            return child

        ref = await system.spawn(Does(do=spawn))
        one, two = await ref.ask("one"), await ref.ask("two")
        for child in (one, two, one):
            await child.tell("crash")
            await wait_all_tasks_blocked()

        assert [down.ref for down in downs] == [one]
        assert (one.cell.incarnation, two.cell.incarnation) == (2, 2)
        assert await two.ask("alive") == "alive"
        assert ref.cell.incarnation == 1


async def test_a_turn_may_tell_a_rendezvous_that_it_has_just_spawned() -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:

        async def spawn(message: Any, ctx: Turn) -> None:
            child = ctx.spawn(keeps, capacity=0)
            ctx.tell(child, 1)
            ctx.tell(child, 2)

        ref = await system.spawn(Does(do=spawn))
        await ref.ask("go", timeout=100)
        await wait_all_tasks_blocked()

        assert keeps.kept == [1, 2]


async def test_grandchildren_end_before_their_parents_and_younger_ones_first() -> None:
    async with ActorSystem("s") as system:
        order: list[str] = []

        class Nested(Does):
            async def on_stop(self, ctx: Turn) -> None:
                order.append(ctx.self.path)

        async def spawn(message: Any, ctx: Turn) -> Any:
            return ctx.spawn(Nested(do=spawn), name=message)

        top = await system.spawn(Nested(do=spawn), name="top")
        a = await top.ask("a")
        b = await top.ask("b")
        await a.ask("x")
        await b.ask("y")
        await wait_all_tasks_blocked()

    assert order == ["/s/top/b/y", "/s/top/b", "/s/top/a/x", "/s/top/a", "/s/top"]


async def test_a_spawned_supervisor_takes_children_from_outside() -> None:
    async with ActorSystem("s") as system:
        ref = await parent(system, DynamicSupervisor())
        pool: Any = await ref.ask("pool")
        from actorflow import ChildSpec

        child = await pool.start_child(ChildSpec("c", Does(do=echo)))

        assert child.path == "/s/parent/pool/c"
        assert await child.ask("alive") == "alive"


async def test_mail_of_a_child_whose_on_start_fails_becomes_dead_letters() -> None:
    class Fails(Keeps):
        async def on_start(self, ctx: Turn) -> None:
            await trio.sleep(1)
            raise OSError

    async with ActorSystem("s") as system:
        ref = await parent(system, Fails())
        child = await ref.ask("child")
        await child.tell("mail")
        await trio.sleep(2)

        assert system.stats()["actors"] == 1
    assert letters(system) == [("mail", "stopped", 0)]
