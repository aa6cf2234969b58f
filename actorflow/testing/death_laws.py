"""Exactly-once state, on a history of moves over several lives; see `move_laws`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from actorflow.testing.moves import Move
from actorflow.testing.story import Story, Told

__all__ = ["exactly_once"]


def exactly_once(story: Story) -> list[str]:
    """A durable actor goes on from what a turn has left, and that turn never happens again; nor
    does one whose answer the outside has."""
    texts: list[str] = []
    paths: dict[str, list[list[Told]]] = {}
    if story.restored or "answered" in story.kinds:
        for own in story.actors.values():
            paths.setdefault(own[0].begun.path, []).append(own)
    if "answered" in story.kinds:
        texts += _answered_again(story.moves, paths)
    if story.restored:
        again, there = _may_come_again(story.moves), _settled(story)
        for lives in paths.values():
            for number, (one, other) in enumerate(itertools.pairwise(lives), 1):
                later = list(itertools.chain.from_iterable(lives[number:]))
                texts += _gone_on_otherwise(one, other[0].begun, later, again, there)
    return texts


def _answered_again(moves: Sequence[Move], paths: Mapping[str, list[list[Told]]]) -> Iterator[str]:
    """Who was begun in another life though the outside had the answer, to which something had
    changed."""
    answered: set[tuple[int, str, str]] = set()
    for move in moves:
        if move.kind == "answered":
            answered.add((move.life, move.path, move.message))
        elif move.kind == "lost":
            answered.clear()
    for lives in paths.values():
        own = list(itertools.chain.from_iterable(lives))
        for turn in own:
            begun = turn.begun
            if (begun.life, begun.path, begun.message) in answered and turn.changes:
                for each in own:
                    if each.begun.message == begun.message and each.begun.life > begun.life:
                        yield f"{each.begun}, though the outside had the answer: {begun}"


def _may_come_again(moves: Sequence[Move]) -> set[str]:
    """Messages of systems that begin anew with each life, and number them as before; and what was
    asked for a message that was given up: who asks that again begins it all anew."""
    durable = {move.system for move in moves if move.digest}
    dead = {move.message for move in moves if move.kind == "dead"}
    found = set()
    for message in {move.message for move in moves}:
        home, slash, _ = message.partition("/")
        above = itertools.accumulate(message.split("."), "{}.{}".format)
        if (slash and home not in durable) or not dead.isdisjoint({*above} - {message}):
            found.add(message)
    return found


def _settled(story: Story) -> set[tuple[str, str]] | None:
    """The messages that were done in some life, or are on the disk in the end; `None` before it."""
    if not story.over:
        return None
    ends = ("acknowledged", "diverted", "dead", "kept")
    return {(move.system, move.message) for move in story.moves if move.kind in ends}


def _gone_on_otherwise(
    life: list[Told],
    first: Move,
    later: list[Told],
    anew: set[str],
    there: set[tuple[str, str]] | None,
) -> Iterator[str]:
    """How an actor has gone on with its *first* turn, and *later* ones, that does not go together
    with the *life* before."""
    if not (first.restored and first.incarnation > 1 and first.digest and life[0].begun.digest):
        return  # Begun anew, or of fields that nobody can compare.
    happened = [turn for turn in life if turn.happened is not False and turn.ended is not None]
    left = [life[0].begun.digest, *(turn.ended.digest for turn in happened if turn.ended)]
    if first.digest not in left:
        yield f"{first} has fields that no turn of the life before has left"
        return
    again = {turn.begun.message for turn in later} - anew
    survived = happened[: left.index(first.digest)]
    for turn in survived:
        if there is None or turn.ended is None or turn.fate is None:
            continue
        for each in turn.ended.outbox:
            system = each.to.split("/", 2)[1]
            if system == first.system and (system, each.message) not in there:
                yield f"{first} has the fields that {turn.begun} has left, which sent {each}: lost"
    twice = [
        turn.begun
        for turn in survived
        if turn.begun.message in again and turn.fate is not None and turn.fate.kind != "stashed"
    ]
    if twice:
        yield f"{first} has the fields that {twice[0]} has left, and that one came again"
