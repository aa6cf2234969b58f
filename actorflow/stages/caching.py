"""Ask a `Cache` around the handler: one runs, the others get what it gave.

    message ──► known? ────────────► a copy; what the gate has taken for it goes back
                  │ no
                  ├──► in flight ──► wait for whoever runs, off the clock; then look again
                  └──► run, remember, end the flight

Without a store a stage's entries live as long as the event loop, and are those of all runs
of its flows; so is the knowledge of what is in flight. Whoever waits for a flight keeps its
worker, and nothing else: no thread, no process, no time of its own timeout. A flight that
fails, or is not worth remembering, wakes all who wait: the first of them runs, the others
wait for it.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import secrets
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import trio

from actorflow.core.context import Context
from actorflow.errors import ConfigurationError, EncodeError
from actorflow.graph.joining import is_wiring
from actorflow.graph.nodes import UNCHANGED, Send
from actorflow.graph.stage import Stage
from actorflow.policies.cache import Cache, Entries, cache_key
from actorflow.policies.chain import Chain
from actorflow.runtime.cell import Cell
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.turn import Turn
from actorflow.stages.around import Around
from actorflow.stages.clock import off_the_clock
from actorflow.stages.copies import Keepsake, keep, same
from actorflow.stages.remote import address_of
from actorflow.wire.codec import decode, encode

__all__ = ["STORE_SECONDS", "Memory", "memory_of"]

logger = logging.getLogger("actorflow")

#: How long an async store may take for one verb, in seconds.
STORE_SECONDS = 5.0


class Flight:
    """A handler that runs, and for which others wait.

    Attributes:
        over: Set when it has ended.
        kept: What it gave, if that is worth keeping.
    """

    __slots__ = ("kept", "over")

    def __init__(self) -> None:
        self.over = trio.Event()
        self.kept: Keepsake | None = None


class Shelf:
    """What is known of one stage in one event loop.

    Attributes:
        entries: What its handler gave.
        flights: What is being worked on.
        readers: Who wants to know of new entries.
    """

    def __init__(self) -> None:
        self.entries: Entries[Keepsake | None] = Entries()
        self.flights: dict[str, Flight] = {}
        self.readers: WeakSet[Memory] = WeakSet()


_SHELVES: trio.lowlevel.RunVar[WeakKeyDictionary[Any, dict[Any, Shelf]]] = trio.lowlevel.RunVar(
    "actorflow shelves"
)


def _shelf_of(stage: Stage[Any, Any], policy: Cache) -> Shelf:
    try:
        shelves = _SHELVES.get()
    except LookupError:
        shelves = WeakKeyDictionary()
        _SHELVES.set(shelves)
    own = shelves.setdefault(stage, {})
    return own.setdefault((policy.key, id(policy.store)), Shelf())


def memory_of(stage: Stage[Any, Any], mailbox: Mailbox, chain: Chain) -> Memory | None:
    """The cache of *stage*, if it has one. What a flow says for all its stages is not about
    generators, whose values are many, nor about its wiring."""
    wanted = chain.cache is not None and "generator" not in stage.kind and not is_wiring(stage)
    return Memory(stage, mailbox, chain) if wanted else None


class Memory:
    """The cache of one stage in one run.

    Args:
        stage: The declaration.
        mailbox: Where its messages wait.
        chain: Its policies, one of which is a `Cache`.
    """

    def __init__(self, stage: Stage[Any, Any], mailbox: Mailbox, chain: Chain) -> None:
        assert chain.cache is not None
        self._stage = stage
        self._mailbox = mailbox
        self._kernel = mailbox.kernel
        self._chain = chain
        self._shelf = _shelf_of(stage, chain.cache)
        self._shelf.readers.add(self)
        self._module, self._name = _identity_of(stage)
        self._reads = getattr(stage, "reads", None)
        self._warned = False

    @property
    def _policy(self) -> Cache:
        assert self._chain.cache is not None
        return self._chain.cache

    # Before the lease -----------------------------------------------------------------

    def knows(self, body: object) -> bool:
        """Whether there is an entry for *body* in memory."""
        try:
            key = self._key(body)
        except Exception:  # Of the user's key function: the handler's turn will say it.
            return False
        return key is not None and self._look(key) is not None

    def _key(self, body: Any) -> str | None:
        """The key of *body*; `None` if it cannot be written."""
        policy = self._policy
        if policy.key is not None:
            body = policy.key(body)
        elif self._reads is not None:
            body = [[name, body[name]] for name in sorted(self._reads) if name in body]
        try:
            packed = encode(body)
        except EncodeError as error:
            self._warn(f"a value cannot be written ({error}); give Cache(key=...)")
            return None
        return cache_key(self._module, self._name, self._stage.version, packed)

    def _look(self, key: str) -> Keepsake | None:
        return self._shelf.entries.get(key, self._kernel.now(), self._policy.ttl, None)

    # Around the handler ---------------------------------------------------------------

    def around(self, cell: Cell, call: Around) -> Around:
        """*call*, asked only for what is not known."""

        async def cached(body: Any, turn: Turn) -> Any:
            if self._reads is not None and type(body) is not Context:
                body = Context(body)
            key = self._key(body)
            if key is None:
                return await call(body, turn)
            shelf = self._shelf
            while (kept := self._look(key)) is None and key in shelf.flights:
                flight = shelf.flights[key]
                await off_the_clock(cell, flight.over.wait)
                if flight.kept is not None:
                    kept = flight.kept
                    break
            if kept is None:
                flight = shelf.flights[key] = Flight()
                try:
                    kept = await self._recall(key)
                    if kept is None:
                        return await self._run(cell, call, body, turn, key, flight)
                    flight.kept = kept
                finally:
                    del shelf.flights[key]
                    flight.over.set()
            self._count("cache_hits")
            _give_back(cell, body)
            return _given(body, _attached(turn, kept.copy()))

        return cached

    async def _run(
        self, cell: Cell, call: Around, body: Any, turn: Turn, key: str, flight: Flight
    ) -> Any:
        self._count("cache_misses")
        # If steps were done in an earlier turn, nobody knows which facts are theirs.
        behind = self._stage.steps and cell.lease is not None and cell.lease.emitted
        whole = not (behind and turn.headers)
        asked = body.fork(body.name) if type(body) is Context else body
        value, found = _entry_of(body, await call(asked, turn))
        if whole and found is not None and _is_all(turn):
            kept = keep(_with_facts(turn, found))
            if kept is None:
                self._warn(f"what {cell.mailbox.path} gives cannot be written")
            else:
                flight.kept = kept
                await self._remember(key, kept)
        return value

    async def _recall(self, key: str) -> Keepsake | None:
        """What the store has, if there is one."""
        store = self._policy.store
        if store is None:
            return None
        data = await self._ask(store.get, key)
        if data is None:
            return None
        try:
            until, value = decode(data, max_bytes=None)
            if until > self._kernel.ports.wall():
                return keep(value)
        except Exception as error:
            self._failed(store.get, error)
        await self._ask(store.delete, key)
        return None

    async def _remember(self, key: str, kept: Keepsake) -> None:
        policy = self._policy
        if policy.store is None:
            self._shelf.entries.set(key, kept, self._kernel.now(), policy.max_entries)
            for reader in list(self._shelf.readers):
                reader.wake()
            return
        data = encode([self._kernel.ports.wall() + policy.ttl, kept.original])
        args = (key, data, policy.ttl)
        await self._ask(policy.store.set, *(args if _takes(policy.store.set, 3) else args[:2]))

    def wake(self) -> None:
        """There is an entry more: what the gate made wait may be known now."""
        if self._chain.gate is not None:
            self._mailbox.wake_for_work()

    # The store ------------------------------------------------------------------------

    async def _ask(self, verb: Callable[..., Any], *args: Any) -> Any:
        """What *verb* of the store answers; `None` if it fails."""
        try:
            answer = verb(*args)
            if inspect.isawaitable(answer):
                with trio.fail_after(STORE_SECONDS):
                    return await answer
            return answer
        except Exception as error:
            self._failed(verb, error)
            return None

    def _failed(self, verb: Callable[..., Any], error: BaseException) -> None:
        self._count("cache_errors")
        what = f"{getattr(verb, '__name__', 'verb')}() of its cache's store"
        self._kernel.report(self._mailbox.path, what, error)

    def _count(self, what: str) -> None:
        self._kernel.counters[what] += 1

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: not cached: %s", self._mailbox.path, text)


def _entry_of(body: Any, value: Any) -> tuple[Any, tuple[Any, ...] | None]:
    """*value*, which a handler gave for *body*, and what to remember of it; `None` if that cannot
    be told. Of a context that is what is the handler's: all else is that of the item, and no
    other item's."""
    if type(value) is Send:
        if value.patch is UNCHANGED:
            return value, ("send", value.route)
        patch, found = _entry_of(body, value.patch)
        return Send(value.route, patch), found and ("send", value.route, found)
    if type(body) is not Context or type(value) is not Context:
        return value, ("value", value)
    new = {key: value[key] for key in value.written if key in value}
    gone = [key for key in value.written if key not in value]
    result = _given(body, ("patch", new, gone))
    return (result, ("patch", new, gone)) if result == value else (value, None)


