"""What a history of moves tells: its turns, and how each of them was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from actorflow.testing.moves import Move

__all__ = ["Story", "Told"]


@attrs.define
class Told:
    """A turn, as a history tells of it.

    Attributes:
        begun: Its first line.
        ended: The line of its handler's end, if there was one.
        fate: The line that decides it: "acknowledged", "stashed", "retried", "given back" or
            "dead"; `None` if nothing is said of it, as of a stage that hands on what it was given,
            or if the process died.
        sent: Messages that its commit has put somewhere, in order.
    """

    begun: Move
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


class Story:
    """A history, read once for all laws.

    Args:
        moves: Its lines.

    Attributes:
        moves: Its lines.
        turns: In the order in which they began.
        actors: Those of each actor or worker, by its path.
        kinds: The kinds of its lines.
        keyed: Whether any message has a key,
        durable: and any actor goes on over deaths.
    """

    def __init__(self, moves: Sequence[Move]) -> None:
        self.moves = moves
        self.turns: list[Told] = []
        self.actors: dict[str, list[Told]] = {}
        self.kinds = {move.kind for move in moves}
        self.keyed = self.durable = False
        running: dict[tuple[int, str], Told] = {}
        undecided: dict[tuple[int, str, str, int], Told] = {}
        for move in moves:
            match move.kind:
                case "begun":
                    turn = Told(move)
                    self.keyed = self.keyed or move.key is not None
                    self.durable = self.durable or move.durable
                    self.turns.append(turn)
                    self.actors.setdefault(move.path, []).append(turn)
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

    @property
    def over(self) -> bool:
        """Whether the program has come to its end."""
        return bool(self.moves) and self.moves[-1].kind == "over"
