"""What the fields of an actor were at one moment, as far as two moments can be compared.

in general             references: a field is another one if it was replaced by what is not equal
isolation="copy"       their bytes, as copies are put back; nothing, if they have none
durable                their bytes, which also tell what another life finds
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from actorflow.errors import EncodeError
from actorflow.wire.codec import encode

__all__ = ["Fields"]


class Fields:
    """The fields of one actor at one moment.

    Args:
        values: By name.
        packs: Whether their bytes are looked at.
        refers: Whether they are compared themselves if they have none.

    Attributes:
        digest: Of their bytes; empty if those are not looked at, or there are none.
    """

    __slots__ = ("_packed", "_refers", "_values", "digest")

    def __init__(self, values: Mapping[str, Any], *, packs: bool, refers: bool) -> None:
        self._values = dict(values)
        self._packed: dict[str, bytes] | None = None
        self._refers = refers
        self.digest = b""
        if packs:
            try:
                self._packed = {name: encode(value) for name, value in values.items()}
            except (EncodeError, RecursionError):
                return
            whole = hashlib.blake2b(digest_size=16)
            for name, data in sorted(self._packed.items()):  # Brought back in another order.
                whole.update(b"%d %s %d " % (len(name), name.encode(), len(data)) + data)
            self.digest = whole.digest()

    @classmethod
    def of(cls, cell: Any) -> Fields | None:
        """Those of the actor of *cell* now; `None` of a stage, which has none."""
        if cell.state is None:
            return None
        copies = cell.save is copy.deepcopy
        return cls(cell.state, packs=copies or cell.kept is not None, refers=not copies)

    def unlike(self, other: Fields) -> tuple[str, ...]:
        """The names of those that are others than in *other*."""
        mine: Mapping[str, Any] = self._values
        theirs: Mapping[str, Any] = other._values
        if self._packed is not None and other._packed is not None:
            mine, theirs = self._packed, other._packed
        elif not self._refers:
            return ()
        names = sorted({*mine, *theirs})
        return tuple(name for name in names if not _equal(mine, theirs, name))


def _equal(mine: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> bool:
    """Whether a field is the same in both, as far as that can be told."""
    if name not in mine or name not in theirs:
        return False
    one, other = mine[name], theirs[name]
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:
        return True  # Of a value that cannot be compared nothing can be said.
