"""The turns in a history of moves, and how each of them was decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from actorflow.testing.moves import Move

__all__ = ["Told", "told", "turns"]


@attrs.define
class Told:
    """A turn, as a history tells of it.

    Attributes:
        begun: Its first line, and the number of that in the history.
        ended: The line of its handler's end, if there was one.
        fate: The line that decides it: "acknowledged", "stashed", "retried", "given back" or
            "dead"; `None` if nothing is said of it, as of a stage that hands on what it was given,
            or if the process died.
        sent: Messages that its commit has put somewhere, in order.
    """

    begun: Move
    number: int
    ended: Move | None = None
    fate: Move | None = None
    sent: list[Move] = attrs.Factory(list)

    @property
    def happened(self) -> bool | None:
        """Whether it took effect; `None` if that is not known."""
        if self.ended is None or self.ended.raised:
            return False
        if self.fate is None:
            return None
        return self.fate.kind in ("acknowledged", "stashed")

    @property
    def changes(self) -> bool:
        """Whether it took effect, and there is something that has changed by it."""
        if not self.happened or self.ended is None:
            return False
        return bool(self.ended.outbox) or self.before != self.after

    @property
    def before(self) -> Mapping[str, Any]:
        """The actor's fields when it began."""
        return self.begun.state or {}

    @property
    def after(self) -> Mapping[str, Any]:
        """They as its handler has left them."""
        assert self.ended is not None
        return self.ended.state or {}


def told(moves: Sequence[Move]) -> list[Told]:
    """The turns, in the order in which they began."""
    found: list[Told] = []
    running: dict[tuple[int, str], Told] = {}
    undecided: dict[tuple[int, str, str, int], Told] = {}
    for number, move in enumerate(moves):
        match move.kind:
            case "begun":
                turn = Told(move, number)
                found.append(turn)
                running[move.life, move.path] = undecided[move.of] = turn
            case "ended":
                running[move.life, move.path].ended = move
            case "accepted" if move.sent:
                sender = running.get((move.life, move.sender))
                if sender is not None:
                    sender.sent.append(move)
            case "acknowledged" | "stashed" | "retried" | "given back" | "dead":
                decided = undecided.pop(move.of, None)
                if decided is not None:
                    decided.fate = move
    return found


def turns(moves: Sequence[Move]) -> Iterator[tuple[str, list[Told]]]:
    """Those of each actor or worker."""
    by: dict[str, list[Told]] = {}
    for turn in told(moves):
        by.setdefault(turn.begun.path, []).append(turn)
    yield from by.items()
