"""The debug mode's look at fields: was one changed in place by a turn that then failed?

A failed turn puts the references of the fields back, which undoes nothing that was
done inside a list or dict. So in debug mode a turn also keeps copies, and when the
fields go back they are compared. What cannot be copied, or is not equal to a copy
of itself, is not looked at.
"""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["KeptFields"]


class KeptFields(dict[str, Any]):
    """The fields of an actor as a turn found them, with a copy of each."""

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(state)
        self._copies: dict[str, Any] = {}
        for name, value in state.items():
            try:
                self._copies[name] = copy.deepcopy(value)
            except Exception:
                continue

    def changed(self) -> list[str]:
        """Names of the fields that are not what they were, although they are the same objects."""
        return [name for name, before in self._copies.items() if _differs(before, self[name])]


def _differs(before: Any, now: Any) -> bool:
    try:
        return bool(before != now) and bool(copy.deepcopy(now) == now)
    except Exception:  # A comparison of the user's own.
        return False
