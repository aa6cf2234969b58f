"""Where the order of feeding has got to, as facts of a cut.

    order        the item whose results come next
    order/<n>    the items of the n-th thousand that have ended before their turn

A cut writes the thousands that have changed, so that it takes no longer when many wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from actorflow.wire.codec import decode

__all__ = ["ORDER", "block_of", "ended_early", "key_of", "numbers_of", "order_keys", "with_ended"]

ORDER = "order"

#: Items in one fact.
BLOCK = 1_024


def block_of(number: int) -> int:
    """Which fact item *number* is in."""
    return number // BLOCK


def key_of(block: int) -> str:
    """The name of that fact."""
    return f"{ORDER}/{block}"


def numbers_of(block: int) -> range:
    """The items that may be in it."""
    return range(block * BLOCK, (block + 1) * BLOCK)


def order_keys(facts: Iterable[str]) -> list[str]:
    """Those of the names of *facts* that are about the order."""
    return [key for key in facts if key == ORDER or key.startswith(f"{ORDER}/")]


def ended_early(facts: Mapping[str, Any]) -> Iterator[int]:
    """The items that have ended before their turn, by the *facts* of a run."""
    for key in order_keys(facts):
        # What is in `order` itself is from before there were others.
        yield from facts[key].get("ended", ()) if key == ORDER else facts[key]


def with_ended(packed: Mapping[str, bytes | None], ended: Iterable[int]) -> dict[str, Any]:
    """The facts that *ended* is in, beside what *packed* facts of a run have there; none if it has
    no order."""
    found: dict[str, Any] = {}
    for number in ended if packed.get(ORDER) else ():
        key = key_of(block_of(number))
        if key not in found:
            data = packed.get(key)
            found[key] = decode(data) if data else []
        found[key].append(number)
    return found
