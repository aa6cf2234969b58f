"""What an operator sees of a system, and may do about it: tree, events, stats, dead letters."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    ConfigurationError,
    DeadLetter,
    Fixed,
    InsideTurn,
    Retry,
    Supervisor,
    Turn,
)
from actorflow.core.events import ActorEnded, ActorStarted, AttemptFailed, MessageDied
from tests.runtime.actors import Crash, Does, Holds, Keeps, letters

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def act(message: Any, ctx: Turn) -> Any:
    match message:
        case "fail":
            raise OSError("no")
        case "crash":
            raise Crash
        case "stop":
            ctx.stop()
    return message


async def test_the_tree_is_a_frozen_picture_that_can_be_printed() -> None:
    async with ActorSystem("shop") as system:
        gate = trio.Event()
        await system.spawn(
            Supervisor([ChildSpec("till", Holds(gate=gate)), ChildSpec("stock", Keeps)]),
            name="floor",
        )
        till = system.ref(Holds, "floor/till")
        for number in range(3):
            await till.tell(number)
        await wait_all_tasks_blocked()
        tree = system.tree()
        gate.set()

    assert str(tree) == (
        "shop (supervisor, running)\n"
        "  floor (supervisor, running)\n"
        "    till (Holds, running, 2 waiting)\n"
        "    stock (Keeps, running)"
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        tree.state = "down"  # type: ignore[misc]


async def test_events_come_in_order_and_end_with_the_system() -> None:
    seen: list[Any] = []

    async def listen() -> None:
        seen.extend([event async for event in events])

    async with trio.open_nursery() as nursery, ActorSystem("s") as system:
        events = system.events()
        nursery.start_soon(listen)
        ref = await system.spawn(
            Does(do=act), name="a", policies=[Retry(2, backoff=Fixed(1), position="head")]
        )
        await ref.tell("fail")

    started, failed, died, ended = seen
    assert started == ActorStarted("/s/a", 1)
    assert isinstance(failed, AttemptFailed)
    assert (failed.path, failed.message_id, failed.attempt, failed.delay) == ("/s/a", "1", 1, 1)
    assert died == MessageDied(system.dead_letters()[0])
    assert ended == ActorEnded("/s/a", 1, "stopped")


async def test_a_slow_listener_loses_the_oldest_events_and_that_is_counted() -> None:
    async with ActorSystem("s") as system:
        events = system.events()
        ref = await system.spawn(Does(do=act), capacity=20_000)
        for _ in range(10_050):
            await ref.tell("fail")
        await ref.ask("done")

        assert system.stats()["events_dropped"] == 51
        assert isinstance(await anext(events), MessageDied)
        await events.aclose()
        await ref.ask("fail again")
        assert system.stats()["events_dropped"] == 51


async def test_dead_letters_are_kept_up_to_10_000_and_counted_beyond() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=act))
        for number in range(10_003):
            await ref.tell("fail" if number else "crash")
        await ref.ask("done")

        assert len(system.dead_letters()) == 10_000
        assert {letter.body for letter in system.dead_letters()} == {"fail"}
        assert system.stats()["dead_letters"] == 10_003


async def test_a_replayed_letter_starts_at_attempt_1_under_the_same_id() -> None:
    seen: list[Any] = []

    async def note(message: Any, ctx: Turn) -> None:
        seen.append((message, ctx.attempt, ctx.message_id))
        if len(seen) < 4:
            raise OSError

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=note), policies=[Retry(2, backoff=Fixed(0))])
        await ref.tell({"id": 7})
        await wait_all_tasks_blocked()
        (letter,) = system.dead_letters()
        assert (letter.attempts, letter.replays) == (2, 0)
        await system.replay(letter)

    assert seen == [
        *(({"id": 7}, 1, "1"), ({"id": 7}, 2, "1")),
        *(({"id": 7}, 1, "1"), ({"id": 7}, 2, "1")),
    ]


async def test_a_letter_that_dies_again_counts_its_replays() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=act))
        await ref.tell("fail")
        await wait_all_tasks_blocked()
        for _ in range(2):
            await system.replay(system.dead_letters()[-1])
            await wait_all_tasks_blocked()

    assert [(each.id, each.replays) for each in system.dead_letters()] == [
        ("1", 0),
        ("1", 1),
        ("1", 2),
    ]


async def test_a_letter_to_an_actor_that_is_gone_cannot_be_replayed() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=act))
        await ref.tell("fail")
        await ref.tell("stop")
        await ref.stopped()

        with pytest.raises(ActorStopped):
            await system.replay(system.dead_letters()[0])
        assert system.stats()["held"] == 0


async def test_the_counters_are_there_before_anything_has_happened() -> None:
    async with ActorSystem("s") as system:
        assert dict(system.stats()) == {
            "actors": 0,
            "dead_letters": 0,
            "errors": 0,
            "held": 0,
            "mailbox_spilled": 0,
            "restarts": 0,
        }


async def test_verbs_for_the_outside_are_refused_in_a_turn_and_name_the_way() -> None:
    async with ActorSystem("s") as system:

        async def try_all(message: Any, ctx: Turn) -> list[str]:
            found = []
            for verb in (lambda: system.spawn(Keeps), system.drain, system.stop):
                with pytest.raises(InsideTurn) as caught:
                    await verb()
                found.append(str(caught.value))
            return found

        ref = await system.spawn(Does(do=try_all))

        assert await ref.ask("go") == [
            "system.spawn() inside a turn could wait for the turn itself; use ctx.spawn()",
            "system.drain() inside a turn could wait for the turn itself; "
            "use ctx.stop() or a task outside the system",
            "system.stop() inside a turn could wait for the turn itself; "
            "use ctx.stop() or a task outside the system",
        ]


@pytest.mark.parametrize("name", ["", "a/b", "a\n", 7, "x" * 201])
async def test_a_name_must_be_able_to_stand_in_a_path(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"ActorSystem\.name must be"):
        ActorSystem(name)
    async with ActorSystem("s") as system:
        with pytest.raises(ConfigurationError):
            await system.spawn(Keeps, name=name)


@pytest.mark.parametrize(
    "options",
    [
        *({"capacity": -1}, {"capacity": 1.5}, {"overflow": "drop"}, {"restart": "always"}),
        *({"shutdown": -1}, {"policies": [Retry]}, {"isolation": "none"}, {"colour": "red"}),
        *({"max_restarts": -1}, {"window": 0}, {"backoff": 5}),
    ],
    ids=repr,
)
async def test_a_wrong_option_is_refused_and_nothing_is_spawned(options: dict[str, Any]) -> None:
    async with ActorSystem("s") as system:
        with pytest.raises(ConfigurationError):
            await system.spawn(Keeps, **options)

        assert system.stats()["actors"] == 0


async def test_what_is_no_actor_cannot_be_spawned() -> None:
    class NoActor:
        pass

    for wrong in (None, 7, "Keeps", [Keeps], NoActor, object()):
        async with ActorSystem("s") as system:
            with pytest.raises(ConfigurationError):
                await system.spawn(wrong)


def test_a_receive_that_is_not_async_is_refused_when_the_class_is_written() -> None:
    with pytest.raises(ConfigurationError) as caught:

        class Plain(Actor):
            def receive(self, message: Any, ctx: Turn) -> None:  # type: ignore[override]
                pass

    assert "receive must be written as `async def receive`" in str(caught.value)


async def test_a_ref_finds_its_actor_by_name_and_equals_others_of_its_path() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Keeps, name="a")

        assert system.ref(Keeps, "a") == ref
        assert {ref, system.ref(Keeps, "a")} == {ref}
        assert (ref.path, ref.name, repr(ref)) == ("/s/a", "a", "ActorRef('/s/a')")
        with pytest.raises(LookupError, match="no living actor /s/b; spawn it first"):
            system.ref(Keeps, "b")


async def test_a_ref_in_a_message_is_bound_where_it_is_used() -> None:
    from actorflow.wire.codec import decode, encode

    async with ActorSystem("s") as system:
        target = Keeps()
        ref = await system.spawn(target, name="target")
        unbound = decode(encode(ref))

        async def forward(message: Any, ctx: Turn) -> None:
            ctx.tell(message, "hello")

        sender = await system.spawn(Does(do=forward))
        await sender.ask(unbound)
        await wait_all_tasks_blocked()

        assert unbound == ref
        assert target.kept == ["hello"]


async def test_a_dead_letter_says_what_where_why_and_when() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=act), name="a")
        await ref.tell("fail")

    (letter,) = system.dead_letters()
    assert letter == DeadLetter(
        id="1",
        body="fail",
        stage_or_actor="/s/a",
        reason="failed",
        error=letter.error,
        traceback=letter.traceback,
        attempts=1,
        at=letter.at,
        replays=0,
    )
    assert letter.traceback.endswith("OSError: no\n")
    assert letter.at >= 1_700_000_000
    assert letters(system) == [("fail", "failed", 1)]
