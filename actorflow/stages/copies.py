"""A value for several, none of whom may change it for the others."""

from __future__ import annotations

from typing import Any

from actorflow.wire.codec import decode, encode
from actorflow.wire.frozen import FROZEN, is_frozen

__all__ = ["Keepsake", "keep", "same"]


class Keepsake:
    """A value, and its bytes if it can be changed.

    Attributes:
        original: The value itself.
        packed: Its bytes; `None` if nobody can change it, or it is shared.
    """

    __slots__ = ("original", "packed")

    def __init__(self, original: Any, packed: bytes | None) -> None:
        self.original = original
        self.packed = packed

    def copy(self) -> Any:
        """The value, for somebody who may do with it what he likes."""
        return self.original if self.packed is None else decode(self.packed, max_bytes=None)


def keep(value: Any) -> Keepsake | None:
    """*value* as it is now; `None` if it can be changed and cannot be written."""
    if type(value) in FROZEN or is_frozen(value):
        return Keepsake(value, None)
    try:
        return Keepsake(value, encode(value))
    except Exception:  # EncodeError, or whatever a type of the user's own raises.
        return None


def same(one: Any, other: Any) -> bool:
    """Whether the two are equal and of one type, as far as can be told."""
    try:
        return one is other or (type(one) is type(other) and bool(one == other))
    except Exception:  # Of a type of the user's own.
        return False
