"""Drawn systems of actors, with a drawn story: who sends what to whom, and what its handler does.

A message carries all that its handler is to do, so that a story goes on after any death as it
would have without. Of what comes out little is said here: the laws hold of any story.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs
import trio

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    Fixed,
    MailboxFull,
    Retry,
    Supervisor,
    Timeout,
    Turn,
    actor,
)
from actorflow.errors import AskError
from actorflow.policies.decision import Skip
from actorflow.testing import World
from actorflow.testing.draws import Draws, chosen, perhaps
from tests.scenarios.systems import System, sure

__all__ = ["draw_story"]

#: A message: its number, what its handler does, how many attempts fail, whether by a crash, whether
#: it says nothing of having been done, and of which timer it is the tick.
Body: TypeAlias = "list[Any]"

#: Virtual seconds after which a story is at its end: retries, timers, asks and a handler or two
#: that hang.
LONG = 400.0

VERBS = ("tell", "tell", "sleep", "ask", "timer", "cancel", "unstash", "stash", "reply")

#: Times in a row that an actor may crash.
OFTEN = 10**6


class Crash(BaseException):
    """A handler crashes, as it is told to."""


def answers(answer: Any, body: Body) -> bool:
    """Whether *answer* is one to *body*; who leaves it out, answers nothing."""
    said = "soon" if any(verb == "reply" for verb, *_ in body[1]) else body[0]
    return answer in (None, said)


@attrs.frozen
class LeavesOut:
    """A policy: what has failed twice is left out."""

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Skip | None:
        """Leave it out, or leave it to others."""
        return Skip() if attempt > 1 and isinstance(error, OSError) else None


@attrs.frozen
class Person:
    """An actor: its mailbox and its policies."""

    name: str
    capacity: int
    overflow: str
    attempts: int
    delay: float
    position: Any
    skips: bool
    effects: bool

    def spec(self, **more: Any) -> ChildSpec:
        """How it is spawned."""
        retry = Retry(self.attempts, backoff=Fixed(self.delay), position=self.position)
        return ChildSpec(
            self.name,
            Player,
            capacity=self.capacity,
            overflow=self.overflow,
            policies=[
                Timeout(60.0),
                *([retry] if self.attempts > 1 else []),
                *([LeavesOut()] if self.skips else []),
            ],
            max_restarts=OFTEN,
            backoff=Fixed(0.5),
            **more,
        )


@attrs.frozen
class Told:
    """What a client sends."""

    to: str
    body: Body
    priority: int
    timeout: float | None  # Of an ask; a tell has none.


@attrs.frozen
class Story:
    """A story.

    Attributes:
        people: Who is there.
        clients: What each client sends, one after the other.
        durable: Whether there is a store.
        strategy: Of the supervisor that all have in common; `None`: none.
    """

    people: tuple[Person, ...]
    clients: tuple[tuple[Told, ...], ...]
    durable: bool
    strategy: Any

    def path(self, name: str) -> str:
        """Path of an actor."""
        return f"/story/{name}" if self.strategy is None else f"/story/group/{name}"


@actor("tests.scenarios.player")
class Player(Actor):
    """Does what it is sent."""

    had: tuple[int, ...] = ()
    aside: tuple[int, ...] = ()
    ticks: tuple[tuple[str, int], ...] = ()
    last: int = 0

    async def receive(self, body: Any, ctx: Turn) -> Any:
        """Do it; a question is answered with the numbers of all that was done."""
        if body == "?":
            return list(self.had)
        number, does, fails, crashes, silent, key = body
        if not silent:
            self.last = number  # Is taken back if it fails.
        if key and number not in self.aside:
            self.had = self.had if (key, number) in self.ticks else (*self.had, -number)
            self.expect(key)
        # Once only: by the attempt where a crash forgets all, by the fields where it is kept.
        stashes = ["stash"] in does and ctx.attempt == 1 and number not in self.aside
        for verb, *given in does:
            await self.do(verb, given, ctx)
        if ctx.attempt <= fails:
            raise (Crash if crashes else OSError)(number)
        if stashes:
            self.aside = (*self.aside, number)
            ctx.stash()
        elif not silent:
            self.had = (*self.had, number)
        return number

    def expect(self, key: str, *ticks: tuple[str, int]) -> None:
        """Of the timer *key* these *ticks* will come, and no others."""
        self.ticks = (*[each for each in self.ticks if each[0] != key], *ticks)

    async def do(self, verb: str, given: Any, ctx: Turn) -> None:
        """One of the things that a handler may do."""
        own = ctx.self.path.rpartition("/")[0]
        match verb, *given:
            case "tell", to, body, delay, priority:
                ctx.tell(ActorRef(f"{own}/{to}"), body, delay=delay, priority=priority)
            case "ask", to, body:
                with contextlib.suppress(AskError, ActorStopped, MailboxFull):
                    answer = await ctx.ask(ActorRef(f"{own}/{to}"), body, timeout=20.0)
                    self.had = self.had if answers(answer, body) else (*self.had, -body[0])
            case "sleep", seconds:
                await trio.sleep(seconds)
            case "timer", key, seconds, body:
                ctx.timers.start(key, seconds, body)
                self.expect(key, (key, body[0]))
            case "cancel", key:
                ctx.timers.cancel(key)
                self.expect(key)
            case ("unstash",):
                ctx.unstash_all()
            case "reply", value:
                ctx.reply(value)


class _Drawing:
    """Draws a story."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._numbers = itertools.count(1)
        self._names = [*"abc"][: draws.number(1, 3)]

    def story(self) -> Story:
        """All of it."""
        draws = self._draws
        durable = draws.number(0, 2) > 0
        return Story(
            people=tuple(map(self._person, self._names)),
            clients=tuple(
                tuple(self._told() for _ in range(draws.number(1, 4)))
                for _ in range(draws.number(1, 2))
            ),
            durable=durable,
            strategy=None if durable else chosen(draws, (None, "one_for_one", "one_for_all")),
        )

    def _person(self, name: str) -> Person:
        draws = self._draws
        return Person(
            name=name,
            capacity=chosen(draws, (16, 3, 1)),
            overflow=chosen(draws, ("block", "block", "block", "drop_new", "drop_old")),
            attempts=draws.number(1, 3),
            delay=chosen(draws, (0.0, 1.0)),
            position=chosen(draws, ("head", "tail")),
            skips=perhaps(draws, 4),
            effects=perhaps(draws, 4),
        )

    def _told(self) -> Told:
        draws = self._draws
        timeout = chosen(draws, (None, None, 30.0, 0.5))
        return Told(
            to=chosen(draws, self._names),
            body=self._body(0),
            priority=chosen(draws, (100, 100, 7)),
            timeout=timeout,
        )

    def _body(self, depth: int, *, calm: bool = False, key: str = "") -> Body:
        """A message; a *calm* one crashes nobody, nor does anything that comes of it: where all
        are started again together, who asks would ask again for ever."""
        draws = self._draws
        number = next(self._numbers)
        does = [self._verb(depth, calm) for _ in range(draws.number(0, 3 if depth < 2 else 0))]
        fails = chosen(draws, (0, 0, 0, 0, 1, 2, 5))
        return [number, does, fails, perhaps(draws) and not calm, perhaps(draws, 4), key]

    def _verb(self, depth: int, calm: bool) -> list[Any]:
        draws = self._draws
        verb = chosen(draws, VERBS)
        key = chosen(draws, ("k", "l"))
        match verb:
            case "tell":
                to, body = chosen(draws, self._names), self._body(depth + 1, calm=calm)
                delay, priority = chosen(draws, (None, None, 2.0)), chosen(draws, (None, None, 7))
                return [verb, to, body, delay, priority]
            case "ask":
                return [verb, chosen(draws, self._names), self._body(depth + 1, calm=True)]
            case "sleep":
                return [verb, chosen(draws, (0.0, 1.0))]
            case "timer":
                body = self._body(depth + 1, calm=calm, key=key)
                return [verb, key, chosen(draws, (0.0, 3.0)), body]
            case "cancel":
                return [verb, key]
            case "reply":
                return [verb, "soon"]
        return [verb]


