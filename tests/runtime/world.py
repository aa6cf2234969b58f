"""Random actors with a random story, and what became of every message in it.

A `Plan` is drawn by Hypothesis: some actors, and messages in a flat list, each told by the
outside or by the turn of an earlier one. `play` lets it happen in virtual time, looks at
the books after every single step of every task, and answers with a `Story`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import Any

import attrs
import trio
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    DeadLetter,
    Fixed,
    NotRunningError,
    Retry,
    Supervisor,
    Turn,
)
from actorflow.core.events import AttemptFailed, MessageDied
from actorflow.errors import AskError, MailboxFull
from actorflow.runtime.kernel import Kernel
from actorflow.testing.books import Books
from tests.runtime.actors import Crash

#: Virtual seconds after which a story has come to a standstill.
PATIENCE = 100_000

BIG: dict[str, Any] = {"max_restarts": 10**6, "backoff": Fixed(0.5), "shutdown": 1.0}


@attrs.frozen
class Person:
    """One actor: its mailbox and its policies."""

    capacity: int
    overflow: str = "block"
    attempts: int = 1
    position: Any = "head"
    delay: float = 0.0


@attrs.frozen
class Message:
    """One message: who tells it to whom, and what its handler does."""

    parent: int | None
    target: int
    fails: int = 0  # So many attempts fail,
    crashes: bool = False  # by a crash.
    sleeps: float = 0.0
    delay: float = 0.0
    priority: int = 100
    stashes: bool = False
    unstashes: bool = False
    stops: bool = False
    asked: bool = False  # Instead of told, by the turn of its parent.


@attrs.frozen
class Plan:
    people: list[Person]
    messages: list[Message]

    def children(self, number: int | None) -> list[int]:
        return [n for n, each in enumerate(self.messages) if each.parent == number]


def people(**fixed: Any) -> st.SearchStrategy[Person]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "capacity": st.integers(0, 3),
        # Not "fail": it fails a turn whose handler has already noted that it is through.
        "overflow": st.sampled_from(["block", "block", "block", "drop_new", "drop_old"]),
        "attempts": st.integers(1, 3),
        "position": st.sampled_from(["head", "tail"]),
        "delay": st.sampled_from([0.0, 1.0]),
    }
    return st.builds(Person, **{**fields, **{name: st.just(it) for name, it in fixed.items()}})


def rarely() -> st.SearchStrategy[bool]:
    return st.sampled_from([False] * 5 + [True])


@st.composite
def plans(draw: st.DrawFn, /, *, most: int = 14, person: Any = None, **fixed: Any) -> Plan:
    """Plans of up to *most* messages; *fixed* fields of messages are as given."""
    cast = draw(st.lists(people() if person is None else person, min_size=1, max_size=4))
    fields: dict[str, st.SearchStrategy[Any]] = {
        "target": st.integers(0, len(cast) - 1),
        "fails": st.sampled_from([0, 0, 0, 1, 2, 5]),
        "crashes": st.booleans(),
        "sleeps": st.sampled_from([0.0, 0.0, 1.0]),
        "delay": st.sampled_from([0.0, 0.0, 0.0, 2.0]),
        "priority": st.sampled_from([100, 100, 7]),
        "stashes": rarely(),
        "unstashes": rarely(),
        "stops": rarely(),
        "asked": st.just(False),
    }
    for name, value in fixed.items():
        fields[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    messages = []
    for number in range(draw(st.integers(1, most))):
        parents = st.none() if number == 0 else st.none() | st.integers(0, number - 1)
        messages.append(draw(st.builds(Message, parent=parents, **fields)))
    return Plan(cast, messages)


@attrs.define
class Story:
    """What has happened."""

    plan: Plan
    exact: bool = False  # Turns are counted by their commits, which keeps them off the fast road.
    attempts: dict[int, list[int]] = attrs.Factory(dict)  # Of each message, as begun.
    handled: Counter[int] = attrs.Factory(Counter)  # Turns that returned and committed.
    names: dict[str, int] = attrs.Factory(dict)
    order: list[tuple[int, int]] = attrs.Factory(list)  # (actor, message) as handled.
    accepted: set[int] = attrs.Factory(set)  # Told by the outside, and taken.
    letters: tuple[DeadLetter, ...] = ()
    problems: list[str] = attrs.Factory(list)
    spilled: int = 0

    def done(self, actor: int, message: int) -> None:
        self.handled[message] += 1
        self.order.append((actor, message))

    def on_event(self, event: object) -> None:
        """A turn that returned has failed all the same if a mailbox refused what it sent."""
        if self.exact:
            return
        if isinstance(event, AttemptFailed) and isinstance(event.error, MailboxFull):
            self.handled[self.names[event.message_id]] -= 1
        elif isinstance(event, MessageDied) and isinstance(event.letter.error, MailboxFull):
            self.handled[event.letter.body] -= 1

    def dead(self) -> Counter[int]:
        return Counter(each.body for each in self.letters)

    def sent(self) -> set[int]:
        """All that was accepted: by the outside, or because the turn that told it committed."""
        found = set(self.accepted)
        for number in range(len(self.plan.messages)):
            parent = self.plan.messages[number].parent
            if parent is not None and self.handled[parent]:
                found.add(number)
        return found


class Player(Actor):
    """An actor of the plan."""

    me: int
    story: Story
    refs: list[ActorRef[int]]
    turns: list[int]  # In progress, of all actors.
    open: bool = False

    async def receive(self, message: int, ctx: Turn) -> None:
        story, what = self.story, self.story.plan.messages[message]
        self.turns[self.me] += 1
        try:
            if self.turns[self.me] != 1:
                story.problems.append(f"{self.turns[self.me]} turns at once in {self.me}")
            story.attempts.setdefault(message, []).append(ctx.attempt)
            story.names[ctx.message_id] = message
            stashes = what.stashes and ctx.attempt <= what.fails + 1
            for number in [] if stashes else story.plan.children(message):
                child = story.plan.messages[number]
                to = self.refs[child.target]
                if child.asked:
                    with contextlib.suppress(AskError, ActorStopped, MailboxFull):
                        await ctx.ask(to, number, timeout=3)
                else:
                    ctx.tell(to, number, delay=child.delay, priority=child.priority)
            if what.sleeps:
                await trio.sleep(what.sleeps)
            if ctx.attempt <= what.fails:
                raise Crash(message) if what.crashes else OSError(message)
            if what.unstashes:
                ctx.unstash_all()
            if what.stops:
                ctx.stop()
            if stashes:
                ctx.stash()
                return
            if story.exact:
                ctx.note(lambda cell: story.done(self.me, message))
            else:
                story.done(self.me, message)
        finally:
            self.turns[self.me] -= 1


class Looks(trio.abc.Instrument):
    """Looks after every step whether each message is in exactly one place."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.books = Books()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.story.problems:
            self.story.problems.extend(self.books.broken())


