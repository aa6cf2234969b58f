"""The laws of `docs/guarantees.md`, each a function from a history of moves to what breaks it.

LAWS["order"](simulation.moves)      nothing, or a line for each time it does not hold

A history that ends with the death of the process is judged as far as it goes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from actorflow.testing.moves import Move, Sent
from actorflow.testing.story import Story, Told

__all__ = ["LAWS", "Law", "broken_laws"]

#: How a message comes to be in a mailbox.
_COMES = ("found", "accepted", "due")

Law: TypeAlias = "Callable[[Sequence[Move]], list[str]]"


def one_turn(story: Story) -> list[str]:
    """An actor begins no turn before the one before has ended."""
    texts: list[str] = []
    for path, own in story.actors.items():
        for turn, following in itertools.pairwise(own):
            same = turn.begun.life == following.begun.life
            end = turn.ended
            if same and (end is None or end.step > following.begun.step):
                texts.append(f"{path} began {following.begun} before the end of {turn.begun}")
    return texts


def atomic_turn(story: Story) -> list[str]:
    """Fields, messages sent and the acknowledgement change together, or not at all."""
    texts: list[str] = []
    for path, own in story.actors.items():
        for turn in own:
            if turn.sent or (turn.ended is not None and turn.ended.outbox):
                texts += _sent_otherwise(path, turn)
        for turn, following in itertools.pairwise(own):
            if _same_incarnation(turn, following):
                texts += _other_fields(path, turn, following)
    return texts


def _sent_otherwise(path: str, turn: Told) -> Iterator[str]:
    """What the commit of *turn* has sent that it should not have, or the other way round."""
    happened, sent = turn.happened, [Sent(each.path, each.message) for each in turn.sent]
    if not happened and sent and happened is not None:
        yield f"{path} sent {sent}, and the turn has not happened: {turn.begun}"
    if happened and turn.ended is not None:
        expected = list(turn.ended.outbox)
        listed = [each for each in sent if each in expected]
        if listed != expected:
            yield f"{path} sent {sent} instead of {expected}: {turn.begun}"
        steps = {each.step for each in turn.sent}
        if turn.fate is not None:
            steps.add(turn.fate.step)
        if len(steps) > 1:
            yield f"{path} took effect in steps {sorted(steps)}: {turn.begun}"


def _same_incarnation(turn: Told, following: Told) -> bool:
    here, there = turn.begun, following.begun
    return (here.life, here.incarnation) == (there.life, there.incarnation)


def _other_fields(path: str, turn: Told, following: Told) -> Iterator[str]:
    if turn.begun.state is None or turn.happened is None:
        return
    expected = turn.after if turn.happened else turn.before
    if not _equal(expected, following.before):
        what = "took effect" if turn.happened else "has not happened"
        names = sorted(
            name
            for name in {*expected, *following.before}
            if not _equal(expected.get(name, turn), following.before.get(name, turn))
        )
        yield f"{path} {what} and the next one began with other {names}: {turn.begun}"


def _equal(one: Any, other: Any) -> bool:
    """Whether they are the same, as far as they can tell."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    try:
        return bool(one == other)
    except Exception:
        return True  # Of a value that cannot be compared nothing can be said.


def order(story: Story) -> list[str]:
    """First in, first out: of what a mailbox has accepted with one priority; where messages have
    keys, of those with one key. An actor's message whose turn was cut off keeps its place."""
    accepted: dict[tuple[Any, ...], tuple[int, Move]] = {}
    taken: dict[tuple[Any, ...], tuple[int, Move]] = {}
    begun: dict[tuple[Any, ...], list[tuple[int, Move]]] = {}
    for number, move in enumerate(story.moves):
        kind = move.kind
        here = (move.mailbox or move.path, move.life, move.message, move.copy)
        if kind == "accepted":
            accepted[here] = number, move
        elif kind == "begun":
            place = accepted.pop(here, None)
            if place is not None:
                taken[here] = place
                lane = (move.life, move.mailbox, move.priority)
                begun.setdefault(lane, []).append((place[0], move))
        elif kind == "aside":  # It lets others pass.
            accepted.pop(here, None)
        elif kind in ("retried", "stashed"):  # It comes in anew.
            taken.pop(here, None)
        elif kind == "given back" and not move.piece and here in taken:
            accepted[here] = taken[here]
    overtaken = [text for lane in begun.values() for text in _overtaken(lane, story.keyed)]
    return [*overtaken, *_side_by_side(story.moves)] if story.keyed else overtaken


def _overtaken(lane: list[tuple[int, Move]], keyed: bool) -> Iterator[str]:
    """Who in a *lane*, in the order of being begun, was accepted after one that came later."""
    if all(one < other for (one, _), (other, _) in itertools.pairwise(lane)):
        return
    keyed = keyed and any(move.key is not None for _, move in lane)
    latest: dict[Any, tuple[int, Move]] = {}
    for place, move in lane:
        if keyed and move.key is None:
            continue
        key = repr(move.key)
        if key in latest and place < latest[key][0]:
            yield f"{move} was accepted before, and begun after: {latest[key][1]}"
        latest[key] = max(latest.get(key, (place, move)), (place, move), key=lambda each: each[0])


def _side_by_side(moves: Sequence[Move]) -> Iterator[str]:
    """Who was begun while another message with its key was handled, or waited for a retry."""
    holders: dict[tuple[Any, ...], Move] = {}
    keys: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for move in moves:
        match move.kind:
            case "begun" if move.key is not None:
                key = keys[move.of] = (move.life, move.mailbox, repr(move.key))
                holder = holders.setdefault(key, move)
                if holder.of != move.of:
                    yield f"{move} was begun while its key was held: {holder}"
            case "ended" if not move.raised:
                holders.pop(keys.pop(move.of, ()), None)
            case "dead" | "acknowledged":
                holders.pop(keys.pop(move.of, ()), None)


