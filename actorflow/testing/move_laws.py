"""The laws of `docs/guarantees.md`, each a function from a history of moves to what breaks it.

LAWS["order"](simulation.moves)      nothing, or a line for each time it does not hold

A history that ends with the death of the process is judged as far as it goes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from actorflow.errors import ConfigurationError
from actorflow.testing.death_laws import exactly_once
from actorflow.testing.moves import Move, Sent
from actorflow.testing.story import Story, Told

__all__ = ["LAWS", "Law", "broken_laws"]

#: Seconds by which what comes in time may seem to be too early.
EARLY = 1e-6

#: How a message comes to be in a mailbox.
_COMES = ("found", "accepted", "due")

Law: TypeAlias = "Callable[[Sequence[Move]], list[str]]"


def one_turn(story: Story) -> list[str]:
    """An actor begins no turn before the one before has ended."""
    texts: list[str] = []
    for own in story.actors.values():
        for turn, following in itertools.pairwise(own):
            if turn.ended is None or turn.ended.step > following.begun.step:
                texts.append(f"{following.begun} before the end of {turn.begun}")
    return texts


def atomic_turn(story: Story) -> list[str]:
    """Fields, messages sent and the acknowledgement change together, or not at all."""
    texts: list[str] = []
    for own in story.actors.values():
        for turn in own:
            if turn.sent or (turn.ended is not None and turn.ended.outbox):
                texts += _sent_otherwise(turn)
        for turn, following in itertools.pairwise(own):
            happened = turn.happened
            if happened is not None:
                names = following.begun.amiss[not happened]
                if names:
                    how = "took effect" if happened else "has not happened"
                    texts.append(
                        f"{turn.begun} {how}, and the next turn has found {', '.join(names)} "
                        "otherwise (or they were changed between the turns, or in place)"
                    )
    return texts


def _sent_otherwise(turn: Told) -> Iterator[str]:
    """What the commit of *turn* has sent that it should not have, or the other way round."""
    happened, sent = turn.happened, [Sent(each.path, each.message) for each in turn.sent]
    if not happened and sent and happened is not None:
        yield f"{turn.begun} has not happened, and has sent {sent}"
    if happened and turn.ended is not None:
        expected = [each for each in turn.ended.outbox if not each.delay]
        listed = [each for each in sent if each in expected]
        if listed != expected:
            yield f"{turn.begun} has sent {sent} instead of {expected}"
        steps = {each.step for each in turn.sent}
        if turn.fate is not None:
            steps.add(turn.fate.step)
        if len(steps) > 1:
            yield f"{turn.begun} took effect in steps {sorted(steps)}"


def order(story: Story) -> list[str]:
    """First in, first out: of what a mailbox has accepted with one priority; where messages have
    keys, of those with one key. An actor's message whose turn was cut off keeps its place."""
    accepted: dict[tuple[Any, ...], tuple[int, Move]] = {}
    taken: dict[tuple[Any, ...], tuple[int, Move]] = {}
    begun: dict[tuple[Any, ...], list[tuple[int, Move]]] = {}
    for number, move in enumerate(story.moves):
        kind = move.kind
        here = (move.box, *move.of)
        if kind == "accepted":
            accepted[here] = number, move
        elif kind == "begun":
            place = accepted.pop(here, None)
            if place is not None:
                taken[here] = place
                lane = (move.life, move.box, move.priority)
                begun.setdefault(lane, []).append((place[0], move))
        elif kind == "aside":  # It lets others pass.
            accepted.pop(here, None)
        elif kind in ("retried", "stashed"):  # It comes in anew.
            taken.pop(here, None)
        elif kind == "given back" and not move.piece and here in taken:
            accepted[here] = taken[here]
    texts = [text for lane in begun.values() for text in _overtaken(lane, story.keyed)]
    if story.keyed:
        texts += _side_by_side(story.moves)
    if "stashed" in story.kinds:
        texts += _unstashed(story.moves)
    return texts


def _overtaken(lane: list[tuple[int, Move]], keyed: bool) -> Iterator[str]:
    """Who in a *lane*, in the order of being begun, was accepted after one that came later."""
    if all(one < other for (one, _), (other, _) in itertools.pairwise(lane)):
        return
    keyed = keyed and any(move.key is not None for _, move in lane)
    latest: dict[Any, tuple[int, Move]] = {}
    for place, move in lane:
        if keyed and move.key is None:
            continue
        key = move.key
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
                key = keys[move.of] = (move.life, move.box, move.key)
                holder = holders.setdefault(key, move)
                if holder.of != move.of:
                    yield f"{move} was begun while its key was held: {holder}"
            case "ended" if not move.raised:
                holders.pop(keys.pop(move.of, ()), None)
            case "dead" | "acknowledged" | "diverted":
                holders.pop(keys.pop(move.of, ()), None)


