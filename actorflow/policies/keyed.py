"""State per key, bounded: which key to forget when there are too many.

The least recently taken key goes first. Among the oldest few, one whose state
is as good as new goes before one that still counts for something: to forget an
open circuit sends traffic to a dead service, to forget a quiet one costs nothing.

A bound that forgets is a deliberate loss. The alternative, state for every key
that a stranger can make up, is a leak.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Any, Final, Generic, TypeVar

__all__ = ["Keyed", "restored_key", "storable_key"]

S = TypeVar("S")

#: How many of the oldest keys are looked at for one that can go without loss. A bound,
#: so that a flood of new keys costs the same each; more rarely finds what these do not.
LOOK: Final = 8


class Keyed(Generic[S]):
    """At most *max_keys* states, oldest first by when they were last taken.

    Args:
        max_keys: Most keys held; at least 1.
        make: Makes the state of a key that is new.
        quiet: Whether a state is as good as new, now.
    """

    __slots__ = ("_make", "_max_keys", "_quiet", "_states")

    def __init__(
        self, max_keys: int, make: Callable[[], S], quiet: Callable[[S, float], bool]
    ) -> None:
        self._states: OrderedDict[Hashable, S] = OrderedDict()
        self._max_keys = max_keys
        self._make = make
        self._quiet = quiet

    def __len__(self) -> int:
        return len(self._states)

    def items(self) -> Iterator[tuple[Hashable, S]]:
        """Every key and its state, the one to be forgotten first in front."""
        return iter(self._states.items())

    def states(self) -> Iterator[S]:
        return iter(self._states.values())

    def peek(self, key: Hashable) -> S | None:
        """The state of *key*, if there is one. Changes nothing, not even its age."""
        return self._states.get(key)

    def take(self, key: Hashable, now: float) -> S:
        """The state of *key*, made if need be; it is now the youngest."""
        state = self._states.get(key)
        if state is not None:
            self._states.move_to_end(key)
            return state
        if len(self._states) >= self._max_keys:
            self._forget_one(now)
        state = self._states[key] = self._make()
        return state

    def resize(self, max_keys: int, now: float) -> None:
        """Hold at most *max_keys* from now on."""
        self._max_keys = max_keys
        while len(self._states) > max_keys:
            self._forget_one(now)

    def clear(self) -> None:
        self._states.clear()

    def _forget_one(self, now: float) -> None:
        oldest = next(iter(self._states))
        for key, state in islice(self._states.items(), LOOK):
            if self._quiet(state, now):
                oldest = key
                break
        del self._states[oldest]


def storable_key(key: Hashable) -> bool:
    """Whether *key* comes back from a snapshot as the same key.

    True of `None`, bool, int of 64 bits, float, valid str, bytes, and tuples of such. The state
    of any other key is left out of snapshots: a key of a stranger's type must not break the cut.
    """
    if key is None or isinstance(key, float):
        return True
    # Exact types: a str or int of a subclass (an Enum) would come back as the plain one.
    if type(key) is str:
        return key.isascii() or _has_utf8(key)
    if type(key) is tuple:
        return all(map(storable_key, key))
    return type(key) in (bool, bytes) or (type(key) is int and -(2**63) <= key < 2**64)


def restored_key(value: Any) -> Hashable:
    """The key that *value* was stored for; msgpack gives tuples back as lists."""
    if isinstance(value, (list, tuple)):
        return tuple(map(restored_key, value))
    key: Hashable = value
    return key


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # A lone surrogate, as from a file name that is not UTF-8.
        return False
    return True
