"""How is a handler called: what kind of function it is, and where it takes its `Turn`.

    fn ──► inspect_handler() ──► Handler(kind, ctx_parameter) | ConfigurationError

Decided once, when the stage is declared, by looking at the function: nothing is
called on trial and no arguments are counted while messages run. A wrapper made
with `functools.wraps`, a partial and a callable object are looked through. What
cannot be looked into (many C functions) is taken to be ``fn(value)``.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from actorflow.errors import ConfigurationError

__all__ = [
    "Handler",
    "Kind",
    "function_name",
    "inspect_handler",
    "kind_of",
    "require_importable",
    "wanted_of",
]

Kind: TypeAlias = Literal["coroutine", "function", "async_generator", "generator"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STAR = inspect.Parameter.VAR_POSITIONAL
_VARIADIC = (_STAR, inspect.Parameter.VAR_KEYWORD)


@attrs.frozen
class Handler:
    """What the runtime must know to call a handler.

    Attributes:
        kind: What a call returns: an awaitable, the value itself, or one of the two generators.
        ctx_parameter: The parameter that takes the `Turn`, passed by keyword; `None` if none does.
        takes_context: Whether the value is annotated as a `Context`.
    """

    kind: Kind
    ctx_parameter: str | None
    takes_context: bool = False


def inspect_handler(place: str, fn: Callable[..., Any], *, unpack: bool) -> Handler:
    """Decide how *fn* is called.

    Args:
        place: What messages call the stage, such as ``stage 'fetch'``.
        fn: The handler.
        unpack: Whether a tuple or dict is spread over the parameters.

    Raises:
        ConfigurationError: *fn* cannot be called with one value and at most a `Turn`.
    """
    kind = kind_of(fn)
    signature = _signature_of(fn)
    if signature is None:
        return Handler(kind, None)
    wrong = functools.partial(_wrong_signature, place, fn, kind, signature)
    parameters = list(signature.parameters.values())
    takes_value = bool(parameters) and parameters[0].kind in (*_POSITIONAL, _STAR)
    if not parameters or not (takes_value or unpack):
        raise wrong("value")
    if takes_value and _looks_like_turn(parameters[0]):
        raise wrong("value")
    rest = parameters[1:] if takes_value else parameters
    ctx = next((each for each in rest if _takes_turn(each)), None)
    if not unpack and any(_is_required(each) for each in rest if each is not ctx):
        raise wrong(parameters[0].name)
    if ctx is not None:
        _check_reachable(place, ctx, rest, unpack)
    contextual = takes_value and _names(parameters[0].annotation, "Context")
    return Handler(kind, ctx.name if ctx else None, contextual)


def function_name(fn: Callable[..., Any]) -> str:
    """What a stage is called that was not given a name; ``lambda`` for a lambda."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", None)
    return name.strip("<>") if isinstance(name, str) else type(fn).__name__


def wanted_of(value: object, noun: str) -> str | None:
    """What to write instead of *value*, or `None` if *value* may be a handler.

    *noun* is what is wanted where no better guess can be made. A coroutine is closed, so
    that Python does not warn of it as well.
    """
    if inspect.iscoroutine(value):
        value.close()
        return f"the function itself: write {value.__name__}, not {value.__name__}(...)"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return f"the function itself: write {value.__name__}, not {value.__name__}(...)"
    if inspect.isclass(value) and any("__call__" in vars(base) for base in value.__mro__):
        return f"an instance: write {value.__name__}(), not {value.__name__}"
    return None if callable(value) else noun


def require_importable(place: str, fn: Callable[..., Any]) -> None:
    """Raise unless a worker process can find *fn* by module and qualified name."""
    what = _not_importable(fn)
    if what is None:
        return
    code = getattr(inspect.unwrap(fn), "__code__", None)
    line = f"{code.co_filename}:{code.co_firstlineno}: " if code else ""
    raise ConfigurationError(
        f"{place}.runs_in",
        "process",
        "used with a function at the top level of a module, "
        f"which a worker process imports by its name ({line}{what})",
    )