def attempts(story: Story) -> list[str]:
    """The number of a message's attempt rises by one with each that has failed."""
    texts, last = [], dict[tuple[Any, ...], Told]()
    if not story.kinds & {"retried", "given back"}:
        return []
    for turn in story.turns:
        begun = turn.begun
        before = last.get((begun.mailbox, *begun.of))
        last[begun.mailbox, *begun.of] = turn
        if before is None:
            continue
        fate = None if before.fate is None else before.fate.kind
        wanted = before.begun.attempt + (fate != "given back")
        if fate in ("retried", "given back") and begun.attempt != wanted:
            texts.append(f"{begun} follows {before.begun}, which was {fate}")
    return texts


def no_silent_drop(story: Story) -> list[str]:
    """When the program is over, each message of an actor is acknowledged, a dead letter, or on the
    disk."""
    if not story.over:
        return []
    moves = story.moves
    promised, settled, kept = dict[Any, Move](), set[Any](), set[Any]()
    for move in moves:
        match move.kind:
            case "lost":
                promised.clear()
            case "told":
                promised[move.system, move.message] = move
            case "kept":
                kept.add((move.system, move.message))
            case "acknowledged" | "dead":
                settled |= {move.of, (move.system, move.message)}
    last = [move for move in moves if move.life == moves[-1].life and move.kind in _COMES]
    here = {move.of: move for move in last if not move.piece}
    return [
        f"nothing is left of {move}"
        for of, move in {**promised, **here}.items()
        if of not in settled and (move.system, move.message) not in kept
    ]


def no_orphan(story: Story) -> list[str]:
    """When the program is over, no turn runs any more."""
    life = story.moves[-1].life if story.over else None
    left = [turn.begun for turn in story.turns if turn.begun.life == life and turn.ended is None]
    return [f"nobody has ended {each}" for each in left]


def exactly_once(story: Story) -> list[str]:
    """A durable actor goes on from what a turn has left, and that turn never happens again; nor
    does one whose answer the outside has."""
    texts: list[str] = []
    if "answered" in story.kinds:
        texts += _answered_again(story)
    if story.durable:
        foreign = _foreign(story.moves)
        for own in story.actors.values():
            lives: dict[int, list[Told]] = {}
            for turn in own:
                lives.setdefault(turn.begun.life, []).append(turn)
            for one, other in itertools.pairwise(sorted(lives)):
                later = [turn for turn in own if turn.begun.life >= other]
                texts += _gone_on_otherwise(lives[one], later, foreign)
    return texts


def _answered_again(story: Story) -> Iterator[str]:
    """Who was begun in another life though the outside had the answer, to which something had
    changed."""
    answered = _answered(story.moves)
    for own in story.actors.values():
        for turn in own:
            begun = turn.begun
            if turn.changes and (begun.life, begun.path, begun.message) in answered:
                for each in own:
                    if each.begun.message == begun.message and each.begun.life > begun.life:
                        yield f"{each.begun}, though the outside had the answer: {begun}"


def _answered(moves: Sequence[Move]) -> set[tuple[int, str, str]]:
    """The questions that the outside has the answers to, of which the disk has lost none."""
    found: set[tuple[int, str, str]] = set()
    for move in moves:
        if move.kind == "answered":
            found.add((move.life, move.path, move.message))
        elif move.kind == "lost":
            found.clear()
    return found


def _foreign(moves: Sequence[Move]) -> set[str]:
    """Messages of systems that begin anew with each life, and number them as before."""
    abroad = {move.message for move in moves if "/" in move.message}
    if not abroad:
        return abroad
    durable = {move.system for move in moves if move.durable}
    return {message for message in abroad if message.partition("/")[0] not in durable}


def _gone_on_otherwise(life: list[Told], later: list[Told], foreign: set[str]) -> Iterator[str]:
    """How an actor has gone on in *later* lives that does not go together with the one before."""
    first = later[0].begun
    if not first.durable or first.incarnation == life[0].begun.incarnation:
        return
    happened = [turn for turn in life if turn.happened is not False]
    states = [life[0].before, *(turn.after for turn in happened)]
    places = [place for place, each in enumerate(states) if _equal(each, later[0].before)]
    if not places:
        yield f"{first} has fields that no turn of the life before has left"
        return
    again = {turn.begun.message for turn in later} - foreign
    twice = [
        turn.begun
        for turn in happened[: places[0]]
        if turn.begun.message in again and turn.fate is not None and turn.fate.kind != "stashed"
    ]
    if twice:
        yield f"{first} has the fields that {twice[0]} has left, and that one came again"


_LAWS: Mapping[str, Callable[[Story], list[str]]] = {
    "one turn": one_turn,
    "atomic turn": atomic_turn,
    "order": order,
    "attempts": attempts,
    "no silent drop": no_silent_drop,
    "no orphan": no_orphan,
    "exactly-once state": exactly_once,
}


def _law(check: Callable[[Story], list[str]]) -> Law:
    return functools.wraps(check)(lambda moves: check(Story(moves)))


LAWS: Mapping[str, Law] = MappingProxyType({name: _law(each) for name, each in _LAWS.items()})


def broken_laws(moves: Sequence[Move]) -> list[str]:
    """What breaks any of them."""
    story = Story(moves)
    return [f"{name}: {text}" for name, law in _LAWS.items() for text in law(story)]
