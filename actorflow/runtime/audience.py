"""Who wants to hear what: the observers of a run or a system, and what becomes of failing ones.

An observer that raises is logged once for each type of error, and counted every time; it
stays an observer. It is called where the thing happens and nothing goes on meanwhile: one
that is slow is a slow run, and nobody protects the run from that.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

import trio

from actorflow.core.events import ItemEvent

__all__ = ["Audience"]

logger = logging.getLogger("actorflow")


class Audience:
    """The observers of one run or system.

    Args:
        observers: Those it begins with.

    Attributes:
        observers: All there are.
        watched: Whether any of them wants to hear of items; then turns take the full commit.
        counters: Where their failures are counted, as ``observer_errors``.
        token: Of the trio run that they are told in, once it has begun.
    """

    def __init__(self, observers: Iterable[Any] = ()) -> None:
        self.counters: Counter[str] = Counter()
        self.nodes: dict[str, Any] = {}
        self.observers: tuple[Any, ...] = tuple(observers)
        self.watched = False
        self.token: trio.lowlevel.TrioToken | None = None
        self._takers: dict[type[Any], tuple[Any, ...]] = {}
        self._blamed: set[tuple[int, type[BaseException]]] = set()
        self._look_around()

    def observe(self, observer: Any) -> None:
        """Tell *observer* what happens from now on."""
        self.observers = (*self.observers, observer)
        self._look_around()

    def unobserve(self, observer: Any) -> None:
        """Tell *observer* nothing any more; one that is none is left alone."""
        self.observers = tuple(each for each in self.observers if each is not observer)
        self._blamed = {each for each in self._blamed if each[0] != id(observer)}
        self._look_around()

    def _look_around(self) -> None:
        self._takers.clear()
        self.watched = any(_wants_items(each) for each in self.observers)
        for node in self.nodes.values():
            if getattr(node, "work", None) is not None:
                node.alert = True  # Its worker asks anew whether it may take the fast branch.

    def takers(self, kind: type[Any]) -> tuple[Any, ...]:
        """Who wants events of the type *kind*."""
        found = self._takers.get(kind)
        if found is None:
            found = tuple(each for each in self.observers if _wants(each, kind))
            self._takers[kind] = found
        return found

    def emit(self, event: object) -> None:
        """Tell everybody who wants to hear of such an event."""
        for observer in self.takers(type(event)):
            try:
                observer.on_event(event)
            except BaseException as error:  # On purpose: no observer may end an actor.
                self.blame(observer, error, type(event).__name__)

    def emit_from_anywhere(self, event: object) -> None:
        """The same, from whatever thread this is; observers hear it in trio's."""
        if self.token is None or _current_token() is self.token:
            self.emit(event)
            return
        with contextlib.suppress(trio.RunFinishedError):  # Nobody is left to hear it.
            self.token.run_sync_soon(self.emit, event)

    def blame(self, observer: Any, error: BaseException, what: str) -> None:
        """*observer* has failed on *what*."""
        self.counters["observer_errors"] += 1
        key = (id(observer), type(error))
        if key not in self._blamed:
            self._blamed.add(key)
            text = "observer %s failed on %s; it is counted from now on and not told again"
            logger.error(text, type(observer).__qualname__, what, exc_info=error)


def wanted_by(observer: Any) -> tuple[type[Any], ...] | None:
    """The events that *observer* wants; `None` is all."""
    if not hasattr(observer, "on_event"):
        return ()
    wants = getattr(observer, "wants", None)
    return None if wants is None else tuple(wants)


def _wants(observer: Any, kind: type[Any]) -> bool:
    wants = wanted_by(observer)
    return wants is None or issubclass(kind, wants)


def _wants_items(observer: Any) -> bool:
    wants = wanted_by(observer)
    return wants is None or any(
        issubclass(each, ItemEvent) or issubclass(ItemEvent, each) for each in wants
    )


def _current_token() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:  # No trio runs in this thread.
        return None
