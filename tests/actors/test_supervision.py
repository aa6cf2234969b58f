"""Supervisors: OTP's rules, seen from outside."""

from __future__ import annotations

import itertools
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
    ChildSpec,
    ConfigurationError,
    Down,
    DynamicSupervisor,
    Fixed,
    RestartsExhausted,
    Retry,
    Supervisor,
    Turn,
    UsageError,
)
from tests.runtime.actors import Crash, letters

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Diary(Actor):
    """Notes its starts, messages and stops under its own name; crashes or stops when told."""

    notes: list[str]

    async def on_start(self, ctx: Turn) -> None:
        self.notes.append(f"+{ctx.self.name}")

    async def on_stop(self, ctx: Turn) -> None:
        self.notes.append(f"-{ctx.self.name}")

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "crash":
            raise Crash("told to")
        if message == "stop":
            ctx.stop()
        self.notes.append(f"{ctx.self.name}:{message}")
        return message


def specs(notes: list[str], *names: str, **options: Any) -> list[ChildSpec]:
    return [ChildSpec(name, Diary(notes=notes), **options) for name in names]


async def tree(
    system: ActorSystem, notes: list[str], *names: str, spec: Any = None, **options: Any
) -> dict[str, ActorRef[Any]]:
    """A supervisor "sup" with a `Diary` per name; answers their refs."""
    children = spec or specs(notes, *names)
    await system.spawn(Supervisor(children, **options), name="sup")
    return {name: system.ref(Diary, f"sup/{name}") for name in names}


async def crash(ref: ActorRef[Any]) -> None:
    await ref.tell("crash")
    await wait_all_tasks_blocked()


async def test_children_start_left_to_right_and_stop_right_to_left() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        await tree(system, notes, "a", "b", "c")
        assert notes == ["+a", "+b", "+c"]

    assert notes == ["+a", "+b", "+c", "-c", "-b", "-a"]


@pytest.mark.parametrize(
    ("strategy", "after"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
    ],
)
async def test_a_strategy_restarts_whom_it_says(strategy: Any, after: list[str]) -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        refs = await tree(system, notes, "a", "b", "c", strategy=strategy)
        notes.clear()

        await crash(refs["b"])

        assert notes == after
        assert await refs["b"].ask("on") == "on"
        assert await refs["c"].ask("on") == "on"


@pytest.mark.parametrize(
    ("restart", "message", "again"),
    [
        ("permanent", "stop", True),
        ("permanent", "crash", True),
        ("transient", "stop", False),
        ("transient", "crash", True),
        ("temporary", "stop", False),
        ("temporary", "crash", False),
    ],
)
async def test_a_restart_type_says_what_is_started_again(
    restart: Any, message: str, again: bool
) -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        refs = await tree(system, notes, "a", spec=specs(notes, "a", restart=restart))
        await refs["a"].tell(message)
        await wait_all_tasks_blocked()

        if again:
            assert await refs["a"].ask("on") == "on"
        else:
            with pytest.raises(ActorStopped):
                await refs["a"].tell("on")


async def test_a_temporary_child_is_stopped_and_not_started_with_its_group() -> None:
    notes: list[str] = []
    children = [*specs(notes, "a", "b"), *specs(notes, "c", restart="temporary")]

    async with ActorSystem("s") as system:
        refs = await tree(system, notes, "a", "b", "c", spec=children, strategy="one_for_all")
        notes.clear()

        await crash(refs["a"])

        assert notes == ["-a", "-c", "-b", "+a", "+b"]


async def test_a_budget_allows_as_many_restarts_as_it_says_within_its_window() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        refs = await tree(
            system, notes, "a", max_restarts=2, window=10.0, on_exhausted="stop", backoff=Fixed(0)
        )
        for _ in range(2):
            await crash(refs["a"])
        await trio.sleep(11)
        for _ in range(2):
            await crash(refs["a"])
        assert await refs["a"].ask("alive") == "alive"

        await crash(refs["a"])

        with pytest.raises(ActorStopped):
            await refs["a"].tell("on")