def _with_facts(turn: Turn, found: tuple[Any, ...]) -> tuple[Any, ...]:
    """*found*, with what the handler has attached to its item."""
    if turn.effects is None or turn.effects.metadata is None:
        return found
    before, after = turn.headers, turn.metadata
    new = {
        name: fact
        for name, fact in after.items()
        if name not in before or not same(fact, before[name])
    }
    gone = [name for name in before if name not in after]
    return ("facts", new, gone, found) if new or gone else found


def _attached(turn: Turn, found: Any) -> Any:
    """What *found* is of the value, its facts attached to the item of *turn*."""
    if found[0] != "facts":
        return found
    _, new, gone, found = found
    turn.metadata.update(new)
    for name in gone:
        turn.metadata.pop(name, None)
    return found


def _given(body: Any, found: Any) -> Any:
    """The value that an entry stands for, for *body*."""
    if found[0] == "value":
        return found[1]
    if found[0] == "send":
        return Send(found[1], *(_given(body, each) for each in found[2:]))
    _, new, gone = found
    for key in gone:
        body = body.remove(key) if key in body else body
    return body.update(new) if new else body


def _give_back(cell: Cell, body: Any) -> None:
    """The turn is a hit: it counts for no rate, breaker or bulkhead."""
    if cell.token is not None:
        cell.token = cell.gate.give_back(cell.now(), cell.token, body)