def play(
    plan: Plan, *, fast: bool, strategy: str | None = None, ending: tuple[str, float] | None = None
) -> Story:
    """Let *plan* happen, with the fast branch or without.

    Args:
        strategy: Of the supervisor that all actors have in common; `None`: none.
        ending: How the block is left, and after how many seconds; `None`: when all is told.
    """
    story = Story(plan, exact=strategy is not None or ending is not None)
    looks = Looks(story)
    before, Kernel.fast = Kernel.fast, fast
    logging.disable(logging.CRITICAL)
    try:
        trio.run(
            _play,
            *(story, looks.books, strategy, ending),
            clock=MockClock(autojump_threshold=0),
            instruments=[looks],
        )
    finally:
        logging.disable(logging.NOTSET)
        Kernel.fast = before
    return story


async def _play(
    story: Story, books: Books, strategy: Any, ending: tuple[str, float] | None
) -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    way, seconds = ending or ("return", 0.0)
    system = ActorSystem("world", observers=[story])
    refs: list[ActorRef[int]] = []
    with trio.move_on_after(PATIENCE) as patience:
        with trio.CancelScope() as outside, contextlib.suppress(Leave):
            async with system:
                refs = await _populate(system, story, strategy)
                for ref in refs:
                    books.begin(ref.cell)
                async with trio.open_nursery() as nursery:
                    mail = story.plan.children(None)
                    for part in (mail[::2], mail[1::2]):
                        nursery.start_soon(_tell, story, refs, part)
                    if ending is not None:
                        await trio.sleep(seconds)
                        await _leave(system, way, nursery.cancel_scope, outside)
                if way == "error":
                    raise Leave
        story.letters = system.dead_letters()
        story.spilled = system.stats()["mailbox_spilled"]
        reserved = sum(ref.cell.mailbox.reserved for ref in refs)
        if reserved:
            story.problems.append(f"{reserved} places promised to nobody")
        if system.stats()["held"] or system.stats()["actors"]:
            story.problems.append(f"left at the end: {dict(system.stats())}")
    if patience.cancelled_caught:
        story.problems.append("nothing moves any more")
    left = trio.lowlevel.current_statistics().tasks_living - tasks
    if left:
        story.problems.append(f"{left} tasks are left")


async def _populate(system: ActorSystem, story: Story, strategy: Any) -> list[ActorRef[int]]:
    refs: list[ActorRef[int]] = []
    turns = [0] * len(story.plan.people)
    specs = []
    for me, person in enumerate(story.plan.people):
        retry = Retry(person.attempts, backoff=Fixed(person.delay), position=person.position)
        specs.append(
            ChildSpec(
                str(me),
                Player(me=me, story=story, refs=refs, turns=turns),
                restart="transient",
                capacity=person.capacity,
                overflow=person.overflow,
                policies=[retry] if person.attempts > 1 else [],
                **BIG,
            )
        )
    if strategy is None:
        refs.extend([await system.spawn(spec) for spec in specs])
    else:
        supervisor = Supervisor(specs, strategy=strategy, max_restarts=10**6, backoff=Fixed(0.5))
        await system.spawn(supervisor, name="group")
        refs.extend(system.ref(Player, f"group/{spec.id}") for spec in specs)
    return refs


class Leave(Exception):
    """The body of the block fails."""


async def _leave(
    system: ActorSystem, way: str, tellers: trio.CancelScope, outside: trio.CancelScope
) -> None:
    match way:
        case "drain":
            await system.drain(3)
        case "stop":
            await system.stop()
        case "cancel":
            system.cancel()
        case "error":
            tellers.cancel()
        case "outside":
            outside.cancel()


async def _tell(story: Story, refs: list[ActorRef[int]], part: list[int]) -> None:
    for number in part:
        message = story.plan.messages[number]
        try:
            await refs[message.target].tell(number, priority=message.priority)
        except (ActorStopped, MailboxFull, NotRunningError):
            continue
        story.accepted.add(number)