async def test_an_exhausted_supervisor_escalates_and_its_own_supervisor_restarts_it() -> None:
    notes: list[str] = []
    inner = Supervisor(specs(notes, "a", "b"), max_restarts=0)

    async with ActorSystem("s") as system:
        await system.spawn(Supervisor([ChildSpec("inner", inner)]), name="outer")
        a = system.ref(Diary, "outer/inner/a")
        notes.clear()

        await crash(a)

        assert notes == ["-a", "-b", "+a", "+b"]
        assert await a.ask("on") == "on"


async def test_a_restarted_supervisor_keeps_the_order_of_its_children() -> None:
    notes: list[str] = []
    children = [
        *specs(notes, "a"),
        *specs(notes, "t", restart="temporary"),
        *specs(notes, "b"),
    ]
    inner = Supervisor(children, strategy="rest_for_one", max_restarts=1, backoff=Fixed(0))

    async with ActorSystem("s") as system:
        await system.spawn(Supervisor([ChildSpec("inner", inner)]), name="outer")
        await crash(system.ref(Diary, "outer/inner/t"))  # Gone for this life of `inner`.
        await crash(system.ref(Diary, "outer/inner/b"))
        await crash(system.ref(Diary, "outer/inner/b"))  # Once too often: another life.
        notes.clear()

        await crash(system.ref(Diary, "outer/inner/b"))
        assert notes == ["-b", "+b"]  # `t` stands left of it, as before.

    assert notes == ["-b", "+b", "-b", "-t", "-a"]


async def test_budgets_multiply_down_the_tree() -> None:
    starts: list[int] = []

    class Broken(Actor):
        async def on_start(self, ctx: Turn) -> None:
            starts.append(1)

        async def receive(self, message: Any, ctx: Turn) -> None:
            raise Crash

    inner = Supervisor([ChildSpec("b", Broken)], max_restarts=2, backoff=Fixed(0))
    outer = Supervisor([ChildSpec("inner", inner)], max_restarts=1, backoff=Fixed(0))

    async with ActorSystem("s") as system:
        await system.spawn(outer, name="outer", max_restarts=0)
        for _ in range(20):
            try:
                await crash(system.ref(Broken, "outer/inner/b"))
            except (LookupError, ActorStopped):
                break

    assert len(starts) == 6  # Three lives of the child in each of the two of its supervisor.


async def test_an_exhausted_child_of_the_system_ends_without_its_neighbours() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        a = await system.spawn(Diary(notes=notes), name="a", max_restarts=1, backoff=Fixed(0))
        b = await system.spawn(Diary(notes=notes), name="b")
        await crash(a)
        await crash(a)

        with pytest.raises(ActorStopped):
            await a.tell("on")
        assert await b.ask("on") == "on"


async def test_a_parked_child_keeps_its_mail_until_it_is_resumed() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        refs = await tree(system, notes, "a", "b", max_restarts=0, on_exhausted="park")
        await crash(refs["a"])
        await refs["a"].tell("kept")
        await wait_all_tasks_blocked()
        assert "a:kept" not in notes
        assert "parked" in str(system.tree())
        assert await refs["b"].ask("on") == "on"

        await system.resume(refs["a"])
        await wait_all_tasks_blocked()

        assert "a:kept" in notes


async def test_while_a_restart_waits_the_mailbox_accepts_and_no_attempt_is_spent() -> None:
    attempts: list[tuple[str, int]] = []

    class Fragile(Actor):
        async def receive(self, message: str, ctx: Turn) -> None:
            attempts.append((message, ctx.attempt))
            if message == "crash":
                raise Crash

    async with ActorSystem("s") as system:
        ref = await system.spawn(Fragile, name="f", backoff=Fixed(60.0))
        started = trio.current_time()
        await crash(ref)
        await ref.tell("kept")
        await wait_all_tasks_blocked()
        assert attempts == [("crash", 1)]

        await trio.sleep(61)

        assert attempts == [("crash", 1), ("kept", 1)]
        assert trio.current_time() - started < 62


