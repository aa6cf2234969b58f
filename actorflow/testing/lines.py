"""What a simulation prints of itself: the call that does it again, and where an error is from."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import traceback
from typing import Any

from actorflow.testing.faults import FaultPlan

__all__ = ["MAX_STEPS", "line_for", "said", "where"]

#: Most steps of a life, unless it is said otherwise.
MAX_STEPS = 1_000_000

#: Whose lines are none of the user's.
OURS = "actorflow", "trio", "outcome", "functools", "contextlib"


def line_for(
    main: Any, seed: int, plan: FaultPlan, max_steps: int = MAX_STEPS, **others: object
) -> str:
    """The call that does the same again, with those of the *others* that are not `None`.

    What cannot be written as a line, such as a lambda, is called ``main`` in it, and the line
    ends with what that is.
    """
    name = _source(main)
    given = [name or "main", f"seed={seed}"]
    if len(plan):
        given.append(f"faults={plan}")
    if max_steps != MAX_STEPS:
        given.append(f"max_steps={max_steps}")
    given += [f"{option}={value}" for option, value in others.items() if value is not None]
    about = "" if name is not None else f"  # main is {_about(main)}"
    return f"simulate({', '.join(given)}){about}"


def _source(main: Any) -> str | None:
    """The expression that *main* is, if there is one."""
    if isinstance(main, functools.partial):
        inner = _source(main.func)
        shown = [
            *map(repr, main.args),
            *(f"{name}={value!r}" for name, value in main.keywords.items()),
        ]
        if inner is None or any("<" in each for each in shown):
            return None
        return f"functools.partial({', '.join([inner, *shown])})"
    name = getattr(main, "__name__", None)
    return name if inspect.isfunction(main) and name and name.isidentifier() else None


def _about(main: Any) -> str:
    """What it is, for people."""
    if inspect.isfunction(main):
        code = main.__code__
        return f"the lambda at {_place(code.co_filename, code.co_firstlineno)}"
    if inspect.ismethod(main):
        return f"the method {main.__qualname__}"
    shown = repr(main) if isinstance(main, functools.partial) else f"a {type(main).__name__}"
    return " ".join(shown.split())[:200]


def said(error: BaseException) -> str:
    """An error as one line; one that says nothing, as a plain `assert`, says its own line and where
    that is."""
    leaf, text = _leaf(error), str(error)
    if leaf is not error:
        text = f"{text}: {type(leaf).__name__}: {leaf}"
    if not str(leaf) and (frame := _frame(leaf)) is not None:
        text += f"{linecache.getline(*frame).strip()} ({_place(*frame)})"
    return f"{type(error).__name__}: {text}"


def where(error: BaseException) -> str:
    """File and line in the user's program that an error is from; empty if it is from nowhere."""
    frame = _frame(_leaf(error))
    return "" if frame is None else _place(*frame)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _frame(error: BaseException) -> tuple[str, int] | None:
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in OURS:
            found = frame.f_code.co_filename, line
    return found


def _place(file: str, line: int) -> str:
    near = os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file
    return f"{near}:{line}"
