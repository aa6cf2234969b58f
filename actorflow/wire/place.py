"""Find the place in a value that cannot be written, and say what would mend it.

    body.items[3].price     a field by dot, an item by number, a dict value by key
    body.keys()[0]          the first key itself
    body.tags{}             a member of a set, which has no number

The codec packs first and asks later: only a value that failed is walked here, in
the order in which it was packed, down to the first fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any

from actorflow.errors import EncodeError
from actorflow.wire.frozen import LEAVES
from actorflow.wire.registry import REGISTRY
from actorflow.wire.shape import is_shapely

__all__ = [
    "MAX_DEPTH",
    "TOO_DEEP",
    "find_stranger",
    "first_fault",
    "read_fields",
    "refusal",
    "told",
]

MAX_DEPTH = 100
"""Most arrays and maps inside one another; an instance is one of each, and so counts two.
Every Python thing done to a body (repr, ==, hash, copy) recurses, with up to four frames
a level and a thousand in all; msgpack alone would follow a thousand levels down."""

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels; keep the parts apart and refer by id"

_PLAIN_WHOLES = {list, tuple, set, frozenset}
_BASES = (bool, int, float, str, bytes, bytearray, memoryview, list, tuple, dict, set, frozenset)


def told(thing: object, limit: int = 80) -> str:
    """`repr` for messages: short, and never an exception."""
    try:
        text = repr(thing)
    except Exception:  # A repr is somebody's code; that of a huge int refuses.
        text = f"<{type(thing).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def why(error: Exception) -> str:
    """What an exception says, with its name where the text alone would not be understood."""
    try:
        text = str(error)
    except Exception:  # As in `told`.
        text = ""
    if type(error) not in (ValueError, TypeError) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= 200 else text[:197] + "..."


def place_of(segments: Iterable[str]) -> str:
    """The place as one text, its middle left out where it is long."""
    place = "body" + "".join(segments)
    return place if len(place) <= 200 else f"{place[:120]}...{place[-60:]}"


def refusal(value: object) -> str:
    """Why *value* cannot be written, with the line to add or the call to make."""
    cls = type(value)
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    if cls.__module__.partition(".")[0] not in ("builtins", "msgpack") and is_shapely(cls):
        return f'cannot write {name}; add: actorflow.register({cls.__name__}, "{name}")'
    if isinstance(value, (bytearray, memoryview)):
        return f"cannot write {name}; convert it with bytes()"
    for base in _BASES:
        if isinstance(value, base):
            return (
                f"cannot write {name}, a subclass of {base.__name__}; "
                f"convert it with {base.__name__}()"
            )
    return f"cannot write {name}; make it a @message, a dataclass or plain data"


def first_fault(value: object, write: Callable[[object], object]) -> tuple[str, str] | None:
    """Place and reason of the first thing in *value* that cannot be written.

    Args:
        value: What failed.
        write: Writes one value without inside, or raises `EncodeError`.
    """
    return _fault(value, write, MAX_DEPTH, frozenset())


def _fault(
    value: object, write: Callable[[object], object], depth: int, above: frozenset[int]
) -> tuple[str, str] | None:
    is_leaf = type(value) in LEAVES
    if id(value) in above and not is_leaf:
        return "", "the value contains itself; keep ids instead of objects"
    depth -= _levels(value)
    if depth < 0:
        return "", TOO_DEEP
    try:
        if is_leaf:
            write(value)
            return None
        for segment, part in _named_parts(value):
            found = _fault(part, write, depth, above | {id(value)})
            if found is not None:
                return segment + found[0], found[1]
    except EncodeError as error:
        return "", str(error)
    return None


def _levels(value: object) -> int:
    if type(value) in REGISTRY.by_class or REGISTRY.is_context(type(value)):
        return 2
    return 0 if type(value) in LEAVES else 1


def _named_parts(value: Any) -> Iterator[tuple[str, object]]:
    kind = type(value)
    if kind in (list, tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif kind is dict or REGISTRY.is_context(kind):
        table = value if kind is dict else _values(value)
        for index, (key, part) in enumerate(table.items()):
            yield f".keys()[{index}]", key
            yield f"[{told(key)}]", part
    elif kind in (set, frozenset):
        yield from (("{}", part) for part in value)
    else:
        yield from ((f".{name}", part) for name, part in read_fields(value).items())


def read_fields(value: object) -> dict[str, object]:
    """The fields of an instance of a registered class.

    Raises:
        EncodeError: The class is not registered, or reading a field raised.
    """
    entry = REGISTRY.by_class.get(type(value))
    if entry is None or entry.shape is None:
        raise EncodeError(refusal(value))
    try:
        return entry.shape.read(value)
    except Exception as error:
        raise EncodeError(f"cannot read a field of {entry.tag}: {why(error)}") from error


def _values(context: object) -> dict[str, object]:
    shape = REGISTRY.context
    assert shape is not None
    return shape.apart(context)[2]


def find_stranger(value: object, strangers: Set[type]) -> object | None:
    """The first thing of a type in *strangers*, in a value that packed without complaint.

    Goes along a list of its own, not down the stack. The loops are written out
    because this runs for every body that holds as much as a float.
    """
    wholes: list[Any] = [value]
    add = wholes.append
    for whole in wholes:
        kind = type(whole)
        if kind is dict:
            for key in whole:
                if type(key) is not str and type(key) not in LEAVES:
                    add(key)
            for part in whole.values():
                if type(part) not in LEAVES:
                    add(part)
        elif kind in _PLAIN_WHOLES:
            if not LEAVES.issuperset(map(type, whole)):
                for part in whole:
                    if type(part) not in LEAVES:
                        add(part)
        elif kind in strangers:
            found: object = whole
            return found
        else:
            inside = _values(whole) if REGISTRY.is_context(kind) else read_fields(whole)
            for part in inside.values():
                if type(part) not in LEAVES:
                    add(part)
    return None
