"""Call a handler in a worker process, where only its name can go.

    here    address_of(fn) ── bytes ──► perform(address, spread, load) ──► result_of(bytes)
    there   address ──► import its module ──► walk its name ──► the handler ──► call

A decorated handler cannot be pickled: under its name stands the stage. So module and
qualified name are sent, and whoever looks there takes the handler out of the stage.
What goes to and fro is pickled here and not by the pool, so that a value or an error
that cannot be is one failed item, told in plain words, and no broken worker.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from actorflow.errors import ConfigurationError, DecodeError, EncodeError, MissingExtra
from actorflow.graph.stage import Stage

__all__ = ["address_of", "check_remote", "pack", "perform", "result_of", "spread_over"]

#: What the error of an address calls the option that needs it.
OPTION = "runs_in='process'"


def address_of(fn: Callable[..., Any]) -> bytes:
    """Where another process finds *fn*; of a partial, also what it binds.

    Raises:
        ConfigurationError: Under the name of *fn* stands something else, or nothing.
        EncodeError: What a partial binds cannot be sent.
    """
    if isinstance(fn, functools.partial):
        return _dumps(("partial", address_of(fn.func), fn.args, fn.keywords), "a partial")
    address = (fn.__module__, fn.__qualname__)
    try:
        found = _find(*address)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(OPTION, fn, f"used with what can be imported ({error})") from None
    if found != fn:
        name = ".".join(address)
        wanted = f"used with the function that is found as {name}, which is {found!r:.200}"
        raise ConfigurationError(OPTION, fn, wanted)
    return pickle.dumps(address)


def check_remote(stage: Stage[Any, Any]) -> None:
    """Raise unless a worker process could be had and would find the handler of *stage*.

    Raises:
        ConfigurationError: It is not found under its name.
        EncodeError: What a partial binds cannot be sent.
        MissingExtra: There can be no worker processes.
    """
    if importlib.util.find_spec("trio_parallel") is None:
        raise MissingExtra("runs_in='process'", "trio-parallel", "process")
    plain = [each.fn for each in stage.steps if each.handler.kind == "function"]
    for fn in plain if stage.steps else [stage.fn]:
        address_of(fn)


def pack(body: Any) -> bytes:
    """The bytes of a message.

    Raises:
        EncodeError: It cannot be pickled.
    """
    return _dumps(body, "the message")


def perform(address: bytes, how: str, load: bytes) -> bytes:
    """In the worker process: call the handler and pack what it returns or raises.

    Args:
        address: From `address_of`.
        how: ``"value"``; ``"spread"`` spreads the message over the parameters; ``"values"`` and
            ``"spread values"`` do the same and exhaust the generator that comes back; ``"call"``
            takes the message for positional arguments and keywords.
        load: From `pack`.

    Raises:
        EncodeError: What the handler returned cannot be pickled.
    """
    fn = _handler(address)
    body = pickle.loads(load)
    try:
        if how == "call":
            value = fn(*body[0], **body[1])
        else:
            value = spread_over(fn, body, {}) if how.startswith("spread") else fn(body)
        if inspect.isawaitable(value):
            raise TypeError(f"{fn!r} gave an awaitable; an `async def` needs runs_in='loop'")
        if how.endswith("values"):
            value = list(value)
    except BaseException as error:
        # Packed here: what rebuilds errors for the pool forgets the text of some.
        trace = "".join(traceback.format_exception(error))
        return pickle.dumps((False, pickle.dumps(_sendable(error)), trace))
    return pickle.dumps((True, _dumps(value, "what the handler returned"), ""))


def result_of(packed: bytes) -> Any:
    """What the handler returned.

    Raises:
        DecodeError: It can be pickled, but not be made from that again.
        BaseException: What the handler raised, its traceback there as a note.
    """
    try:
        returned, load, trace = pickle.loads(packed)
        value = pickle.loads(load)
    except Exception as error:
        raise DecodeError(f"what the handler returned cannot be unpickled: {error!r}") from error
    if not returned:
        value.add_note(f"in a worker process:\n{trace}")
        raise value
    return value


def spread_over(fn: Callable[..., Any], body: Any, extra: dict[str, Any]) -> Any:
    """Call *fn* with what is in *body*, as ``unpack=True`` says."""
    if isinstance(body, Mapping):
        return fn(**body, **extra)
    if isinstance(body, (tuple, list)):
        return fn(*body, **extra)
    raise TypeError(f"unpack=True needs a tuple, a list or a dict, got {body!r:.200}")


@functools.cache
def _handler(address: bytes) -> Callable[..., Any]:
    found = pickle.loads(address)
    if found[0] != "partial":
        handler: Callable[..., Any] = _find(*found)
        return handler
    _, inner, args, keywords = found
    return functools.partial(_handler(inner), *args, **keywords)


def _find(module: str, qualified: str) -> Any:
    # In a worker process multiprocessing has put the main module under both its names.
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for name in qualified.split("."):
        found = getattr(found, name)
    return found.fn if isinstance(found, Stage) else found


def _dumps(value: Any, what: str) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        kind = type(value).__qualname__
        text = f"{what} (of type {kind}) cannot go to another process: {error}"
        raise EncodeError(text) from None


def _sendable(error: BaseException) -> BaseException:
    """*error*, if another process can make it again; else one that says what it was.

    What it was caused by is left away where that cannot be sent.
    """
    if not _survives(error):
        text = f"{type(error).__qualname__}: {error}"
        lost = "".join(traceback.format_exception(error))
        error = EncodeError(f"the handler raised what cannot go to another process: {text}")
        error.add_note(lost)
    if error.__cause__ is not None:
        error.__cause__ = _sendable(error.__cause__)
    elif error.__context__ is not None and not error.__suppress_context__:
        error.__context__ = _sendable(error.__context__)
    return error


def _survives(error: BaseException) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False
