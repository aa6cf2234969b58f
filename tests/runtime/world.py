"""Random actors with a random story, and what became of every message in it.

A `Plan` is drawn by Hypothesis: some actors, and messages in a flat list, each told by the
outside or by the turn of an earlier one. `play` lets it happen in virtual time, looks at
the books after every single step of every task, and answers with a `Story`.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import attrs
import trio
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import Actor, ActorRef, ActorStopped, ActorSystem, DeadLetter, Fixed, Retry, Turn
from actorflow.core.envelope import Envelope
from actorflow.core.events import AttemptFailed, MessageDied
from actorflow.errors import MailboxFull
from actorflow.runtime.kernel import Kernel
from tests.runtime.actors import Crash

#: Virtual seconds after which a story has come to a standstill.
PATIENCE = 100_000

BIG = {"max_restarts": 10**6, "backoff": Fixed(0.5), "shutdown": 1.0}


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
    }
    fields.update({name: st.just(value) for name, value in fixed.items()})
    messages = []
    for number in range(draw(st.integers(1, most))):
        parents = st.none() if number == 0 else st.none() | st.integers(0, number - 1)
        messages.append(draw(st.builds(Message, parent=parents, **fields)))
    return Plan(cast, messages)


@attrs.define
class Story:
    """What has happened."""

    plan: Plan
    attempts: dict[int, list[int]] = attrs.Factory(dict)  # Of each message, as begun.
    handled: Counter[int] = attrs.Factory(Counter)  # Turns that returned and committed.
    names: dict[str, int] = attrs.Factory(dict)
    order: list[tuple[int, int]] = attrs.Factory(list)  # (actor, message) as handled.
    accepted: set[int] = attrs.Factory(set)  # Told by the outside, and taken.
    letters: tuple[DeadLetter, ...] = ()
    problems: list[str] = attrs.Factory(list)
    seconds: float = 0.0
    spilled: int = 0

    def on_event(self, event: object) -> None:
        """A turn that returned has failed all the same if a mailbox refused what it sent."""
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
                ctx.tell(
                    self.refs[child.target], number, delay=child.delay, priority=child.priority
                )
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
            story.handled[message] += 1
            story.order.append((self.me, message))
        finally:
            self.turns[self.me] -= 1


class Books(trio.abc.Instrument):
    """Looks after every step whether each message is in exactly one place."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.kernel: Kernel | None = None
        self.cells: list[Any] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.kernel is None:
            return
        places = sum(isinstance(entry[3], Envelope) for entry in self.kernel.heap.entries())
        for cell in self.cells:
            mailbox = cell.mailbox
            leased = cell.lease is not None and not str(cell.lease.root).startswith("start-")
            here = len(mailbox) + len(cell.stash or ()) + leased
            places += here
            if mailbox.accepted != mailbox.acked + mailbox.failed + here:
                self.problem(
                    f"{cell}: {mailbox.accepted} accepted, {mailbox.acked} acked, "
                    f"{mailbox.failed} failed, {here} here"
                )
            redelivered = sum(each.attempt > 0 for each in mailbox.queue)
            if not mailbox.closed and mailbox.limit != mailbox.capacity + redelivered:
                self.problem(f"{cell}: room for {mailbox.limit}, {redelivered} redelivered")
        if places != self.kernel.held:
            self.problem(f"{self.kernel.held} held, {places} found")

    def problem(self, text: str) -> None:
        if not self.story.problems:
            self.story.problems.append(text)


def play(plan: Plan, *, fast: bool) -> Story:
    """Let *plan* happen, with the fast branch or without."""
    story = Story(plan)
    books = Books(story)
    before, Kernel.fast = Kernel.fast, fast
    logging.disable(logging.CRITICAL)
    try:
        trio.run(_play, story, books, clock=MockClock(autojump_threshold=0), instruments=[books])
    finally:
        logging.disable(logging.NOTSET)
        Kernel.fast = before
    return story


async def _play(story: Story, books: Books) -> None:
    plan = story.plan
    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(PATIENCE) as patience:
        async with ActorSystem("world", observers=[story]) as system:
            refs: list[ActorRef[int]] = []
            turns = [0] * len(plan.people)
            for me, person in enumerate(plan.people):
                retry = Retry(
                    person.attempts, backoff=Fixed(person.delay), position=person.position
                )
                player = Player(me=me, story=story, refs=refs, turns=turns)
                refs.append(
                    await system.spawn(
                        player,
                        name=str(me),
                        capacity=person.capacity,
                        overflow=person.overflow,
                        policies=[retry] if person.attempts > 1 else [],
                        **BIG,
                    )
                )
            books.cells = [ref.cell for ref in refs]
            books.kernel = refs[0].cell.kernel
            async with trio.open_nursery() as nursery:
                outside = plan.children(None)
                for part in (outside[::2], outside[1::2]):
                    nursery.start_soon(_tell, story, refs, part)
            began = trio.current_time()
        story.seconds = trio.current_time() - began
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


async def _tell(story: Story, refs: list[ActorRef[int]], part: list[int]) -> None:
    for number in part:
        message = story.plan.messages[number]
        try:
            await refs[message.target].tell(number, priority=message.priority)
        except (ActorStopped, MailboxFull):
            continue
        story.accepted.add(number)
