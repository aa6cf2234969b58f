"""What a simulation writes down of its messages, and the laws that are checked on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from actorflow import (
    Actor,
    ActorRef,
    ActorSystem,
    ConfigurationError,
    Fixed,
    Pipeline,
    Retry,
    Turn,
    actor,
    stage,
)
from actorflow.runtime.mailbox import Mailbox
from actorflow.testing import LAWS, Died, FaultPlan, LawBroken, Move, World, simulate
from actorflow.testing.moves import Sent
from actorflow.testing.story import Story


@actor("tests.moves.till")
class Till(Actor):
    """Adds up; passes on what it is told to."""

    to: ActorRef[Any] | None = None
    sum: int = 0

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, int):
            self.sum += body
            if self.to is not None:
                ctx.tell(self.to, body)
            if body == 13 and ctx.attempt == 1:
                raise OSError
        elif body == "later" and ctx.attempt == 1:
            ctx.stash()
        elif body == "now":
            ctx.unstash_all()
        return self.sum


async def shop(world: World) -> None:
    async with ActorSystem("shop", store=world.store) as system:
        box = await system.spawn(Till(), name="box", durable=True)
        till = await system.spawn(
            Till(to=box), name="till", durable=True, policies=[Retry(2, backoff=Fixed(1))]
        )
        if world.life == 1:
            await till.tell(1)
            await till.tell("later")
            await till.tell(13)
            await till.tell("now")
        await trio.sleep(5.0)
        assert await till.ask("?") == 14


def kinds(moves: tuple[Move, ...], message: str, path: str) -> list[str]:
    mine = [each for each in moves if each.message == message and each.path in (path, "/shop")]
    return [each.kind for each in mine]


def test_it_says_what_becomes_of_each_message() -> None:
    moves = simulate(shop).moves

    turn = ["begun", "ended"]
    assert kinds(moves, "1", "/shop/till") == ["accepted", *turn, "acknowledged", "told"]
    assert kinds(moves, "2", "/shop/till")[:5] == ["accepted", *turn, "stashed", "told"]
    assert kinds(moves, "2", "/shop/till")[5:] == ["due", *turn, "acknowledged"]
    assert kinds(moves, "3", "/shop/till").count("retried") == 1
    assert kinds(moves, "3", "/shop/till")[-3:] == [*turn, "acknowledged"]
    raised = [each.raised for each in moves if each.message == "3" and each.kind == "ended"]
    assert raised[0] == "OSError"
    assert [each.attempt for each in moves if each.message == "3" and each.kind == "begun"][:2] == [
        1,
        2,
    ]
    assert moves[-1].kind == "over"
    assert "message 3 ended changed sum raised OSError" in "\n".join(map(str, moves))


def test_a_turn_says_its_fields_and_what_it_sends() -> None:
    turns = [each for each in Story(simulate(shop).moves).turns if each.begun.path == "/shop/till"]

    first = turns[0]
    assert first.happened
    assert first.ended is not None
    assert first.ended.changed == ("sum",)
    assert first.ended.outbox == (Sent("/shop/box", "1.0"),)
    assert [(each.path, each.message) for each in first.sent] == [("/shop/box", "1.0")]
    failed = next(each for each in turns if each.ended is not None and each.ended.raised)
    assert not failed.happened
    assert failed.sent == []


def test_a_death_ends_what_is_written() -> None:
    undisturbed = simulate(shop).moves
    moves = simulate(shop, faults=Died(step=70)).moves

    first = [each for each in moves if each.life == 1]
    assert first == [each for each in undisturbed if each.step < 70]
    assert first
    assert {each.life for each in moves} == {1, 2}
    assert [each.life for each in moves] == sorted(each.life for each in moves)


def test_a_flow_says_it_of_its_items() -> None:
    @stage(policies=[Retry(2, backoff=Fixed(0))])
    async def again(item: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise OSError
        return item

    async def main() -> None:
        await Pipeline([again], name="flow").run([1, 2])

    moves = simulate(main).moves

    begun = [(each.message, each.attempt) for each in moves if each.kind == "begun"]
    assert sorted(begun) == [("0", 1), ("0", 2), ("1", 1), ("1", 2)]
    assert all(each.piece for each in moves if each.kind == "accepted")


# Each law can fail ------------------------------------------------------------------------


def line(kind: Any, message: str = "1", **given: Any) -> Move:
    facts: dict[str, Any] = {"life": 1, "step": 1, "at": 0.0, "path": "/s/a", **given}
    return Move(kind=kind, message=message, system=facts["path"].split("/")[1], **facts)


def turn(message: str = "1", fate: Any = "acknowledged", **given: Any) -> list[Move]:
    """The lines of a turn, of which *given* says more."""
    found, left = given.pop("found", b""), given.pop("left", b"")
    amiss, restored = given.pop("amiss", ((), ())), given.pop("restored", False)
    ends = {name: given.pop(name) for name in ("outbox", "raised", "changed") if name in given}
    facts = {"mailbox": "/s/a", "attempt": 1, **given}
    lines = [
        line("begun", message, digest=found, amiss=amiss, restored=restored, **facts),
        line("ended", message, digest=left, **facts, **ends),
    ]
    where = "/s" if fate in ("acknowledged", "dead", "diverted") else "/s/a"
    last = line(fate, message, **{**given, "path": where})
    return [*lines, last] if fate else lines


def accepted(message: str, **given: Any) -> Move:
    return line("accepted", message, **given)


#: What turn 1 sends,
SENT = accepted("1.0", path="/s/b", sent=True)

LATER = accepted("1.0", path="/s/b", sent=True, at=5.0)
DONE = line("acknowledged", "1.0", path="/s")

#: and a first turn that changes a durable actor.
FIRST = turn("1", found=b"0", left=b"1", changed=("sum",))
SENDS = turn("1", found=b"0", left=b"1", outbox=(Sent("/s/b", "1.0"),))
GOES_ON = turn("2", life=2, actor=2, incarnation=2, found=b"1", restored=True)

#: Two that wait for being unstashed.
STASHED = [*turn("1", fate="stashed"), *turn("2", fate="stashed")]

#: Two that come back together with that of another actor, which was stashed in between.
OTHERS = [
    *turn("1", fate="stashed"),
    *turn("3", fate="stashed", box=2),
    *[line("due", "1"), line("due", "3", box=2)],
]

BROKEN: dict[str, list[list[Move]]] = {
    "one turn": [
        [*turn("1")[:1], *turn("2")],
        [turn("1")[0], turn("2")[0], *turn("1")[1:]],
    ],
    "atomic turn": [
        [*turn("1"), *turn("2", amiss=(("sum",), ()))],
        [*turn("1", fate="retried", raised="OSError"), *turn("2", amiss=((), ("sum",)))],
        [*turn("1", fate="given back"), *turn("2", amiss=((), ("sum",)))],
        turn("1", outbox=(Sent("/s/b", "1.0"),)),
        [*turn("1", fate=None, raised="OSError"), SENT],
        [
            *turn("1", outbox=(Sent("/s/b", "1.0"),))[:2],
            SENT,
            line("acknowledged", path="/s", step=2),
        ],
        [
            *turn("1", outbox=(Sent("/s/b", "1.0"), Sent("/s/b", "1.1")))[:2],
            accepted("1.1", path="/s/b", sent=True),
            SENT,
            line("acknowledged", path="/s"),
        ],
    ],
    "order": [
        [accepted("1"), accepted("2"), *turn("2"), *turn("1")],
        [accepted("1"), *turn("1", fate="given back"), accepted("2"), *turn("2"), *turn("1")],
        [accepted("1"), accepted("2"), *turn("2", key="k"), *turn("1", key="k")],
        [*turn("1", fate="retried", raised="OSError", key="k"), *turn("2", key="k")],
        [*STASHED, line("due", "2"), line("due", "1"), *turn("2"), *turn("1")],
    ],
    "attempts": [
        [*turn("1", fate="retried"), *turn("1")],
        [*turn("1", fate="given back"), *turn("1", attempt=2)],
        [*turn("1", fate="retried", until=5.0), *turn("1", attempt=2, at=4.0)],
    ],
    "no silent drop": [
        [accepted("1"), line("over")],
        [line("told", path="/s"), line("over", life=2)],
        [line("found", life=2), line("over", life=2)],
        [*turn("1", outbox=(Sent("/s/b", "1.0", 5.0),)), line("over")],
        [*turn("1", outbox=(Sent("/s/b", "1.0", 5.0),)), SENT, DONE, line("over")],  # Too early.
    ],
    "no orphan": [[turn("1")[0], line("over")]],
    "exactly-once state": [
        [*FIRST, *turn("2", life=2, actor=2, incarnation=2, found=b"2", restored=True)],
        [*FIRST, *turn("1", life=2, actor=2, incarnation=2, found=b"1", restored=True)],
        [*FIRST, line("answered"), *turn("1", life=2, actor=2)],
        [*SENDS, SENT, *GOES_ON, line("over", life=2)],
    ],
}

KEPT: dict[str, list[list[Move]]] = {
    "one turn": [[*turn("1"), *turn("2")], [turn("1")[0], *turn("2", life=2)]],
    "atomic turn": [
        [*turn("1"), *turn("2", amiss=((), ("sum",)))],
        [*turn("1", fate="stashed"), *turn("2", amiss=((), ("sum",)))],
        [*turn("1", fate="dead", raised="OSError"), *turn("2", amiss=(("sum",), ()))],
        [*turn("1", outbox=(Sent("/s/b", "1.0"),))[:2], SENT, line("acknowledged", path="/s")],
        [*turn("1", fate="dead", raised="OSError"), accepted("start-2.0", path="/s/b", sent=True)],
        [*turn("1"), accepted("start-2.0", path="/s/b", sent=True, step=9)],
    ],
    "order": [
        [accepted("1"), accepted("2"), *turn("1"), *turn("2")],
        [accepted("1", priority=9), accepted("2"), *turn("2"), *turn("1", priority=9)],
        [accepted("1"), line("aside"), accepted("2"), *turn("2"), *turn("1")],
        [accepted("1"), accepted("2"), *turn("2", key="k"), *turn("1", key="l")],
        [*turn("1", fate="retried", raised="OSError", key="k"), *turn("2", key="l")],
        [*turn("1", fate="dead", raised="OSError", key="k"), *turn("2", key="k")],
        [*turn("1", fate="diverted", raised="OSError", key="k"), *turn("2", key="k")],
        [accepted("1"), *turn("1", fate="retried"), accepted("2"), *turn("2"), *turn("1")],
        [*STASHED, line("due", "2"), line("due", "1"), *turn("1"), *turn("2")],
        [*STASHED, line("due", "1"), line("aside"), line("due", "2"), *turn("2"), *turn("1")],
        [*STASHED, line("due", "2"), *turn("2"), line("due", "1"), *turn("1")],
        [*OTHERS, *turn("3", box=2), *turn("1")],
    ],
    "attempts": [
        [*turn("1", fate="retried"), *turn("1", attempt=2)],
        [*turn("1", fate="given back"), *turn("1")],
        [*turn("1", fate="retried"), *turn("1", copy=2)],
        [*turn("1", fate="retried", until=5.0), *turn("1", attempt=2, at=5.0)],
        [*turn("1", fate="retried"), *turn("1", life=2)],
    ],
    "no silent drop": [
        [accepted("1"), *turn("1"), line("over")],
        [accepted("1"), line("kept"), line("over")],
        [accepted("1"), line("over", life=2)],
        [line("told", path="/s"), line("lost", path="/"), line("over", life=2)],
        [accepted("1", piece=True), line("over")],
        [*turn("1", outbox=(Sent("/s/b", "1.0", 5.0),)), LATER, DONE, line("over")],
        [*turn("1", outbox=(Sent("/s/b", "1.0", 5.0),)), line("kept", "1.0"), line("over")],
        [accepted("1"), line("found", run=2), *turn("1", run=2), line("over")],
    ],
    "no orphan": [[*turn("1"), line("over")], [turn("1")[0]]],
    "exactly-once state": [
        [*FIRST, *turn("1", life=2, actor=2, incarnation=2, found=b"0", restored=True)],
        [*FIRST, *turn("2", life=2, actor=2, incarnation=2, found=b"1", restored=True)],
        [*FIRST, *turn("2", life=2, actor=2, found=b"2", restored=True)],  # Another one.
        [*FIRST, line("answered"), line("lost", path="/"), *turn("1", life=2, actor=2)],
        [*turn("1"), line("answered"), *turn("1", life=2, actor=2)],  # Nothing has changed.
        [*SENDS, SENT, *GOES_ON, DONE, line("over", life=2)],
        [  # Its asker was given up, and asks anew.
            line("dead", "1"),
            *turn("1.0", found=b"0", left=b"1", changed=("sum",)),
            *turn("1.0", life=2, actor=2, incarnation=2, found=b"1", restored=True),
        ],
    ],
}


def test_there_is_a_case_for_each_law() -> None:
    assert set(BROKEN) == set(KEPT) == set(LAWS)


@pytest.mark.parametrize(
    ("law", "moves"), [(law, moves) for law, cases in BROKEN.items() for moves in cases]
)
def test_what_breaks_a_law_is_told(law: str, moves: list[Move]) -> None:
    assert LAWS[law](moves) != []


@pytest.mark.parametrize(
    ("law", "moves"), [(law, moves) for law, cases in KEPT.items() for moves in cases]
)
def test_what_keeps_a_law_is_not(law: str, moves: list[Move]) -> None:
    assert LAWS[law](moves) == []


def test_what_is_no_history_is_refused() -> None:
    simulation = simulate(shop)
    for wrong in (simulation, "x", [1]):
        with pytest.raises(ConfigurationError, match=r"a history of moves, such as sim"):
            LAWS["order"](wrong)  # type: ignore[arg-type]
    for law in LAWS.values():
        assert law(iter(simulation.moves)) == []  # type: ignore[arg-type]
        law(simulation.moves[3:])


# And is looked at -------------------------------------------------------------------------


def spoilt(change: Callable[[Any], object]) -> Callable[[World], Any]:
    """A system of which something is spoilt while it runs."""

    async def main(world: World) -> None:
        async with ActorSystem("shop") as system:
            till = await system.spawn(Till(), name="till")
            assert await till.ask(1) == 1
            change(till.cell)
            assert isinstance(await till.ask(1), int)

    return main


@attrs.frozen
class Spoils:
    """Does *what* to the mailbox of a cell."""

    what: Callable[[Mailbox], object]

    def __call__(self, cell: Any) -> None:
        self.what(cell.mailbox)


def _one_more(mailbox: Mailbox) -> None:
    mailbox.accepted += 1


def _held(mailbox: Mailbox) -> None:
    mailbox.kernel.held += 1


def _promised(mailbox: Mailbox) -> None:
    mailbox.reserved += 1


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (_one_more, "conservation: /shop/till: accepted 3 != acknowledged 1 + failed 0 + here 1"),
        (_held, "conservation: /shop: held 2 != here 1 + later 0"),
        (_promised, "conservation: /shop/till: 1 places are promised to nobody"),
    ],
)
def test_the_books_are_looked_at_after_each_step(what: Any, said: str) -> None:
    with pytest.raises(LawBroken, match=said.replace("+", r"\+")):
        simulate(spoilt(Spoils(what)))


def test_a_field_that_changes_between_two_turns_is_seen() -> None:
    def change(cell: Any) -> None:
        cell.instance.sum = 7

    with pytest.raises(LawBroken, match=r"atomic turn: .* took effect, and the next .* found sum"):
        simulate(spoilt(change), faults=FaultPlan())