async def test_the_first_restart_is_at_once_and_later_ones_back_off() -> None:
    starts: list[float] = []

    class Fragile(Actor):
        async def on_start(self, ctx: Turn) -> None:
            starts.append(trio.current_time())

        async def receive(self, message: str, ctx: Turn) -> None:
            raise Crash

    async with ActorSystem("s", seed=1) as system:
        ref = await system.spawn(Fragile, name="f", max_restarts=10)
        for _ in range(4):
            await ref.tell("crash")
        await trio.sleep(20)

    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert waits[0] == 0
    assert all(0 < wait <= cap for wait, cap in zip(waits[1:], (0.1, 0.2, 0.4), strict=True))


async def test_a_start_that_fails_at_first_raises_and_leaves_nothing_registered() -> None:
    class Broken(Actor):
        async def on_start(self, ctx: Turn) -> None:
            raise OSError("no database")

    async with ActorSystem("s") as system:
        with pytest.raises(OSError, match="no database"):
            await system.spawn(Broken, name="b")

        with pytest.raises(LookupError):
            system.ref(Broken, "b")
        await system.spawn(Diary(notes=[]), name="b")


async def test_a_supervisor_whose_child_cannot_start_stops_the_others_and_fails() -> None:
    notes: list[str] = []

    class Broken(Actor):
        async def on_start(self, ctx: Turn) -> None:
            raise OSError("no database")

    children = [*specs(notes, "a", "b"), ChildSpec("c", Broken)]

    async with ActorSystem("s") as system:
        with pytest.raises(OSError, match="no database"):
            await system.spawn(Supervisor(children), name="sup")

        assert notes == ["+a", "+b", "-b", "-a"]
        assert system.stats()["actors"] == 0


async def test_a_start_that_fails_at_a_restart_counts_on_the_budget() -> None:
    starts: list[int] = []

    class Once(Actor):
        async def on_start(self, ctx: Turn) -> None:
            starts.append(1)
            if len(starts) > 1:
                raise OSError("gone")

        async def receive(self, message: Any, ctx: Turn) -> None:
            raise Crash

    async with ActorSystem("s") as system:
        ref = await system.spawn(Once, name="o", max_restarts=3, backoff=Fixed(1.0))
        await ref.tell("crash")
        await ref.stopped()

    assert len(starts) == 4


@pytest.mark.parametrize(
    ("mode", "ends_after"), [("any_significant", 1), ("all_significant", 2), ("never", None)]
)
async def test_auto_shutdown_ends_the_supervisor_after_its_significant_children(
    mode: Any, ends_after: int | None
) -> None:
    notes: list[str] = []
    children = [
        *specs(notes, "a", "b", restart="transient", significant=True),
        *specs(notes, "c"),
    ]

    async with ActorSystem("s") as system:
        refs = await tree(system, notes, "a", "b", "c", spec=children, auto_shutdown=mode)
        for count, name in enumerate(("a", "b"), 1):
            if refs[name].cell.ended is None:
                await refs[name].tell("stop")
            await wait_all_tasks_blocked()
            assert (refs["c"].cell.ended is not None) == (
                ends_after is not None and count >= ends_after
            )


async def test_a_child_that_does_not_end_in_time_is_killed() -> None:
    class Slow(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            await trio.sleep_forever()

    async with ActorSystem("s") as system:
        ref = await system.spawn(Slow, name="slow", shutdown=3.0)
        await ref.tell("hang")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await system.stop()

        assert trio.current_time() - began == pytest.approx(3.0, abs=0.01)
        assert letters(system) == [("hang", "stopped", 0)]


async def test_a_crash_keeps_mailbox_watchers_and_ref_and_is_no_down() -> None:
    downs: list[Any] = []

    class Watcher(Actor):
        target: Any

        async def on_start(self, ctx: Turn) -> None:
            ctx.watch(self.target)

        async def receive(self, message: Any, ctx: Turn) -> None:
            downs.append(message)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Diary(notes=[]), name="d")
        await system.spawn(Watcher(target=ref), name="w")
        await crash(ref)
        assert downs == []

        await ref.tell("stop")
        await wait_all_tasks_blocked()

        assert downs == [Down(ref, "normal", 2)]


