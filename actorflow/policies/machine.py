"""What a policy is: a declaration that users write, and the machine that the runtime makes of it.

    RateLimit(50)  ── .machine() ──►  ready(now, key)            asks, changes nothing
    a frozen value                    take(now, key) -> token    begins a turn
                                      record(now, token, ok)     ends it
                                      dump(now) / load(...)      survives a restart

Declarations are values: equal, hashable, reusable for any number of stages.
State lives in machines only. A machine reads no clock: *now* comes in, in
monotonic seconds, and never falls. *outcome* is `True`, `False`, or `None` for
a turn that we ended ourselves, which says nothing about the service behind it.

A policy of one's own is an object with `machine()`, with `decide()`, or both.
It need not inherit anything; `BaseMachine` spares the methods it has no use for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeAlias

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.decision import ADMIT, Answer, Decision

__all__ = [
    "BaseMachine",
    "Decider",
    "Declaration",
    "KeyFunction",
    "Machine",
    "Policy",
    "Watcher",
    "check_flag",
    "check_key",
]

KeyFunction: TypeAlias = Callable[[Any], Hashable]
"""From the body of a message to the key that it is counted under."""


class Machine(Protocol):
    """The state of one policy, asked before each lease and told after each turn.

    Attributes:
        calm: A turn admitted and ended well right now would change nothing that
            anybody can see. A gate whose machines are all calm need not be asked.
    """

    calm: bool

    def ready(self, now: float, key: Hashable) -> Answer:
        """Say whether a turn may begin. Changes nothing."""

    def take(self, now: float, key: Hashable) -> object:
        """Count a turn that begins; the token goes back to `record`."""

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        """Count how that turn ended. Called exactly once per token."""

    def dump(self, now: float) -> dict[str, Any]:
        """The state as plain values; times as what remains of them."""

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        """Go on from *state*, dumped *elapsed* seconds ago; no time falls below 0."""


class Policy(Protocol):
    """A declaration that guards the lease. May have `key`, a `KeyFunction` or `None`."""

    def machine(self) -> Machine | None:
        """A new machine in its first state; `None` if nothing is to be kept."""


class Decider(Protocol):
    """A declaration with a say in what becomes of a failed message."""

    def decide(
        self, attempt: int, error: BaseException, *, crashed: bool, age: float, draw: float
    ) -> Decision | None:
        """Answer for the *attempt*-th run, or `None` to leave it to the others."""


class Watcher(Protocol):
    """Who wants to know that a machine, which others use too, has changed."""

    def refresh(self) -> None:
        """`calm` of some machine has changed."""

    def awake(self) -> None:
        """What had to wait may be admitted now."""


class BaseMachine:
    """A machine that admits everything and keeps nothing; ours build on it.

    Args:
        policy: The declaration it was made from.
        calm: See `Machine.calm`.
    """

    __slots__ = ("__weakref__", "_watchers", "calm", "policy")

    def __init__(self, policy: object, *, calm: bool) -> None:
        self.policy = policy
        self.calm = calm
        self._watchers: weakref.WeakSet[Watcher] | None = None

    def ready(self, now: float, key: Hashable) -> Answer:
        return ADMIT

    def take(self, now: float, key: Hashable) -> object:
        return None

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        pass

    def dump(self, now: float) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        pass

    def change(self, policy: Any, now: float) -> None:
        """Go on under another declaration of the same kind, keeping what was counted."""
        self.policy = policy

    def settle(self, calm: bool) -> None:
        """Set `calm`, and tell the watchers if that is new."""
        if calm is not self.calm:
            self.calm = calm
            for watcher in list(self._watchers or ()):
                watcher.refresh()

    def watch(self, watcher: Watcher) -> None:
        """Tell *watcher* of changes for as long as it lives.

        Held weakly: a shared machine outlives the gates of actors that come and go.
        """
        if self._watchers is None:
            self._watchers = weakref.WeakSet()
        self._watchers.add(watcher)

    def wake(self) -> None:
        """Tell the watchers that what had to wait may be admitted now, or must ask anew."""
        for watcher in list(self._watchers or ()):
            watcher.awake()


@attrs.frozen(kw_only=True)
class Declaration:
    """What every policy of ours can say about where its state lives.

    Args:
        shared: A name. Policies of one kind and one name are one: all stages and actors
            that use it take from the same state. They must be declared alike.
        per_worker: Each worker of the stage has its own state, instead of all having one.
        scope: `"system"`: the state is that of this process.

    Raises:
        ConfigurationError: An option is out of range, or two contradict.
    """

    shared: str | None = None
    per_worker: bool = False
    scope: str = "system"

    def check_placement(self) -> None:
        """Refuse what no policy may say about its place."""
        kind = type(self).__name__
        options.optional(options.name, f"{kind}.shared", self.shared)
        check_flag(f"{kind}.per_worker", self.per_worker)
        if self.shared is not None and self.per_worker:
            wanted = f"False where shared={self.shared!r} is given"
            raise ConfigurationError(f"{kind}.per_worker", self.per_worker, wanted)
        options.choice(f"{kind}.scope", self.scope, ("system", "store"))
        if self.scope == "store":
            wanted = "'system' ('store' needs a store-backed system)"
            raise ConfigurationError(f"{kind}.scope", self.scope, wanted)


def check_flag(option: str, value: object) -> None:
    """Exactly `True` or `False`: a string such as "no" would count as true."""
    if not isinstance(value, bool):
        raise ConfigurationError(option, value, "True or False")


def check_key(option: str, value: object) -> None:
    """A function of the body, or nothing."""
    if value is not None and not callable(value):
        raise ConfigurationError(option, value, "a function of the message body, or None")
