"""What an operator sees of a system: its tree as a frozen picture, its events as a stream."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import trio

from actorflow.runtime.kernel import Kernel
from actorflow.runtime.supervisor import SupervisorCell

__all__ = ["EventStream", "TreeNode", "snapshot_of"]

#: Events kept for a reader that is slow; the oldest are dropped and counted.
EVENTS_KEPT = 10_000


@attrs.frozen
class TreeNode:
    """One actor or supervisor at one moment.

    Attributes:
        path: Its path.
        kind: "supervisor" or the name of the actor's class.
        state: "starting", "running", "stopping", "backoff", "parked" or "down".
        incarnation: Which one; the first is 1.
        waiting: Messages in its mailbox.
        children: Below it, in start order.
    """

    path: str
    kind: str
    state: str
    incarnation: int
    waiting: int
    children: tuple[TreeNode, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        name = self.path.rpartition("/")[2]
        waiting = f", {self.waiting} waiting" if self.waiting else ""
        lines = [f"{indent}{name} ({self.kind}, {self.state}{waiting})"]
        for child in self.children:
            lines.extend(child._lines(indent + "  "))
        return lines


def snapshot_of(node: Any, state: str = "running") -> TreeNode:
    """The picture of *node* and all below it."""
    if isinstance(node, SupervisorCell):
        below = node
        kind, waiting = "supervisor", 0
    else:
        below = node.children
        kind = type(node.instance).__name__ if node.instance is not None else "actor"
        waiting = len(node.mailbox) if node.mailbox.path == node.path else 0
    children = () if below is None else tuple(below.children.values())
    return TreeNode(
        node.path,
        kind,
        state,
        node.incarnation,
        waiting,
        tuple(snapshot_of(child.node, child.state.value) for child in children if child.node),
    )


class EventStream:
    """Events as they happen; an async iterator, and an observer of its system."""

    def __init__(self, kernel: Kernel, ended: trio.Event) -> None:
        self._kernel = kernel
        self._ended = ended
        self._events: deque[Any] = deque(maxlen=EVENTS_KEPT)
        self._arrived = trio.Event()
        kernel.observe(self)

    def on_event(self, event: Any) -> None:
        if len(self._events) == EVENTS_KEPT:
            self._kernel.counters["events_dropped"] += 1
        self._events.append(event)
        self._arrived.set()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._ended.is_set():
                raise StopAsyncIteration
            self._arrived = trio.Event()
            async with trio.open_nursery() as nursery:
                for event in (self._arrived, self._ended):
                    nursery.start_soon(_first, event, nursery.cancel_scope)
        return self._events.popleft()

    async def aclose(self) -> None:
        """Listen no more."""
        self._kernel.unobserve(self)
        await trio.lowlevel.checkpoint()


async def _first(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