def draw_story(draws: Draws) -> tuple[System, str]:
    """A system with a story, and the story as text."""
    story = _Drawing(draws).story()

    async def main(world: World) -> None:
        store = world.store if story.durable else None
        async with ActorSystem("story", store=store) as system:
            refs = await _spawn(system, story)
            async with trio.open_nursery() as nursery:
                for mail in story.clients:
                    nursery.start_soon(_client, world, story, refs, mail)
            await trio.sleep(LONG)
            had: Counter[int] = Counter()
            for ref in refs.values():
                had.update(await sure(ref, "?"))
        if story.durable:
            _check(world, story, had)

    return System(main, tuple(story.path(each.name) for each in story.people)), repr(story)


async def _spawn(system: ActorSystem, story: Story) -> dict[str, ActorRef[Any]]:
    """Start all; their refs by name."""
    if story.strategy is None:
        specs = [
            each.spec(durable=story.durable, effects=story.durable and each.effects)
            for each in story.people
        ]
        return {spec.id: await system.spawn(spec) for spec in specs}
    specs = [each.spec() for each in story.people]
    group = Supervisor(specs, strategy=story.strategy, max_restarts=OFTEN, backoff=Fixed(0.5))
    await system.spawn(group, name="group")
    return {spec.id: system.ref(Player, f"group/{spec.id}") for spec in specs}


