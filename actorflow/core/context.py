"""Pass the data of one run from stage to stage, so that nobody can spoil it for another.

    base ──► fork("price") ──► set(...) ──┐
      │                                   ├──► merge(base, branches) ──► next stage
      └────► fork("stock") ──► set(...) ──┘    only what each has written

A Context never changes: `set`, `update` and `remove` give another one, which shares all
the rest with the first. What stands in it cannot change either:

    a frozen value     (text, number, tuple of such, @message)     kept as it is
    any other          (list, dict, dataclass ...)                 packed when it is set
    what has no bytes  (lock, socket, function)                    shared, and on your head

Whoever reads a packed value gets a copy of their own, at each reading. So a handler that
changes a list it got spoils neither its retry, nor a sibling, nor what is stored, however
often the Context was shared. It costs a decoding: keep the list in a variable, not in a
loop over ``ctx["rows"]``; and what was changed is to be set again. The bytes made by `set`
are those that are stored and sent: nothing is packed twice.

Keys come in alphabetical order, in each process the same.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, final

from actorflow.core.trie import EMPTY, LEAF, Node, drop, find, flat, put, put_all, size
from actorflow.errors import MergeConflictError, MissingKey
from actorflow.wire.codec import pack, unpack
from actorflow.wire.frozen import FROZEN, is_frozen
from actorflow.wire.packed import Packed
from actorflow.wire.registry import register_context

__all__ = ["Context"]

_MISSING: Any = object()
_NOTHING: frozenset[str] = frozenset()

#: Bytes of a packed value up to which `repr` opens it.
SHOWN_BYTES = 256


@final
class Context(Mapping[str, Any]):
    """The data of one run: an immutable mapping with texts for keys.

    Equal to any mapping of equal values; `name` and `written` do not count. It has no
    hash, as a dict has none: its values need none.

    Args:
        mapping: What is in it at first; none of that counts as written.

    Raises:
        TypeError: A key is no text.
    """

    __slots__ = ("_base", "_hidden", "_name", "_root", "_written")
    __hash__: ClassVar[None]  # type: ignore[assignment]  # None, as it has an __eq__.

    _base: Node | None
    _hidden: frozenset[str]
    _name: str
    _root: Node
    _written: Node

    def __new__(cls, mapping: Mapping[str, Any] | None = None) -> Context:
        # Not in __init__, which anybody could call again.
        if mapping is None:
            return _made("", EMPTY, EMPTY, EMPTY)
        if isinstance(mapping, Context):
            return _made("", mapping._root, EMPTY, mapping._root)
        root = put_all(EMPTY, _all_kept(mapping))
        return _made("", root, EMPTY, root)

    @property
    def name(self) -> str:
        """What the last fork was called; empty before the first."""
        return self._name

    @property
    def written(self) -> frozenset[str]:
        """The keys set or removed since the fork, the same value again included."""
        return frozenset(flat(self._written))

    # Reading --------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """What stands under *key*, or *default*; a copy of your own if it can be changed.

        Raises:
            MissingKey: It is there, and `only` has left it out.
        """
        node = self._root
        value = node.get(key, _MISSING) if type(node) is dict else find(node, key, _MISSING)
        if type(value) is Packed:
            return unpack(value)
        if value is _MISSING:
            if self._hidden and key in self._hidden:
                raise MissingKey(key, tuple(self))
            return default
        return value

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise MissingKey(key, tuple(self))
        return value

    def __contains__(self, key: object) -> bool:
        return find(self._root, key, _MISSING) is not _MISSING  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(flat(self._root)))

    def __len__(self) -> int:
        return size(self._root)

    def to_dict(self) -> dict[str, Any]:
        """A dict that is yours alone: every value that can be changed is a copy, and a
        value that is a Context becomes a dict too. What has no bytes is still shared."""
        return {
            key: value.to_dict() if isinstance(value, Context) else value
            for key, value in self.items()
        }

    # Writing --------------------------------------------------------------------------

    def set(self, key: str, value: Any) -> Context:
        """The Context with *value* under *key*. It takes O(log n) in the number of keys.

        Raises:
            TypeError: The key is no text.
        """
        if type(key) is not str:
            key = _text(key)
        if type(value) not in FROZEN:
            value = _kept(value)
        root, written = self._root, self._written
        if type(root) is dict and type(written) is dict and len(root) < LEAF > len(written):
            root, written = {**root, key: value}, {**written, key: None}
        else:
            root, written = put(root, key, value), put(written, key, None)
        return _made(self._name, root, written, self._base, self._hidden)

    def update(self, mapping: Mapping[str, Any]) -> Context:
        """The Context with all of *mapping* set.

        Raises:
            TypeError: A key is no text.
        """
        new = _all_kept(mapping)
        written = put_all(self._written, dict.fromkeys(new))
        return _made(self._name, put_all(self._root, new), written, self._base, self._hidden)

    def remove(self, key: str) -> Context:
        """The Context without *key*, which counts as written.

        Raises:
            MissingKey: It is not there.
        """
        if key not in self:
            raise MissingKey(key, tuple(self))
        written = put(self._written, _text(key), None)
        return _made(self._name, drop(self._root, key), written, self._base, self._hidden)

    def only(self, keys: Iterable[str]) -> Context:
        """The Context with *keys* alone, those of them that are there; its name and what was
        written stay. `get` raises for the others rather than give a default."""
        wanted, there = set(keys), flat(self._root)
        kept = {key: value for key, value in there.items() if key in wanted}
        hidden = self._hidden.union(there) - wanted
        return _made(self._name, put_all(EMPTY, kept), self._written, None, hidden)

    def fork(self, name: str) -> Context:
        """The same data under a name of its own, with nothing written yet. It takes O(1)."""
        name = name if type(name) is str else _text(name)
        return _made(name, self._root, EMPTY, self._root, self._hidden)

    def overwritten(self, base: Context) -> Context:
        """What *base*, which this is a fork of, had under the keys that were written since."""
        there = ((key, find(base._root, key, _MISSING)) for key in flat(self._written))
        root = put_all(EMPTY, {key: value for key, value in there if value is not _MISSING})
        return _made("", root, EMPTY, root)

    def unforked(self, name: str, written: Iterable[str], before: Context | None = None) -> Context:
        """What it was forked from.

        Args:
            name: Of that.
            written: What had been written in it.
            before: What was `overwritten` since; left out, what was written since stays.
        """
        root = self._root
        if before is not None:
            for key in flat(self._written):
                root = root if find(root, key, _MISSING) is _MISSING else drop(root, key)
            root = put_all(root, flat(before._root))
        return _made(_text(name), root, put_all(EMPTY, dict.fromkeys(written)), None)

    def merge(self, branches: Iterable[Context]) -> Context:
        """This one with what each branch has written since its fork, removals too.

        All of that counts as written here, so that forks within forks merge alike. May
        be written ``Context.merge(base, branches)``.

        Raises:
            MergeConflictError: Two branches wrote one key, be it the same value.
        """
        forks = tuple(branches)
        if len(forks) > 1:
            _check_conflicts(forks)
        root, written = self._root, self._written
        for fork in forks:
            keys = flat(fork._written)
            written = put_all(written, keys)
            if fork._base is root:  # All that it has not written is the same.
                root = fork._root
                continue
            new = {key: find(fork._root, key, _MISSING) for key in keys}
            for key in keys:
                if new[key] is _MISSING:
                    del new[key]
                    root = root if find(root, key, _MISSING) is _MISSING else drop(root, key)
            root = put_all(root, new)
        return _made(self._name, root, written, self._base)

    # Being a value --------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        if len(self) != len(other):
            return False
        if not isinstance(other, Context):
            return all(key in other and self[key] == other[key] for key in self)
        if self._root is other._root:
            return True
        theirs = flat(other._root)
        return all(
            key in theirs and _same(value, theirs[key]) for key, value in flat(self._root).items()
        )

    def __repr__(self) -> str:
        return _Short().repr(self)

    def __copy__(self) -> Context:
        return self

    def __deepcopy__(self, memo: object) -> Context:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        name, written, values = _apart(self)
        bare = {
            key: Packed(value.data) if type(value) is Packed else value  # Without `resolve`.
            for key, value in values.items()
        }
        return _together, (name, written, bare)


def _made(
    name: str,
    root: Node,
    written: Node,
    base: Node | None,
    hidden: frozenset[str] = _NOTHING,
) -> Context:
    """A Context whose *root* is *base* but for what was *written*, if it is known of any."""
    context = object.__new__(Context)
    context._base = base
    context._hidden = hidden
    context._name = name
    context._root = root
    context._written = written
    return context


def _text(key: object) -> str:
    """*key* as a plain str; the codec takes no member of a StrEnum for a text."""
    if not isinstance(key, str):
        raise TypeError(f"a Context has texts for keys and names, got {key!r:.80}")
    return key if type(key) is str else str.__str__(key)


def _kept(value: Any) -> Any:
    """*value* in a form that nobody can change, if it has one."""
    if is_frozen(value):
        return value
    try:
        return pack(value)
    except Exception:  # EncodeError, or whatever a type of the user's own raises.
        return value


def _all_kept(mapping: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(mapping, Context):
        return flat(mapping._root)  # Kept already.
    if not isinstance(mapping, Mapping):
        raise TypeError(f"a Context takes a mapping, got {type(mapping).__name__}")
    return {
        _text(key): value if type(value) in FROZEN else _kept(value)
        for key, value in mapping.items()
    }


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is Packed and type(other) is Packed and one.data == other.data:
        return True
    return bool(_opened(one) == _opened(other))


def _opened(value: Any) -> Any:
    return unpack(value) if type(value) is Packed else value


def _check_conflicts(forks: Iterable[Context]) -> None:
    writers: dict[str, list[str]] = {}
    for number, fork in enumerate(forks, 1):
        for key in flat(fork._written):
            writers.setdefault(key, []).append(fork._name or f"branch {number}")
    conflicts = {key: names for key, names in writers.items() if len(names) > 1}
    if conflicts:
        raise MergeConflictError(conflicts)


class _Short(reprlib.Repr):
    """Shows at most so many keys, so much of each value, and nothing large that is packed."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxdict = 8

    def repr_Context(self, context: Context, level: int) -> str:  # noqa: N802 - Found by the class's name.
        if level <= 0:
            return "Context({...})"
        shown = [
            f"{self.repr1(key, level - 1)}: {self._value(find(context._root, key, None), level)}"
            for key in list(context)[: self.maxdict]
        ]
        more = len(context) - len(shown)
        if more:
            shown.append(f"... {more} more")
        return f"Context({{{', '.join(shown)}}})"

    def _value(self, value: Any, level: int) -> str:
        if type(value) is Packed and len(value.data) > SHOWN_BYTES:
            return f"<{len(value.data)} bytes>"
        try:
            return self.repr1(_opened(value), level - 1)
        except Exception:  # A repr is somebody's code; that of a huge int refuses.
            return f"<{type(value).__name__}>"


def _apart(context: Context) -> tuple[str, list[str], dict[str, Any]]:
    values = flat(context._root)
    return (
        context._name,
        sorted(flat(context._written)),
        {key: values[key] for key in sorted(values)},
    )


def _together(name: str, written: list[str], values: dict[str, Any]) -> Context:
    return _made(
        name, put_all(EMPTY, _all_kept(values)), put_all(EMPTY, dict.fromkeys(written)), None
    )


register_context(Context, _apart, _together)