def _unstashed(moves: Sequence[Move]) -> Iterator[str]:
    """Who of those that were unstashed together is begun before one that was stashed earlier."""
    went: dict[tuple[Any, ...], int] = {}
    back: dict[tuple[Any, ...], tuple[int, int]] = {}
    latest: dict[int, tuple[int, Move]] = {}
    group, last = -1, (-1, -1)
    for number, move in enumerate(moves):
        here = (move.box, *move.of)
        if move.kind == "stashed":
            went[here] = number
        elif move.kind == "due" and here in went:
            group = group if last == (number - 1, move.box) else number
            last = number, move.box
            back[here] = group, went.pop(here)
        elif move.kind == "aside":
            back.pop(here, None)
        elif move.kind == "begun" and here in back:
            together, place = back.pop(here)
            before = latest.get(together)
            if before is not None and place < before[0]:
                yield f"{move} was stashed before, and begun after: {before[1]}"
            latest[together] = max(before or (place, move), (place, move), key=lambda it: it[0])


def attempts(story: Story) -> list[str]:
    """The number of a message's attempt rises by one with each that has failed, and it is begun no
    sooner than its retry is due."""
    texts, last = [], dict[tuple[Any, ...], Told]()
    if not story.kinds & {"retried", "given back"}:
        return []
    for turn in story.turns:
        begun = turn.begun
        before = last.get((begun.box, *begun.of))
        last[begun.box, *begun.of] = turn
        if before is None:
            continue
        fate = None if before.fate is None else before.fate.kind
        wanted = before.begun.attempt + (fate != "given back")
        if fate in ("retried", "given back") and begun.attempt != wanted:
            texts.append(f"{begun} follows {before.begun}, which was {fate}")
        if before.fate is not None and begun.at < before.fate.until - EARLY:
            texts.append(f"{begun} is too early for {before.begun}, {before.fate}")
    return texts


def no_silent_drop(story: Story) -> list[str]:
    """When the program is over, each message of an actor is acknowledged, a dead letter, or on the
    disk."""
    if not story.over:
        return []
    moves = story.moves
    promised, settled, kept = dict[Any, Move](), set[Any](), set[Any]()
    parked: dict[Any, set[Any]] = {}
    for move in moves:
        match move.kind:
            case "lost":
                promised.clear()
            case "told":
                promised[move.system, move.message] = move
            case "kept":
                kept.add((move.system, move.message))
            case "found":  # In the same life: the system was parked, and goes on.
                settled |= parked.get((move.life, move.system, move.message), set())
            case "acknowledged" | "diverted" | "dead":
                settled |= {move.of, (move.system, move.message)}
        if move.kind in _COMES and not move.piece:
            parked.setdefault((move.life, move.system, move.message), set()).add(move.of)
    last = [move for move in moves if move.life == moves[-1].life and move.kind in _COMES]
    here = {move.of: move for move in last if not move.piece}
    lost = [
        f"nothing is left of {move}"
        for of, move in {**promised, **here}.items()
        if of not in settled and (move.system, move.message) not in kept
    ]
    return [*lost, *_never_sent(story, kept)]


def _never_sent(story: Story, kept: set[Any]) -> Iterator[str]:
    """What was to be sent after a delay, by a turn of the last life, and was not, or too early."""
    life, came = story.moves[-1].life, dict[tuple[str, str], Move]()
    for turn in story.turns:
        end = turn.ended
        if end is None or not turn.happened or end.life != life:
            continue
        for each in end.outbox:
            if each.delay and not came:
                for move in story.moves:
                    if move.life == life and move.kind == "accepted":
                        came[move.path, move.message] = move
            if each.delay and (each.to.split("/", 2)[1], each.message) not in kept:
                there = came.get((each.to, each.message))
                if there is None:
                    yield f"{turn.begun} has sent {each}, which never came"
                elif there.at < end.at + each.delay - EARLY and not turn.begun.piece:
                    yield f"{turn.begun} has sent {each}, which came too early: {there}"


def no_orphan(story: Story) -> list[str]:
    """When the program is over, no turn runs any more."""
    life = story.moves[-1].life if story.over else None
    left = [turn.begun for turn in story.turns if turn.begun.life == life and turn.ended is None]
    return [f"nobody has ended {each}" for each in left]


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
    @functools.wraps(check)
    def law(moves: Sequence[Move]) -> list[str]:
        moves = list(moves) if isinstance(moves, Iterable) else [moves]
        for each in moves:
            if not isinstance(each, Move):
                wanted = "a history of moves, such as simulation.moves"
                raise ConfigurationError(f"law of {check.__name__}", each, wanted)
        return check(Story(moves))

    return law


LAWS: Mapping[str, Law] = MappingProxyType({name: _law(each) for name, each in _LAWS.items()})


def broken_laws(moves: Sequence[Move]) -> list[str]:
    """What breaks any of them."""
    story = Story(moves)
    return [f"{name}: {text}" for name, law in _LAWS.items() for text in law(story)]
