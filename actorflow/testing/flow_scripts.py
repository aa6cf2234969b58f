"""Source code of declarations: one line if it fits, or one for each argument."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from actorflow.testing import flow_handlers

__all__ = ["called", "listed", "mapped", "source"]

#: Longest line that is not broken.
WIDTH = 80

#: Values that have a name.
_NAMED = [(getattr(flow_handlers, name), name) for name in flow_handlers.__all__]


def source(value: Any) -> str:
    """What *value* is written as: by its name if it has one."""
    if isinstance(value, (list, tuple)):
        return listed([source(each) for each in value])
    return next((name for known, name in _NAMED if known is value), repr(value))


def called(head: str, parts: Sequence[str], **named: Any) -> str:
    """A call of *head* with these sources, and values by name."""
    given = [f"{option}={source(value)}" for option, value in named.items()]
    return _laid_out(f"{head}(", [*parts, *given], ")")


def listed(parts: Sequence[str]) -> str:
    """A list of these sources."""
    return _laid_out("[", parts, "]")


def mapped(parts: dict[str, str]) -> str:
    """A dict of these sources, by words."""
    return _laid_out("{", [f"{key!r}: {part}" for key, part in parts.items()], "}")


def _laid_out(opening: str, parts: Sequence[str], closing: str) -> str:
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    body = "".join(f"{textwrap.indent(part, '    ')},\n" for part in parts)
    return f"{opening}\n{body}{closing}"