def _not_importable(fn: Callable[..., Any]) -> str | None:
    if isinstance(fn, functools.partial):
        return _not_importable(fn.func)
    owner = getattr(fn, "__self__", None)
    qualified = getattr(fn, "__qualname__", None)
    if not isinstance(qualified, str) or not isinstance(getattr(fn, "__module__", None), str):
        return "this is a callable object"
    if "<lambda>" in qualified:
        return "this is a lambda"
    if "<locals>" in qualified:
        return f"{function_name(fn)} is local to {qualified.partition('.<locals>')[0]}"
    if owner is not None and not inspect.isclass(owner) and not inspect.ismodule(owner):
        return f"{function_name(fn)} is a method of an object"
    return None


def kind_of(fn: Callable[..., Any]) -> Kind:
    """What a call of *fn* gives, as far as that can be seen from outside."""
    layer: Any = fn
    while layer is not None:
        if inspect.isasyncgenfunction(layer):
            return "async_generator"
        if inspect.iscoroutinefunction(layer):
            return "coroutine"
        if inspect.isgeneratorfunction(layer):
            return "generator"
        layer = _inside(layer)
    return "function"


def _inside(layer: Any) -> Any:
    """What *layer* passes its call on to, as far as that can be seen."""
    if isinstance(layer, functools.partial):
        return layer.func
    if hasattr(layer, "__wrapped__"):
        return layer.__wrapped__
    if inspect.isroutine(layer):
        return None
    return type(layer).__call__


def _signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The parameters a caller may use.

    A wrapper that takes ``**kwargs`` passes them on, so what it wraps decides.
    One that names all its parameters is taken at its word.
    """
    own = _try_signature(fn, follow_wrapped=False)
    if own and not any(each.kind is each.VAR_KEYWORD for each in own.parameters.values()):
        return own
    return _try_signature(fn, follow_wrapped=True)


def _try_signature(fn: Callable[..., Any], *, follow_wrapped: bool) -> inspect.Signature | None:
    try:
        return inspect.signature(fn, follow_wrapped=follow_wrapped)
    except (ValueError, TypeError):  # A C function that does not describe itself.
        return None


def _takes_turn(parameter: inspect.Parameter) -> bool:
    if parameter.kind in _VARIADIC:
        return False
    return parameter.name == "ctx" or _names_turn(parameter.annotation)


def _looks_like_turn(first: inspect.Parameter) -> bool:
    """A first parameter meant for the `Turn`; a value may be called ctx if its type says so."""
    bare = first.name == "ctx" and first.annotation is inspect.Parameter.empty
    return bare or _names_turn(first.annotation)


def _names_turn(annotation: Any) -> bool:
    return _names(annotation, "Turn")


def _names(annotation: Any, wanted: str) -> bool:
    """*wanted*, ``"module.wanted"``, or either with None; by name, as classes live floors above."""
    if isinstance(annotation, str):
        inner = re.sub(r"^[\w.]*\bOptional\[(.*)\]$", r"\1", annotation.strip(" '\""))
        return any(part.strip(" '\"").split(".")[-1] == wanted for part in inner.split("|"))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_names(each, wanted) for each in typing.get_args(annotation))
    if isinstance(annotation, typing.ForwardRef):
        return _names(annotation.__forward_arg__, wanted)
    return getattr(annotation, "__name__", None) == wanted


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in _VARIADIC


def _check_reachable(
    place: str, ctx: inspect.Parameter, rest: list[inspect.Parameter], unpack: bool
) -> None:
    """The `Turn` is passed by keyword; raise where that cannot work."""
    option = f"{place} parameter {ctx.name!r}"
    if ctx.kind is ctx.POSITIONAL_ONLY:
        raise ConfigurationError(option, "positional-only", "one that can be passed by name")
    behind = rest[rest.index(ctx) + 1 :]
    if unpack and ctx.kind is ctx.POSITIONAL_OR_KEYWORD:
        blocked = [each.name for each in behind if each.kind in (*_POSITIONAL, _STAR)]
        if blocked:
            wanted = "behind all that unpack=True fills, or behind a bare *"
            raise ConfigurationError(option, f"before {blocked[0]}", wanted)


def _wrong_signature(
    place: str, fn: Callable[..., Any], kind: Kind, signature: inspect.Signature, value: str
) -> ConfigurationError:
    word = "async def" if kind in ("coroutine", "async_generator") else "def"
    head = f"{word} {function_name(fn)}"
    return ConfigurationError(
        place,
        f"{head}{signature}",
        f"a function of one value, `{head}({value})` or `{head}({value}, ctx)` (bind other "
        "parameters with functools.partial, or spread a tuple or dict with unpack=True)",
    )
