"""The rules of the house, each a function from a source tree to what breaks it.

A tree maps paths below ``actorflow/`` to their text: ``{"wire/codec.py": "..."}``.
So the same rule reads the real package and a made-up one, and a test can show of
every rule that it is able to fail. Imports are counted wherever they stand: inside
functions and under ``TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import attrs

Tree: TypeAlias = Mapping[str, str]
Rule: TypeAlias = Callable[[Tree], list[str]]
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

#: Floor and place on the floor. A room imports what is on a lower floor, or further left on
#: its own where the places differ.
FLOORS: Mapping[str, tuple[int, int]] = {
    "errors": (0, 0),
    "options": (0, 1),
    "wire": (1, 0),
    "core": (1, 1),
    "policies": (1, 2),
    "graph": (2, 0),
    "runtime": (3, 0),
    "middleware": (4, 0),
    "observe": (4, 0),
    "durability": (4, 0),
    "actors": (5, 0),
    "stages": (6, 0),
    "flows": (7, 0),
    "tasks": (7, 0),
    "web": (8, 0),
    "cli": (9, 0),
    "events": (10, 0),
    "__init__": (10, 0),
    "__main__": (10, 0),
    "testing": (10, 0),
}

#: Rooms that nobody inside imports: the roof, the front door and the laboratory.
IMPORTED_BY_NOBODY = {"__init__", "events", "__main__", "testing"}

LAST_PURE_FLOOR = 2

NOT_PURE = {
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "trio",
}

#: A path is a body, so the codec knows the type; it touches no file.
PURE_EXCEPTIONS = {("wire", "pathlib")}

NOT_PURE_CALLS = {"breakpoint", "input", "open", "print"}
NOT_PURE_METHODS = {"datetime.now", "datetime.today", "datetime.utcnow", "date.today"} | {
    f"uuid.uuid{n}" for n in (1, 4)
}

#: Where each third party may be imported: files, or rooms with a slash; "" is everywhere.
ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "attrs": ("",),
    "click": ("cli/",),
    "hypothesis": ("testing/",),
    "msgpack": ("wire/codec.py", "wire/snapshot.py"),
    "outcome": ("runtime/",),  # The answers trio's own tasks are woken with.
    "pytest": ("testing/plugin.py",),
    "rich": ("cli/", "observe/progress.py"),
    "trio": ("",),  # From the first floor that is not pure; `pure_floors_stay_pure` says so.
    "trio_parallel": ("runtime/offload.py",),
    "typing_extensions": ("flows/generic.py",),  # For type checkers alone, which bring it.
}

MODULE_LINES = 450
FUNCTION_LINES = 60


@attrs.frozen
class Import:
    """One imported module, as a dotted name, and where that is written."""

    module: str
    place: str
    relative: bool = False


@functools.cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def room(path: str) -> str:
    """``wire`` for ``wire/codec.py``, ``errors`` for ``errors.py``."""
    return path.split("/")[0].removesuffix(".py")


def floor(path: str) -> int:
    return FLOORS[room(path)][0] if room(path) in FLOORS else 10


def file_of(tree: Tree, module: str) -> str | None:
    """The file of a dotted name below ``actorflow``, if the tree has it."""
    stem = module.removeprefix("actorflow").removeprefix(".").replace(".", "/")
    names = (f"{stem}.py", f"{stem}/__init__.py") if stem else ("__init__.py",)
    return next((name for name in names if name in tree), None)


def imports(tree: Tree, path: str) -> Iterator[Import]:
    """Every import of a file; ``from package import module`` counts as the module."""
    for node in ast.walk(parsed(tree[path])):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, f"{path}:{node.lineno}")
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            for alias in node.names:
                inner = f"{parent}.{alias.name}"
                ours = parent.split(".")[0] == "actorflow"
                module = inner if ours and file_of(tree, inner) else parent
                yield Import(module, f"{path}:{node.lineno}", relative=node.level > 0)


def inside(tree: Tree, path: str) -> Iterator[Import]:
    """The imports of this package, once each."""
    seen = {each for each in imports(tree, path) if not each.relative}
    for each in sorted(seen, key=lambda each: (each.place, each.module)):
        if each.module.split(".")[0] == "actorflow":
            yield each


def imports_go_down(tree: Tree) -> list[str]:
    """Every import goes down a floor or stays in its room."""
    found = [
        f"{path}: room {room(path)!r} has no floor" for path in tree if room(path) not in FLOORS
    ]
    for path in tree:
        here = FLOORS.get(room(path), (10, 0))
        for each in inside(tree, path):
            there = each.module.split(".")[1] if "." in each.module else "__init__"
            if there in ("__init__", room(path)):
                continue
            if there not in FLOORS:
                found.append(f"{each.place}: {each.module} has no floor")
            elif FLOORS[there] >= here:
                found.append(f"{each.place}: {room(path)} may not import {each.module}")
    return found


def roof_and_laboratory_are_for_outside(tree: Tree) -> list[str]:
    """Nobody inside imports the package itself, `actorflow.testing` or `__main__`."""
    found = []
    for path in tree:
        for each in inside(tree, path):
            there = each.module.split(".")[1] if "." in each.module else "__init__"
            if there in IMPORTED_BY_NOBODY and there != room(path):
                found.append(f"{each.place}: {each.module} is for outside; import the module meant")
    return found


def no_circles(tree: Tree) -> list[str]:
    """No module leads back to itself, over imports of any kind."""
    edges = {
        path: sorted({file_of(tree, each.module) or "" for each in inside(tree, path)} - {""})
        for path in tree
    }
    return sorted({_circle(edges, path) for path in tree} - {""})


def _circle(edges: Mapping[str, list[str]], start: str) -> str:
    """The shortest way from *start* back to it, told from its first module in the alphabet."""
    ways: list[tuple[str, ...]] = [(start, each) for each in edges[start]]
    seen = set(edges[start])
    for way in ways:  # It grows while we walk it.
        if way[-1] == start:
            first = way.index(min(way))
            ring = way[first:-1] + way[:first] + (min(way),)
            return " -> ".join(ring)
        ways += ((*way, each) for each in edges[way[-1]] if each not in seen)
        seen.update(edges[way[-1]])
    return ""


def imports_are_absolute(tree: Tree) -> list[str]:
    return [
        f"{each.place}: write the import absolute"
        for path in tree
        for each in sorted(set(imports(tree, path)), key=lambda each: each.place)
        if each.relative
    ]


def pure_floors_stay_pure(tree: Tree) -> list[str]:
    """Floors 0 to 2 know no trio, clock, chance, system, file, thread; nothing waits there."""
    found = []
    for path in (each for each in tree if floor(each) <= LAST_PURE_FLOOR):
        for each in sorted(set(imports(tree, path)), key=lambda each: (each.place, each.module)):
            top = each.module.split(".")[0]
            if top in NOT_PURE and (room(path), top) not in PURE_EXCEPTIONS:
                found.append(f"{each.place}: {room(path)} is pure; {top} is not")
        for node in ast.walk(parsed(tree[path])):
            what = _not_pure(node)
            if what:
                line = getattr(node, "lineno", 0)
                found.append(f"{path}:{line}: {room(path)} is pure; {what} is not")
    return found


def _not_pure(node: ast.AST) -> str:
    if isinstance(node, ast.AsyncFunctionDef):
        return "async def"
    if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
        return "await"
    if not isinstance(node, ast.Call):
        return ""
    called = ast.unparse(node.func)
    last_two = ".".join(called.split(".")[-2:])
    return f"{called}()" if called in NOT_PURE_CALLS or last_two in NOT_PURE_METHODS else ""


def third_parties_have_one_address(tree: Tree) -> list[str]:
    found = []
    for path in tree:
        for each in sorted(set(imports(tree, path)), key=lambda each: (each.place, each.module)):
            top = each.module.split(".")[0]
            if each.relative or top == "actorflow" or top in sys.stdlib_module_names:
                continue
            homes = ADDRESSES.get(top)
            if homes is None:
                found.append(f"{each.place}: {top} has no address in tests/architecture.py")
            elif not any(path == home or home in ("", f"{room(path)}/") for home in homes):
                found.append(f"{each.place}: {top} belongs into {' or '.join(homes)}")
    return found


def nothing_is_too_long(tree: Tree) -> list[str]:
    found = []
    for path, text in tree.items():
        lines = len(text.splitlines())
        if lines > MODULE_LINES:
            found.append(f"{path}: {lines} lines, {MODULE_LINES} at most")
        for function in functions(text):
            length = (function.end_lineno or 0) - function.lineno + 1
            if length > FUNCTION_LINES:
                place = f"{path}:{function.lineno}: {function.name}()"
                found.append(f"{place} has {length} lines, {FUNCTION_LINES} at most")
    return found


def a_commit_never_waits(tree: Tree) -> list[str]:
    """All of ``runtime/commit.py``, and whatever the runtime calls a commit, is without await."""
    found = {
        f"{path}:{getattr(node, 'lineno', 0)}: a commit never waits"
        for path in tree
        if room(path) == "runtime"
        for top in _commits(path, tree[path])
        for node in ast.walk(top)
        if _waits(node)
    }
    return sorted(found)


def _commits(path: str, text: str) -> list[ast.AST]:
    if path == "runtime/commit.py":
        return [parsed(text)]
    return [each for each in functions(text) if each.name.lstrip("_").startswith("commit")]


def _waits(node: ast.AST) -> bool:
    waiting = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith
    return isinstance(node, waiting) or (
        isinstance(node, ast.comprehension) and bool(node.is_async)
    )


def functions(text: str) -> Iterator[Function]:
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def documented_floors(tree: Tree, page: str) -> list[str]:
    """The floor table of ``docs/architecture.md`` has a row for every room, on its floor."""
    rows = re.findall(r"^\|\s*(\d+|roof|apart)\s*\|\s*`([\w/.]+)`", page, flags=re.MULTILINE)
    listed = {name.rstrip("/").removesuffix(".py"): number for number, name in rows}
    found = []
    for name in sorted({room(path) for path in tree}):
        wanted = dict.fromkeys(("__init__", "__main__", "events"), "roof") | {"testing": "apart"}
        number = wanted.get(name) or str(FLOORS[name][0] if name in FLOORS else "none")
        if name not in listed:
            found.append(f"docs/architecture.md: room {name!r} is missing in the floor table")
        elif listed[name] != number:
            told = listed[name]
            found.append(f"docs/architecture.md: room {name!r} is on floor {number}, not {told}")
    return found


RULES: tuple[Rule, ...] = (
    imports_go_down,
    roof_and_laboratory_are_for_outside,
    no_circles,
    imports_are_absolute,
    pure_floors_stay_pure,
    third_parties_have_one_address,
    nothing_is_too_long,
    a_commit_never_waits,
)
