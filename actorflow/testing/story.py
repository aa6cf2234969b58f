"""What a history of moves tells: its turns, and how each of them was decided."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorflow.testing.moves import Move

__all__ = ["Story", "Told"]


@attrs.define
class Told:
    """A turn, as a history tells of it.

    Attributes:
        begun: Its first line.
        ended: The line of its handler's end, if there was one.
        fate: The line that decides it: "acknowledged", "stashed", "retried", "given back",
            "diverted" or "dead"; `None` if nothing is said of it, as of a stage that hands on
            what it was given, or if the process died.
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

    def sends(self, move: Move) -> bool:
        """Whether the message of *move* is one that this turn sends: `on_start` and `on_stop` send
        too."""
        parent, own = move.message.rpartition(".")[0], self.begun.message
        return self.fate is None and (parent == own or parent.endswith(f"/{own}"))

    @property
    def changes(self) -> bool:
        """Whether it took effect, and there is something that has changed by it."""
        return bool(self.happened and self.ended and (self.ended.outbox or self.ended.changed))


class Story:
    """A history, read once for all laws.

    Args:
        moves: Its lines.

    Attributes:
        moves: Its lines.
        turns: In the order in which they began.
        actors: Those of each actor or worker, by its life and number.
        kinds: The kinds of its lines.
        keyed: Whether any message has a key,
        restored: and any actor has gone on from what a store had.
    """

    def __init__(self, moves: Sequence[Move]) -> None:
        self.moves = moves
        self.turns: list[Told] = []
        self.actors: dict[tuple[int, int], list[Told]] = {}
        self.kinds = {move.kind for move in moves}
        self.keyed = self.restored = False
        running: dict[tuple[int, int], Told] = {}
        undecided: dict[tuple[int, int, str, int], Told] = {}
        for move in moves:
            match move.kind:
                case "begun":
                    turn = Told(move)
                    self.keyed = self.keyed or move.key is not None
                    self.restored = self.restored or move.restored
                    self.turns.append(turn)
                    self.actors.setdefault((move.life, move.actor), []).append(turn)
                    running[move.life, move.actor] = undecided[move.of] = turn
                case "ended" if (move.life, move.actor) in running:
                    running[move.life, move.actor].ended = move
                case "accepted" if move.sent:
                    sender = running.get((move.life, move.by))
                    if sender is not None and sender.sends(move):
                        sender.sent.append(move)
                case "acknowledged" | "stashed" | "retried" | "given back" | "diverted" | "dead":
                    decided = undecided.pop(move.of, None)
                    if decided is not None:
                        decided.fate = move

    @property
    def over(self) -> bool:
        """Whether the program has come to its end."""
        return bool(self.moves) and self.moves[-1].kind == "over"
