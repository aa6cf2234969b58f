"""Supervisors when two things happen at once: a stop during a start, a crash during a stop,
a release during a backoff. Whatever comes first, nobody is forgotten and nobody lives twice."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    Down,
    DynamicSupervisor,
    Fixed,
    NotRunningError,
    Supervisor,
    Turn,
)
from actorflow.policies import Escalate
from tests.runtime.actors import Crash, Does, Hangs, Keeps, letters

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Member(Actor):
    """Notes its starts and stops; crashes, hangs, stops when told; may be slow or fail to start."""

    notes: list[str]
    start_seconds: float = 0.0
    stop_seconds: float = 0.0
    fails: tuple[int, ...] = ()  # Incarnations whose on_start fails.

    async def on_start(self, ctx: Turn) -> None:
        name = ctx.self.name
        await trio.sleep(self.start_seconds)
        if ctx.self.cell.incarnation in self.fails:
            self.notes.append(f"!{name}")
            raise OSError(name)
        self.notes.append(f"+{name}")

    async def on_stop(self, ctx: Turn) -> None:
        await trio.sleep(self.stop_seconds)
        self.notes.append(f"-{ctx.self.name}")

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case "crash":
                raise Crash(ctx.self.name)
            case "stop":
                ctx.stop()
            case "hang":
                await trio.sleep_forever()
        return message


def group(notes: list[str], *names: str, **each: dict[str, Any]) -> list[ChildSpec]:
    """A spec per name; *each* holds fields of the `Member` of that name."""
    return [ChildSpec(name, Member(notes=notes, **each.get(name, {}))) for name in names]


async def spawned(
    system: ActorSystem, children: list[ChildSpec], **options: Any
) -> dict[str, ActorRef[Any]]:
    await system.spawn(Supervisor(children, **options), name="sup")
    return {each.id: system.ref(Member, f"sup/{each.id}") for each in children}


# Stops that meet other stops -----------------------------------------------------------------


async def test_a_child_that_is_being_stopped_is_killed_in_time_though_the_system_stops() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        pool: Any = await system.spawn(DynamicSupervisor(), name="pool")
        ref = await pool.start_child(ChildSpec("a", Hangs, shutdown=5))
        await ref.tell("hang")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        nursery.start_soon(pool.stop_child, "a")
        await trio.sleep(1)

        await system.stop()

        assert trio.current_time() == began + 5


async def test_a_nearer_deadline_holds_for_a_child_that_is_being_stopped() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        pool: Any = await system.spawn(DynamicSupervisor(), name="pool")
        ref = await pool.start_child(ChildSpec("a", Hangs, shutdown=50))
        await ref.tell("hang")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        nursery.start_soon(pool.stop_child, "a")
        await trio.sleep(1)

        await system.drain(2)

        assert trio.current_time() == began + 3


async def test_a_cancelled_spawn_whose_on_start_hangs_is_ended_by_the_end_of_the_block() -> None:
    class Slow(Actor):
        async def on_start(self, ctx: Turn) -> None:
            await trio.sleep_forever()

    async with ActorSystem("s") as system:
        with trio.move_on_after(1):
            await system.spawn(Slow, shutdown=3)
        began = trio.current_time()

    assert trio.current_time() <= began + 3


async def test_stop_child_waits_for_the_end_and_frees_the_name() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        pool: Any = await system.spawn(DynamicSupervisor(), name="pool")
        for _ in range(2):
            await pool.start_child(ChildSpec("a", Member(notes=notes, stop_seconds=1)))
            await pool.stop_child("a")
        with pytest.raises(LookupError, match="/s/pool has no child 'a'"):
            await pool.stop_child("a")

    assert notes == ["+a", "-a", "+a", "-a"]


async def test_a_child_released_while_it_waits_for_its_restart_never_comes_back() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        pool: Any = await system.spawn(DynamicSupervisor(backoff=Fixed(10)), name="pool")
        ref = await pool.start_child(ChildSpec("a", Member(notes=notes)))
        await ref.tell("crash")
        await wait_all_tasks_blocked()
        assert system.tree().children[0].children[0].state == "backoff"
        await ref.tell("mail")

        await pool.stop_child("a")
        await trio.sleep(20)

        assert notes == ["+a", "-a"]
        assert letters(system)[1:] == [("mail", "stopped", 0)]
        assert system.stats()["actors"] == 1


async def test_a_child_released_in_the_moment_its_backoff_ends_lives_once_or_not_at_all() -> None:
    for early in (True, False):
        notes: list[str] = []
        async with ActorSystem("s") as system:
            pool: Any = await system.spawn(DynamicSupervisor(backoff=Fixed(10)), name="pool")
            ref = await pool.start_child(ChildSpec("a", Member(notes=notes)))
            await ref.tell("crash")
            await wait_all_tasks_blocked()
            supervisor = pool.cell
            (child,) = supervisor.children.values()
            if early:
                supervisor.release(ref.cell)
            supervisor._backoff_over((child, [child]))
            if not early:
                supervisor.release(ref.cell)
            await trio.sleep(20)

            assert system.stats()["actors"] == 1
        assert notes.count("+a") == notes.count("-a") <= 2


# Groups --------------------------------------------------------------------------------------


async def test_those_who_depend_on_a_child_are_not_started_before_it() -> None:
    notes: list[str] = []
    children = group(notes, "a", "b", "c", a={"fails": (2, 3)})

    async with ActorSystem("s") as system:
        refs = await spawned(
            system, children, strategy="rest_for_one", max_restarts=5, backoff=Fixed(1)
        )
        notes.clear()
        await refs["a"].tell("crash")
        await trio.sleep(10)

        assert notes == ["-a", "-c", "-b", "!a", "!a", "+a", "+b", "+c"]


@pytest.mark.parametrize("backoff", [Fixed(0), Fixed(1)])
async def test_a_child_that_crashes_while_its_group_is_restarted_joins_that_restart(
    backoff: Fixed,
) -> None:
    notes: list[str] = []
    children = group(notes, "a", "b", "c", c={"stop_seconds": 2})

    async with ActorSystem("s") as system:
        refs = await spawned(system, children, strategy="one_for_all", backoff=backoff)
        notes.clear()
        await refs["a"].tell("crash")
        await wait_all_tasks_blocked()
        assert notes == ["-a"]  # And c takes its time to stop.
        await refs["b"].tell("crash")
        await trio.sleep(10)

        assert notes == ["-a", "-b", "-c", "+a", "+b", "+c"]
        assert [refs[name].cell.incarnation for name in "abc"] == [2, 2, 2]


async def test_a_crash_during_the_first_start_of_a_later_sibling_restarts_the_group_once() -> None:
    notes: list[str] = []
    children = group(notes, "a", "b", "c", b={"start_seconds": 5})

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        supervisor = Supervisor(children, strategy="one_for_all")

        async def spawn() -> None:
            await system.spawn(supervisor, name="sup")

        nursery.start_soon(spawn)
        await wait_all_tasks_blocked()
        await system.ref(Member, "sup/a").tell("crash")
        await trio.sleep(30)

        assert notes == ["+a", "-a", "+b", "-b", "+a", "+b", "+c"]


async def test_a_crash_in_the_moment_a_backoff_ends_has_the_child_come_back_with_its_group() -> (
    None
):
    notes: list[str] = []

    async with ActorSystem("s") as system:
        backoff = Fixed(10)
        refs = await spawned(
            system, group(notes, "a", "b"), strategy="rest_for_one", backoff=backoff
        )
        await refs["b"].tell("crash")
        await wait_all_tasks_blocked()
        supervisor: Any = refs["a"].cell.parent
        b = supervisor.children["b"]
        heard = supervisor.child_ended

        def heard_just_before(*ended: Any) -> None:
            heard(*ended)
            supervisor.kernel.heap.settle(b.entry)
            supervisor._backoff_over((b, [b]))

        supervisor.child_ended = heard_just_before
        notes.clear()
        await refs["a"].tell("crash")
        await wait_all_tasks_blocked()
        supervisor.child_ended = heard
        assert notes == ["-a"]
        await trio.sleep(20)

        assert notes == ["-a", "+a", "+b"]
        assert [refs[name].cell.incarnation for name in "ab"] == [2, 2]


async def test_a_child_that_its_group_brings_back_may_fail_to_start_as_any_other() -> None:
    """It had ended for good, so it is a new one; but it is no first start of the supervisor."""
    notes: list[str] = []
    broken: list[str] = []

    class Once(Member):
        async def on_start(self, ctx: Turn) -> None:
            if broken:
                self.notes.append(f"!{broken.pop()}")
                raise OSError
            await super().on_start(ctx)

    children = [
        ChildSpec("a", Once(notes=notes), restart="transient"),
        ChildSpec("b", Member(notes=notes)),
    ]
    tree = Supervisor(children, strategy="one_for_all", backoff=Fixed(0.0))

    async with ActorSystem("s") as system:
        await system.spawn(tree, name="sup", restart="temporary")
        await system.ref(Once, "sup/a").tell("stop")
        await wait_all_tasks_blocked()
        notes.clear()
        broken.append("a")
        await system.ref(Member, "sup/b").tell("crash")
        await wait_all_tasks_blocked()

        assert notes == ["-b", "!a", "+a", "+b"]
        assert await system.ref(Once, "sup/a").ask("on") == "on"


async def test_a_temporary_child_that_is_stopped_with_its_group_is_gone_for_good() -> None:
    notes: list[str] = []
    downs: list[Any] = []

    async def watch(message: Any, ctx: Turn) -> None:
        if message == "watch":
            ctx.watch(refs["t"])
        else:
            downs.append(message)

    children = [
        ChildSpec("a", Member(notes=notes)),
        ChildSpec("t", Member(notes=notes), restart="temporary"),
    ]
    async with ActorSystem("s") as system:
        refs = await spawned(system, children, strategy="one_for_all")
        watcher = await system.spawn(Does(do=watch))
        await watcher.ask("watch")
        await refs["a"].tell("crash")
        await wait_all_tasks_blocked()

        assert notes == ["+a", "+t", "-a", "-t", "+a"]
        assert downs == [Down(refs["t"], "stopped", 1)]
        with pytest.raises(ActorStopped):
            await refs["t"].tell("late")
        await system.ref(Member, "sup/a").ask("alive")


async def test_mail_that_was_being_handled_when_the_group_is_restarted_keeps_its_attempt() -> None:
    attempts: list[int] = []
    notes: list[str] = []

    async def slowly(message: Any, ctx: Turn) -> None:
        attempts.append(ctx.attempt)
        await trio.sleep(10 if len(attempts) == 1 else 0)

    children = [
        *group(notes, "a"),
        ChildSpec("b", Does(do=slowly), shutdown=1),
    ]
    async with ActorSystem("s") as system:
        refs = await spawned(system, children, strategy="one_for_all")
        await refs["b"].tell("message")
        await wait_all_tasks_blocked()
        await refs["a"].tell("crash")

    assert attempts == [1, 1]
    assert [body for body, _, _ in letters(system)] == ["crash"]


async def test_a_supervisor_that_crashes_and_comes_back_keeps_the_mail_of_its_children() -> None:
    kept: list[Any] = []
    notes: list[str] = []
    inner = Supervisor(
        [*group(notes, "a"), ChildSpec("k", Keeps(kept=kept))], max_restarts=0, backoff=Fixed(0)
    )

    async with ActorSystem("s") as system:
        outer = Supervisor([ChildSpec("in", inner)], backoff=Fixed(5))
        await system.spawn(outer, name="out")
        keeper = system.ref(Keeps, "out/in/k")
        await system.ref(Member, "out/in/a").tell("crash")
        await wait_all_tasks_blocked()
        await keeper.tell("while down")
        assert kept == []
        await trio.sleep(10)

        assert kept == ["while down"]
        assert keeper.cell.incarnation == 2


# Children of dynamic supervisors ---------------------------------------------------------------


async def test_a_child_may_be_started_before_its_supervisor_has_begun() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def start_later(pool: Any) -> None:
            ref = await pool.start_child(ChildSpec("a", Member(notes=[])))
            answers.append(await ref.ask("alive"))

        async def spawn(message: Any, ctx: Turn) -> None:
            nursery.start_soon(start_later, ctx.spawn(DynamicSupervisor(), name="pool"))
            await trio.sleep(1)

        ref = await system.spawn(Does(do=spawn))
        await ref.tell("go")
        await trio.sleep(5)

        assert answers == ["alive"]


async def test_starting_a_child_fails_when_its_supervisor_ends_meanwhile() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        pool: Any = await system.spawn(DynamicSupervisor(), name="pool")

        async def start() -> None:
            with pytest.raises(NotRunningError):
                await pool.start_child(ChildSpec("a", Member(notes=[], start_seconds=50)))

        nursery.start_soon(start)
        await wait_all_tasks_blocked()
        await system.stop()
        with pytest.raises(ActorStopped):
            await pool.start_child(ChildSpec("b", Keeps))


# Endings that somebody must hear of ------------------------------------------------------------


async def test_a_crash_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Member(notes=[]), name="a")
        await ref.tell("crash")
        await ref.ask("alive")

    assert "/s/a: starts again in 0 s after Crash('a')" in caplog.text


async def test_a_crash_that_ends_an_actor_is_logged_with_its_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Member(notes=[]), name="a", restart="temporary")
        await ref.tell("crash")
        await ref.stopped()

    assert "/s/a: ends after Crash('a')" in caplog.text


async def test_a_spawned_child_that_cannot_start_is_logged_and_its_watcher_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    downs: list[Any] = []

    async def spawn(message: Any, ctx: Turn) -> None:
        if message == "go":
            ctx.watch(ctx.spawn(Member(notes=[], fails=(1,)), name="child"))
        else:
            downs.append(message)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=spawn), name="a")
        await ref.tell("go")
        await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()

    assert [repr(down.reason) for down in downs] == ["OSError('child')"]
    assert "/s/a/child: on_start: OSError('child')" in caplog.text


async def test_a_policy_that_escalates_right_below_the_system_ends_its_actor_alone() -> None:
    class Up:
        def decide(self, attempt: int, error: BaseException, **facts: Any) -> Escalate:
            return Escalate()

    async def fail(message: Any, ctx: Turn) -> Any:
        if message == "fail":
            raise OSError
        return message

    async with ActorSystem("s") as system:
        neighbour = await system.spawn(Does(do=fail), name="neighbour")
        ref = await system.spawn(Does(do=fail), name="a", policies=[Up()])
        await ref.tell("fail")
        await ref.stopped()

        assert await neighbour.ask("alive") == "alive"
    ended = ref.cell.ended
    assert ended is not None
    assert isinstance(ended.error, OSError)


async def test_a_children_crash_loop_does_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ActorSystem("s") as system:
        with caplog.at_level(logging.WARNING, logger="actorflow"):
            ref = await system.spawn(
                Member(
                    notes=[],
                    fails=(
                        2,
                        3,
                        4,
                        5,
                        6,
                        7,
                    ),
                ),
                name="a",
            )
            await ref.tell("crash")
            await ref.stopped()

    assert caplog.text.count("starts again") == 3
    assert caplog.text.count("restarts exhausted") == 1