def _is_all(turn: Turn) -> bool:
    """Whether what the handler returned is all that came of its turn."""
    did = turn.effects
    return did is None or not (did.skipped or did.emits or did.sends or did.newborn or did.ops)


def _takes(verb: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(verb).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # It cannot be looked into.
        return True
    return True


# Whose value it is -----------------------------------------------------------------------

#: Names of handlers that nobody else can find, for as long as their stages live.
_NAMELESS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def _identity_of(stage: Stage[Any, Any]) -> tuple[str, str]:
    """Module and name of the handler of *stage*, as they stand in keys.

    A name that leads back to the function says which one it is, over processes too. Lambdas,
    local functions and methods of objects have names that others may have: they get a part
    that nobody else has, so that two never answer for each other.
    """
    fns = [each.fn for each in stage.steps] or [stage.fn]
    names, modules, addresses = [], [], []
    for fn in fns:
        inner = fn
        while hasattr(inner, "func"):  # A partial.
            inner = inner.func
        modules.append(_module_of(inner))
        names.append(getattr(inner, "__qualname__", type(inner).__qualname__))
        try:
            addresses.append(address_of(fn))
        except (ConfigurationError, EncodeError, AttributeError):
            own = _NAMELESS.setdefault(stage, secrets.token_hex(8))
            return modules[0], f"{'+'.join(names)}#{own}"
    name = "+".join(names)
    if any(hasattr(fn, "func") for fn in fns) or len(set(modules)) > 1:
        name += f"#{hashlib.blake2b(b''.join(addresses), digest_size=8).hexdigest()}"
    return modules[0], name


def _module_of(fn: Any) -> str:
    name = str(getattr(fn, "__module__", "?"))
    if name != "__main__":
        return name
    main = sys.modules["__main__"]  # Any script is called so.
    spec = getattr(main, "__spec__", None)
    return spec.name if spec else str(getattr(main, "__file__", name))
