"""Call a handler in a worker process, where only its name can go.

    here    address_of(fn) ── bytes ──► perform(address, spread, load) ──► result_of(bytes)
    there   address ──► import its module ──► walk its name ──► the handler ──► call

A decorated handler cannot be pickled: under its name stands the stage. So module and
qualified name are sent, and whoever looks there takes the handler out of the stage.
What goes to and fro is pickled here and not by the pool, so that a value or an error
that cannot be is one failed item, told in plain words, and no broken worker.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from actorflow.errors import ConfigurationError, DecodeError, EncodeError, MissingExtra, shown
from actorflow.graph.stage import Stage
from actorflow.runtime.processes import MAKES_READY

__all__ = ["address_of", "check_remote", "pack", "perform", "result_of", "spread_over", "unpacked"]

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
            ``"spread values"`` do the same and exhaust the generator that comes back, of which each
            value is packed by itself; ``"call"``
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
        if how.endswith("values"):  # Each as it is now: a generator may yield one object again.
            value = [_dumps(each, "what the handler yielded") for each in value]
    except BaseException as error:
        # Packed here: what rebuilds errors for the pool forgets the text of some.
        trace = "".join(traceback.format_exception(error))
        return pickle.dumps((False, pickle.dumps(_sendable(error)), trace))
    return pickle.dumps((True, _dumps(value, "what the handler returned"), ""))


def import_handler(address: bytes) -> None:
    """In the worker process: find the handler, so that a call of it need not.

    Whatever is wrong with it is told by the call.
    """
    with contextlib.suppress(Exception):
        _handler(address)


MAKES_READY[perform] = import_handler


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
        raise _unreadable(error) from error
    if not returned:
        value.add_note(f"in a worker process:\n{trace}")
        raise value
    return value


def unpacked(values: list[bytes]) -> list[Any]:
    """What a generator has yielded there.

    Raises:
        DecodeError: As `result_of`.
    """
    try:
        return [pickle.loads(each) for each in values]
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> DecodeError:
    return DecodeError(f"what the handler returned cannot be unpickled: {error!r}")


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


def _sendable(error: BaseException) -> Any:
    """*error*, if another process can make it again by itself; else what makes it there."""
    return error if _survives(error) else _Told(error)


class _Told:
    """An error whose class cannot be called with what pickle has of it; unpickled it is one."""

    def __init__(self, error: BaseException) -> None:
        cls = type(error)
        self._class = cls.__module__, cls.__qualname__
        self._args = tuple(each if _can_go(each) else shown(each) for each in error.args)
        facts = vars(error).items()
        self._facts = {name: fact for name, fact in facts if _can_go(fact)}
        self._text = _text_of(error)
        self._trace = "".join(traceback.format_exception(error))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self._class, self._args, self._facts, self._text, self._trace)


def _rebuilt(
    address: tuple[str, str], args: tuple[Any, ...], facts: dict[str, Any], text: str, trace: str
) -> BaseException:
    """An error of the class found at *address*, made without its ``__init__``."""
    try:
        cls = _find(*address)
        error: BaseException = cls.__new__(cls, *args)
        error.args = args
        vars(error).update(facts)
    except Exception:  # Of a local class, or one that is made in a way of its own.
        name = address[1]
        error = EncodeError(f"the handler raised what cannot go to another process: {name}: {text}")
        error.add_note(trace)
        return error
    if _text_of(error) != text:
        error.add_note(f"its text was: {text}")
    return error


def _survives(error: BaseException) -> bool:
    try:
        copy = pickle.loads(pickle.dumps(error))
        return type(copy) is type(error) and str(copy) == str(error)
    except Exception:
        return False


def _can_go(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        return False
    return True


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return shown(error)
