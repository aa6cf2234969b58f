"""Find the flow that ``MODULE:FLOW`` names.

    shop.flows:crawl ──► import shop.flows ──► crawl ──► a Pipeline

A pipeline is taken as it is; a function without arguments is called and must return
one; a stage, or a function of one value, is a flow of that one stage. What is not
there ends with `Code.USAGE`, what is there and wrong with `Code.FAILED`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from actorflow.cli.front import Code, Trouble, in_words
from actorflow.errors import ActorFlowError, MissingExtra
from actorflow.flows.pipeline import Pipeline
from actorflow.graph.stage import Stage, stage

__all__ = ["import_module", "load_flow", "require_processes"]

#: Most names that a message lists.
NAMES_SHOWN = 8


def load_flow(target: str) -> Pipeline[Any, Any]:
    """The flow that *target* names, checked and ready to run.

    Raises:
        Trouble: It does not exist, is wrong, or needs an extra that is not installed.
    """
    module_name, attribute = _parts(target)
    module = import_module(module_name)
    flow = _as_flow(target, _found(module, module_name, attribute))
    if any(each.runs_in == "process" for each in flow.plan.stages):
        require_processes("runs_in='process'")
    return flow


def require_processes(feature: str) -> None:
    """Raise unless worker processes can be had; *feature* is what needs them.

    Raises:
        Trouble: The extra is not installed.
    """
    if importlib.util.find_spec("trio_parallel") is None:
        error = MissingExtra(feature, "trio-parallel", "process")
        raise Trouble(str(error), Code.USAGE, error)


def _parts(target: str) -> tuple[str, str]:
    module, colon, attribute = target.partition(":")
    path = module.removeprefix("./").removesuffix(".py").replace(os.sep, ".")
    if path != module and path:
        wish = f"{path}:{attribute or 'flow'}"
        raise Trouble(f"{target!r} names a file; write its module: {wish}", Code.USAGE)
    if not colon or not all(map(_is_dotted_name, (module, attribute))):
        example = f"{module}:flow" if _is_dotted_name(module) else "shop.flows:crawl"
        raise Trouble(f"{target!r} is not MODULE:FLOW, such as {example}", Code.USAGE)
    return module, attribute


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def import_module(name: str) -> ModuleType:
    """The module, with the current directory on the import path, for worker processes too.

    Raises:
        Trouble: There is none, or importing it failed.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_failed(name, error) from error
        text = f"there is no module {error.name!r} in {here} or on the Python path"
        if error.name != name:
            text += f" (to import {name!r})"
        raise Trouble(text, Code.USAGE, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> Trouble:
    what = "sys.exit() was called" if isinstance(error, SystemExit) else in_words(error)
    return Trouble(f"importing {name!r} failed{_place(error)}: {what}", Code.FAILED, error)


def _place(error: BaseException) -> str:
    """Where in the user's own files it went wrong, such as `` at shop.py:12``."""
    here = os.path.join(os.getcwd(), "")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(here):
            return f" at {frame.filename.removeprefix(here)}:{frame.lineno}"
    return ""


def _found(module: ModuleType, module_name: str, attribute: str) -> Any:
    value: Any = module
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            text = f"module {module_name!r} has no {attribute!r}{_hint(module, attribute)}"
            raise Trouble(text, Code.USAGE, error) from error
    return value


def _hint(module: ModuleType, attribute: str) -> str:
    public = {name: each for name, each in vars(module).items() if not name.startswith("_")}
    flows = [name for name, each in public.items() if isinstance(each, Pipeline)]
    near = get_close_matches(attribute, flows or public, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    if not flows:
        return "; it has no flow: write flow = Pipeline([...]) in it"
    more = ", ..." if len(flows) > NAMES_SHOWN else ""
    return f"; its flows: {', '.join(flows[:NAMES_SHOWN])}{more}"


def _as_flow(target: str, value: Any) -> Pipeline[Any, Any]:
    if isinstance(value, Pipeline):
        return value
    if isinstance(value, Stage):
        return _flow_of(target, value)
    if not callable(value) or isinstance(value, type):
        kind = f"the class {value.__name__}" if isinstance(value, type) else _kind(value)
        raise Trouble(f"{target} is {kind}, not a flow; write {_example(target)}", Code.USAGE)
    if _takes_nothing(value):
        return _made_by(target, value)
    return _flow_of(target, value)


def _takes_nothing(fn: Callable[..., Any]) -> bool:
    try:
        return not inspect.signature(fn).parameters
    except (ValueError, TypeError):  # A C function that does not describe itself.
        return False


def _made_by(target: str, factory: Callable[[], Any]) -> Pipeline[Any, Any]:
    try:
        made = factory()
    except Exception as error:
        text = f"{target}() failed{_place(error)}: {in_words(error)}"
        raise Trouble(text, Code.FAILED, error) from error
    if isinstance(made, Pipeline):
        return made
    if inspect.iscoroutine(made):
        made.close()
    text = f"{target}() gave {_kind(made)}; a function without arguments must return a Pipeline"
    raise Trouble(text, Code.USAGE)


def _flow_of(target: str, handler: Any) -> Pipeline[Any, Any]:
    try:
        alone = stage(handler)
        return Pipeline([alone], name=alone.name)
    except ActorFlowError as error:
        raise Trouble(f"{target} cannot be a flow: {error}", Code.FAILED, error) from error


def _kind(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _example(target: str) -> str:
    return f"flow = Pipeline([...]) and name {target.partition(':')[0]}:flow"