async def test_a_dynamic_supervisor_takes_children_up_to_its_limit() -> None:
    notes: list[str] = []

    async with ActorSystem("s") as system:
        pool: Any = await system.spawn(DynamicSupervisor(max_children=2), name="pool")
        first = await pool.start_child(specs(notes, "a")[0])
        await pool.start_child(specs(notes, "b")[0])
        with pytest.raises(ConfigurationError, match="max_children"):
            await pool.start_child(specs(notes, "c")[0])

        await pool.stop_child("a")
        await pool.start_child(specs(notes, "c")[0])

        assert notes == ["+a", "+b", "-a", "+c"]
        with pytest.raises(ActorStopped):
            await first.tell("on")


async def test_a_fixed_supervisor_takes_no_children_and_no_messages() -> None:
    async with ActorSystem("s") as system:
        sup: Any = await system.spawn(Supervisor(specs([], "a")), name="sup")

        with pytest.raises(UsageError, match="DynamicSupervisor"):
            await sup.start_child(specs([], "b")[0])
        with pytest.raises(UsageError, match="tell one of its children"):
            await sup.tell("hello")


async def test_the_crashed_message_is_retried_by_the_new_incarnation() -> None:
    seen: list[tuple[int, int]] = []

    class Fragile(Actor):
        count: int = 0

        async def receive(self, message: Any, ctx: Turn) -> None:
            self.count += 1
            seen.append((ctx.attempt, self.count))
            if ctx.attempt == 1:
                raise Crash

    async with ActorSystem("s") as system:
        ref = await system.spawn(Fragile, policies=[Retry(3, backoff=Fixed(0))])
        await ref.tell("m")

    assert seen == [(1, 1), (2, 1)]  # A crashed actor's state is not trusted.


async def test_an_escalating_policy_fails_the_supervisor_in_the_actors_place() -> None:
    from actorflow.policies.decision import Escalate

    class Grave:
        def decide(self, attempt: int, error: BaseException, **facts: Any) -> Any:
            return Escalate()

    class Failing(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            raise ValueError(message)

    notes: list[str] = []
    children = [*specs(notes, "a"), ChildSpec("f", Failing, policies=[Grave()])]

    async with ActorSystem("s") as system:
        await system.spawn(Supervisor(children), name="sup", restart="temporary")
        await system.ref(Failing, "sup/f").tell("grave")
        await wait_all_tasks_blocked()

        assert notes == ["+a", "-a"]


@attrs.frozen
class Spec:
    """A spec that is none."""

    id: str = "a"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Supervisor([Spec()]),  # type: ignore[list-item]
            "Supervisor.children[0] must be a ChildSpec(id, start), got Spec(id='a')",
        ),
        (
            lambda: Supervisor([*specs([], "a"), *specs([], "a")]),
            "Supervisor.children[1].id must be different from its siblings', got 'a'",
        ),
        (
            lambda: Supervisor([], strategy="one_for_two"),  # type: ignore[arg-type]
            "Supervisor.strategy must be one of 'one_for_one', 'one_for_all', 'rest_for_one', "
            "got 'one_for_two'",
        ),
        (
            lambda: ChildSpec("a", Diary, restart="permanent", significant=True),
            "child 'a' significant must be False for a permanent child; write "
            "restart='transient' or 'temporary', got True",
        ),
    ],
)
def test_a_wrong_tree_is_refused_when_declared(make: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()

    assert str(caught.value) == text


async def test_restarts_exhausted_is_reported_with_its_cause() -> None:
    downs: list[Any] = []

    class Watcher(Actor):
        target: Any

        async def on_start(self, ctx: Turn) -> None:
            ctx.watch(self.target)

        async def receive(self, message: Any, ctx: Turn) -> None:
            downs.append(message.reason)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Diary(notes=[]), name="d", max_restarts=0)
        await system.spawn(Watcher(target=ref))
        await crash(ref)

    (reason,) = downs
    assert isinstance(reason, RestartsExhausted)
    assert isinstance(reason.__cause__, Crash)
    assert (reason.path, reason.limit) == ("/s/d", 0)