async def _client(
    world: World, story: Story, refs: dict[str, ActorRef[Any]], mail: tuple[Told, ...]
) -> None:
    """Send it all; again what nobody has acknowledged before the process died."""
    tries = world.outside.setdefault("tries", Counter())
    lost, done = world.outside.get("done", (0, set()))
    if lost != world.lost or not story.durable:
        done = set()
    world.outside["done"] = world.lost, done
    for each in mail:
        number = each.body[0]
        if number in done:
            continue
        tries[number] += 1
        if each.timeout is None:
            await refs[each.to].tell(each.body, priority=each.priority)
        else:
            with contextlib.suppress(AskError):
                answer = await refs[each.to].ask(each.body, timeout=each.timeout)
                assert answers(answer, each.body), f"{answer!r} is no answer to {each.body}"
        done.add(number)


def _check(world: World, story: Story, had: Counter[int]) -> None:
    """Nothing is done more often than it was sent; and as often, if nothing has died."""
    tries: Counter[int] = world.outside["tries"]
    wrong = [-number for number in had if number < 0]
    text = "ticks came that were cancelled, or once more, or questions had the answers of others"
    assert not wrong, f"{text}: {wrong}"
    dead = any(each.kind == "dead" for each in world.moves) or world.lost
    dead = dead or any(each.skips for each in story.people)
    for each in itertools.chain.from_iterable(story.clients):
        for number, parent, asked in _family(each.body):
            if asked and dead:
                continue  # Who asks again what was given up begins it anew.
            most = tries[each.body[0]] if parent is None else had[parent]
            assert had[number] <= most, f"{number} was done {had[number]} times, sent {most}"
            if parent is None and each.timeout is None and not dead and _is_plain(each.body):
                assert had[number] > 0, f"{number} was never done"


def _is_plain(body: Body) -> bool:
    """Whether a message is done in the end, and says so."""
    return not body[4] and not any(verb == "stash" for verb, *_ in body[1])


def _family(body: Body) -> Iterator[tuple[int, int | None, bool]]:
    """The numbers of a message and of all that comes of it: with that of the one whose turn sends
    it, if that says that it was done, and whether it is asked."""
    yield body[0], None, False
    waiting = [body]
    while waiting:
        parent = waiting.pop()
        for verb, *given in parent[1]:
            inner = next((each for each in given if isinstance(each, list)), None)
            if inner is not None:
                waiting.append(inner)
                if _is_plain(parent):
                    yield inner[0], parent[0], verb == "ask"
