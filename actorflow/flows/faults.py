"""Count what ended messages, by stage and type, with one example of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from actorflow.core.letters import DeadLetter
from actorflow.errors import StoredError, shown
from actorflow.flows.results import ErrorCount, ErrorSummary, FailedItem

__all__ = ["Faults"]

#: Different errors that are counted by stage and type; others are counted together.
ERRORS_KEPT = 100

#: Most characters of an error's text that are told of a failed item.
TEXT_WIDTH = 500


class Faults:
    """What ended messages in one run."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}

    def add(self, letter: DeadLetter) -> None:
        """Count one more."""
        key = (letter.stage_or_actor, kind_of(letter))
        if key not in self._counts and len(self._counts) >= ERRORS_KEPT:
            key = ("*", "others")
        self._counts[key] += 1
        if key not in self._examples:
            self._examples[key] = text_of(letter)

    def counts(self) -> tuple[ErrorCount, ...]:
        """By stage and type, most frequent first."""
        return tuple(
            ErrorCount(stage=stage, type=kind, count=count, example=self._examples[stage, kind])
            for (stage, kind), count in self._counts.most_common()
        )

    def summary(self, letters: Sequence[DeadLetter], total: int, most: int) -> ErrorSummary:
        """All in one value.

        Args:
            letters: The dead letters that are kept.
            total: How many there have been.
            most: How many of them to tell of, the last ones.
        """
        by_type: Counter[str] = Counter()
        by_stage: Counter[str] = Counter()
        for (stage, kind), count in self._counts.items():
            by_type[kind] += count
            by_stage[stage] += count
        return ErrorSummary(
            total=total,
            by_type=dict(by_type.most_common()),
            by_stage=dict(by_stage.most_common()),
            counts=self.counts(),
            failed=tuple(map(_failed, letters[max(0, len(letters) - most) :])),
        )

    def dump(self) -> list[list[Any]]:
        """All of it as plain values, for `load`."""
        return [
            [stage, kind, count, self._examples[stage, kind]]
            for (stage, kind), count in self._counts.items()
        ]

    def load(self, known: Iterable[Sequence[Any]]) -> None:
        """Go on from what `dump` gave."""
        for stage, kind, count, example in known:
            self._counts[stage, kind] = count
            self._examples[stage, kind] = example


def kind_of(letter: DeadLetter) -> str:
    """The type of its error, or why it died if nothing was raised."""
    error = letter.error
    if isinstance(error, StoredError):
        return error.kind
    return letter.reason if error is None else type(error).__name__


def text_of(letter: DeadLetter) -> str:
    """What its error says, or why it died."""
    error = letter.error
    if error is None:
        return letter.reason
    try:
        return error.text if isinstance(error, StoredError) else str(error)
    except Exception:
        return shown(error)


def _failed(letter: DeadLetter) -> FailedItem:
    return FailedItem(
        id=letter.id if letter.item is None else letter.item,
        stage=letter.stage_or_actor,
        type=kind_of(letter),
        error=text_of(letter)[:TEXT_WIDTH],
        reason=letter.reason,
        attempts=letter.attempts,
        at=letter.at,
        replays=letter.replays,
    )
