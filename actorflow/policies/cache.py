"""Remember what a handler gave for a value, and give that again for a while.

    value ──► known? ──► yes: no handler runs, nothing is taken from rates or breaker
                    └──► no:  run it, and remember what it gave

    key = module and qualified name of the handler, version of its stage, and the value

Here is what a cache is and which entries it keeps; who asks it, and when, is the
affair of the stage. Only values are kept that nobody can change, or bytes of others.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.decision import ADMIT, Answer
from actorflow.policies.gate import Gate
from actorflow.policies.machine import Declaration, check_key

__all__ = ["Cache", "CacheStore", "Entries", "GateBesideCache", "cache_key"]

V = TypeVar("V")


class CacheStore(Protocol):
    """Where entries are kept that are to outlive the process, or to be shared.

    Each method may be plain or async; plain ones are called in the loop and must be quick.
    Whatever one raises is logged and counted, and is a miss.
    """

    def get(self, key: str, /) -> bytes | Awaitable[bytes | None] | None:
        """What was set under *key*, or `None`."""

    def set(self, key: str, data: bytes, ttl: float, /) -> object:
        """Keep *data* under *key* for *ttl* seconds. May be written without *ttl*: how long an
        entry is good is also in *data*."""

    def delete(self, key: str, /) -> object:
        """Forget *key*, which is too old or cannot be read."""


@attrs.frozen
class Cache(Declaration):
    """Give what the handler gave for an equal value, for *ttl* seconds.

    Of equal values that come at the same time one runs, and the others wait for what it gives;
    if it fails, the next one runs. Failures, skips and turns that emitted or sent something are
    not remembered. Each hit is a copy of its own. A value, or a result, that cannot be written
    as bytes is not cached.

    Args:
        ttl: Seconds for which an entry is good; above 0.
        key: A function of the value: what stands for it in the key.
        max_entries: Most entries; the one that was not asked for longest is forgotten.
        store: Keeps the entries instead: any object with `get`, `set` and `delete`, as
            `CacheStore` describes them. Without one the stage remembers for as long as the
            event loop runs, over all runs of its flows.

    Raises:
        ConfigurationError: An option is out of range.
    """

    ttl: float = attrs.field()
    key: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)
    max_entries: int = attrs.field(default=10_000, kw_only=True)
    store: Any = attrs.field(default=None, kw_only=True, eq=id)

    def __attrs_post_init__(self) -> None:
        options.seconds("Cache.ttl", self.ttl, zero=False)
        check_key("Cache.key", self.key)
        options.count("Cache.max_entries", self.max_entries)
        self.check_placement()
        for name in ("shared", "per_worker"):
            if getattr(self, name):
                wanted = "left out: its key says whose it is, and a store may be shared"
                raise ConfigurationError(f"Cache.{name}", getattr(self, name), wanted)
        lacks = [each for each in _VERBS if not callable(getattr(self.store, each, None))]
        if self.store is not None and (lacks or isinstance(self.store, type)):
            wanted = f"an object with {', '.join(_VERBS)}"
            raise ConfigurationError("Cache.store", self.store, wanted)


_VERBS: Final = ("get", "set", "delete")


def cache_key(module: str, name: str, version: int, packed: bytes) -> str:
    """The key of an entry.

    Args:
        module: Where the handler is defined.
        name: Its qualified name.
        version: Of its stage.
        packed: The bytes of what the handler was given, or of what stands for it.
    """
    digest = hashlib.blake2b(packed, digest_size=20).hexdigest()
    return f"actorflow:{module}.{name}:{version}:{digest}"


class Entries(Generic[V]):
    """Entries in memory, the one that was asked for last at the end."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float, ttl: float, default: V) -> V:
        """What is under *key*, if it is not older than *ttl*; else *default*."""
        entry = self._entries.get(key)
        if entry is None:
            return default
        since, value = entry
        if now - since >= ttl:
            del self._entries[key]
            return default
        self._entries.move_to_end(key)
        return value

    def set(self, key: str, value: V, now: float, most: int) -> None:
        """Keep *value* under *key*, and at most so many entries."""
        self._entries[key] = (now, value)
        self._entries.move_to_end(key)
        while len(self._entries) > most:
            self._entries.popitem(last=False)


#: The token of a turn that no machine has heard of.
_FREE: Final = object()


class GateBesideCache:
    """A gate that lets what the cache knows pass: it will not use what the gate guards.

    Args:
        gate: The gate for all others.
        knows: Whether the cache has something for a body.
    """

    #: Each message must be looked at.
    calm = False

    __slots__ = ("_gate", "_knows")

    def __init__(self, gate: Gate, knows: Callable[[object], bool]) -> None:
        self._gate = gate
        self._knows = knows

    def ready(self, now: float, body: object, *, draining: bool = False) -> Answer:
        return ADMIT if self._knows(body) else self._gate.ready(now, body, draining=draining)

    def take(self, now: float, body: object) -> object:
        return _FREE if self._knows(body) else self._gate.take(now, body)

    def adopt(self, now: float) -> object:
        """Nothing is admitted the swift way here."""
        return _FREE

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        if token is not _FREE:
            self._gate.record(now, token, outcome)

    def give_back(self, now: float, token: Any, body: object) -> object:
        """The turn of *token* turned out to be a hit; answers the token it has from now on."""
        if token is not _FREE:
            self._gate.give_back(now, token, body)
        return _FREE

    def awake(self) -> None:
        """An entry has come: what had to wait may pass."""
        self._gate.awake()
