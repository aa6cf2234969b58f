"""Check that what an actor answered could have come from one call at a time.

    assert_linearizable(recorder, step, initial=0)       step(state, call) -> (state, answer)

A history is linearizable if there is an order of its calls in which the model gives the very
answers that were recorded, and no call comes before one that had returned when it began.
Histories of several keys are linearizable if that of each key is, so each is checked alone.

The search is that of Wing and Gong with Lowe's memory of what was tried: (calls done, state).
It is quick while few calls overlap; calls whose outcome is unknown overlap with all that follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing.recorder import Operation

__all__ = [
    "Counterexample",
    "assert_linearizable",
    "find_counterexample",
]

State = TypeVar("State", bound=Hashable)

#: Operations that a counterexample shows; of a longer one the last.
SHOWN = 24


@attrs.frozen
class Counterexample:
    """Why a history is not linearizable: its shortest beginning that is not.

    Attributes:
        key: Whose history.
        operations: The calls that had begun when the last answer came, by their beginning; those
            that had not ended then are unknown.
        last: The call whose answer no order explains.
        best: The longest order of other calls that the model agrees to.
        instead: What the model answers to the last call, after that order.
    """

    key: Hashable
    operations: tuple[Operation, ...]
    last: Operation
    best: tuple[Operation, ...]
    instead: Any

    def __str__(self) -> str:
        return "\n".join(_drawn(self))


def find_counterexample(
    history: Iterable[Operation],
    step: Callable[[State, Any], tuple[State, Any]],
    initial: State,
) -> Counterexample | None:
    """The first key whose history is not linearizable, and why; `None` if all are.

    Args:
        history: Operations in any order, or a `Recorder`.
        step: The model, pure: the state and the answer after a call.
        initial: The state that each key begins with; states are hashable.

    Raises:
        ConfigurationError: A state is not hashable, the model gives no pair, or the history is
            none of operations.
    """
    keys: dict[Hashable, list[Operation]] = {}
    options.function("step, the model,", step, "state", "call")
    for each in _operations(history):
        if each.outcome != "failed":
            keys.setdefault(each.key, []).append(each)
    for key, operations in keys.items():
        operations.sort(key=lambda each: each.invoked)
        if _order(operations, step, initial)[0]:
            continue
        return _shortest(key, operations, step, initial)
    return None


def assert_linearizable(
    history: Iterable[Operation],
    step: Callable[[State, Any], tuple[State, Any]],
    initial: State,
) -> None:
    """Raise an `AssertionError` with the counterexample of `find_counterexample`, if any.

    Args:
        history: Operations in any order, or a `Recorder`.
        step: The model, pure: the state and the answer after a call.
        initial: The state that each key begins with; states are hashable.

    Raises:
        AssertionError: No order of one call at a time explains the answers.
        ConfigurationError: As of `find_counterexample`.
    """
    found = find_counterexample(history, step, initial)
    if found is not None:
        raise AssertionError(str(found))


def _operations(history: Any) -> Iterable[Operation]:
    if not isinstance(history, Iterable):
        raise ConfigurationError("a history", history, "a Recorder, or several Operations")
    for each in history:
        if not isinstance(each, Operation):
            raise ConfigurationError("what is in a history", each, "an Operation")
        yield each


def _order(
    operations: Sequence[Operation],
    step: Callable[[State, Any], tuple[State, Any]],
    initial: State,
) -> tuple[bool, list[int], State]:
    """Whether *operations*, by their beginning, have an order; the longest found; its state."""
    wanted = sum(1 << n for n, each in enumerate(operations) if each.outcome == "returned")
    path: list[int] = []
    best: tuple[list[int], State] = ([], initial)
    tried = {(0, _hashable(initial))}
    states, done = [initial], 0
    choices = [_candidates(operations, 0)]
    while done & wanted != wanted:
        for number in choices[-1]:
            operation = operations[number]
            state, answer = _answered(step, states[-1], operation.call)
            if operation.outcome == "returned" and answer != operation.answer:
                continue
            if (done | 1 << number, _hashable(state)) in tried:
                continue
            done |= 1 << number
            tried.add((done, state))
            path.append(number)
            states.append(state)
            choices.append(_candidates(operations, done))
            if len(path) > len(best[0]):
                best = (path.copy(), state)
            break
        else:
            choices.pop()
            if not path:
                return False, *best
            states.pop()
            done ^= 1 << path.pop()
    return True, path, states[-1]


def _candidates(operations: Sequence[Operation], done: int) -> Iterator[int]:
    """Which operations may come next: no other that is not *done* had ended before they began."""
    number = (~done & (done + 1)).bit_length() - 1  # The first that is not done.
    ended = math.inf
    found = []
    while number < len(operations) and operations[number].invoked < ended:
        if not done >> number & 1:
            found.append(number)
            ended = min(ended, operations[number].returned)
        number += 1
    # Who ended first comes first, and what may never have been is tried last.
    return iter(sorted(found, key=lambda each: operations[each].returned))


def _answered(
    step: Callable[[State, Any], tuple[State, Any]], state: State, call: Any
) -> tuple[State, Any]:
    """What the model makes of *call*."""
    found: Any = step(state, call)
    if not (isinstance(found, tuple) and len(found) == 2):
        wanted = f"a pair (state, answer), after {call!r:.80}"
        raise ConfigurationError("what the model returns", found, wanted)
    return found


def _hashable(state: State) -> State:
    try:
        hash(state)
    except TypeError:
        wanted = "hashable: a number, a tuple, a frozenset, a frozen class"
        raise ConfigurationError("a state of the model", state, wanted) from None
    return state


def _shortest(
    key: Hashable,
    operations: list[Operation],
    step: Callable[[State, Any], tuple[State, Any]],
    initial: State,
) -> Counterexample:
    """The shortest beginning that is not linearizable; longer ones are not either."""
    ends = sorted(each.returned for each in operations if each.outcome == "returned")
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _order(_until(operations, ends[middle]), step, initial)[0]:
            low = middle + 1
        else:
            high = middle
    end = ends[low]
    cut = _until(operations, end)
    last = next(each for each in cut if each.returned == end)
    others = [each for each in cut if each is not last]
    _, best, state = _order(others, step, initial)
    order = tuple(others[number] for number in best)
    return Counterexample(key, tuple(cut), last, order, _answered(step, state, last.call)[1])


def _until(operations: list[Operation], end: float) -> list[Operation]:
    """The history as it was at *end*."""
    return [
        each
        if each.returned <= end
        else attrs.evolve(each, returned=math.inf, outcome="unknown", answer=None)
        for each in operations
        if each.invoked <= end
    ]


def _drawn(found: Counterexample) -> list[str]:
    shown = found.operations[-SHOWN:]
    moments = sorted({each.invoked for each in shown} | {each.returned for each in shown})
    column = {moment: number for number, moment in enumerate(moments)}
    width = len(moments)
    lines = [
        f"key {found.key!r} is not linearizable: no order of these calls explains the answer "
        f"{found.last.answer!r} to {found.last.call!r}"
    ]
    if len(shown) < len(found.operations):
        lines.append(f"  ... after {len(found.operations) - len(shown)} earlier calls")
    for each in shown:
        begin, end = column[each.invoked], column[each.returned]
        bar = (
            " " * begin + "├" + "─" * (end - begin - 1) + ("┤" if each.returned < math.inf else "─")
        )
        mark = "!" if each == found.last else " "
        lines.append(f"{mark} {bar.ljust(width)}  {each}")
    order = ", ".join(repr(each.call) for each in found.best[-SHOWN:]) or "nothing"
    lines.append(f"  for example: after {order} the model answers {found.instead!r}")
    return lines
