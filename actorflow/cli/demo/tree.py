"""Which files the demo takes: real ones, the same ones every time.

the standard library ──► every .py below it ──► files(root) ──► chosen(names, most)
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence

__all__ = ["chosen", "files", "standard_library"]

#: What people have installed is not the library, and what is generated is no source.
NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}

#: How much of a small choice may be files that are broken on purpose.
BROKEN_SHARE = 4


def standard_library() -> str:
    """Where the source files of the running interpreter's own library are."""
    return sysconfig.get_path("stdlib")


def files(root: str) -> list[str]:
    """Names of the Python files below *root*, relative to it, sorted."""
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [each for each in inner if each not in NOT_OURS and not each.startswith(".")]
        here = os.path.relpath(folder, root)
        found += [os.path.normpath(os.path.join(here, each)) for each in names if _is_source(each)]
    return sorted(found)


def _is_source(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(".")


def chosen(names: Sequence[str], most: int | None) -> list[str]:
    """At most *most* of *names*, spread evenly; those broken on purpose are among them."""
    if most is None or len(names) <= most:
        return list(names)
    broken = [each for each in names if _made_broken(each)]
    first = _spread(broken, min(len(broken), max(1, most // BROKEN_SHARE)))
    taken = set(first)
    rest = [each for each in names if each not in taken]
    return sorted(first + _spread(rest, most - len(first)))


def _made_broken(name: str) -> bool:
    """The library's tests keep files that must not compile; they are named for it."""
    return os.path.basename(name).startswith("bad") or "lib2to3/tests/data" in name


def _spread(names: Sequence[str], count: int) -> list[str]:
    return [names[index * len(names) // count] for index in range(count)]
