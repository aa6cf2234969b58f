"""Keep a table of text keys so that a changed copy shares all but a little with the old one.

    up to 32 entries     one dict, copied whole
    more                 16 parts, told apart by four bits of the key's hash, and so on
                         down: only the parts on the way to the key are copied

A node is never changed once it is made. So a node is a version of the whole table, and
to keep it costs nothing. `put` and `drop` take O(log n) and give a new node.

Ours, and not a library's: `immutables` has no wheels for Python 3.14 and no release since
2024; `rpds-py` takes 0.7 ms to go through a thousand keys, three times as long as this to
change one of twenty, and hides what it holds from the garbage collector. Most tables are
small, and nothing copies 20 entries faster than a dict does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["EMPTY", "LEAF", "Node", "drop", "find", "flat", "put", "put_all", "size"]

#: A dict, or 16 nodes and the number of entries in them.
Node: TypeAlias = "dict[str, Any] | tuple[Any, ...]"

#: Most entries of a dict. Copying 32 takes 0.15 µs, about what copying one level takes.
LEAF = 32

BITS, WIDTH, MASK = 4, 16, 15

#: A hash has no bits above; keys that share all of it stay in one dict of any size.
TOP = 60

EMPTY: Node = {}


def size(node: Node) -> int:
    """How many entries there are."""
    if isinstance(node, dict):
        return len(node)
    count: int = node[WIDTH]
    return count


def find(node: Node, key: str, default: Any) -> Any:
    """What stands under *key*, or *default*."""
    shift = 0
    while not isinstance(node, dict):
        node = node[hash(key) >> shift & MASK]
        shift += BITS
    return node.get(key, default)


def flat(node: Node) -> dict[str, Any]:
    """All entries in one dict, which is not to be changed. They are in no order to rely on:
    the hash of a text differs between processes."""
    if isinstance(node, dict):
        return node
    table: dict[str, Any] = {}
    for part in node[:WIDTH]:
        table.update(flat(part))
    return table


def put(node: Node, key: str, value: Any, shift: int = 0) -> Node:
    """The table with *value* under *key*."""
    if isinstance(node, dict):
        leaf = {**node, key: value}
        return leaf if len(leaf) <= LEAF else _built(leaf, shift)
    at = hash(key) >> shift & MASK
    part = put(node[at], key, value, shift + BITS)
    return _with(node, at, part)


def put_all(node: Node, new: Mapping[str, Any], shift: int = 0) -> Node:
    """The table with all entries of *new* over its own."""
    if isinstance(node, dict):
        leaf = {**node, **new}
        return leaf if len(leaf) <= LEAF else _built(leaf, shift)
    dealt = _dealt(new, shift)
    parts = [
        put_all(part, more, shift + BITS) if more else part
        for part, more in zip(node[:WIDTH], dealt, strict=True)
    ]
    return (*parts, sum(map(size, parts)))


def drop(node: Node, key: str, shift: int = 0) -> Node:
    """The table without *key*, which must be in it."""
    if isinstance(node, dict):
        rest = node.copy()
        del rest[key]
        return rest
    at = hash(key) >> shift & MASK
    rest_of_all = _with(node, at, drop(node[at], key, shift + BITS))
    # Not at LEAF, or one key that comes and goes would split and join the parts each time.
    return flat(rest_of_all) if size(rest_of_all) <= LEAF // 2 else rest_of_all


def _with(node: tuple[Any, ...], at: int, part: Node) -> Node:
    count = node[WIDTH] + size(part) - size(node[at])
    return (*node[:at], part, *node[at + 1 : WIDTH], count)


def _built(leaf: dict[str, Any], shift: int) -> Node:
    if len(leaf) <= LEAF or shift > TOP:
        return leaf
    return (*(_built(part, shift + BITS) for part in _dealt(leaf, shift)), len(leaf))


def _dealt(table: Mapping[str, Any], shift: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{} for _ in range(WIDTH)]
    for key, value in table.items():
        parts[hash(key) >> shift & MASK][key] = value
    return parts
