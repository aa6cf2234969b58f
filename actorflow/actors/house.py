"""Where a tree of actors lives: one nursery in its owner's task, and everything under a shield.

    owner's task ── nursery ── shield ── services (the due heap, worker processes, ...)
                                    └── the root supervisor ── the tree

Nothing outside can cancel what is below the shield; nothing below can cancel the
owner. So an ending has one way to go: the root is asked to stop, stops its children
right to left, and only then the services end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import trio

from actorflow.runtime.cell import Ending
from actorflow.runtime.declare import Plan
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.offload import wait_a_moment
from actorflow.runtime.spawn import births, nurture
from actorflow.runtime.supervisor import SupervisorCell

__all__ = ["House"]


class House:
    """One running tree.

    Args:
        kernel: Its services.
        plan: What its root supervisor goes by.
        make: Makes the node of a child of the root.

    Attributes:
        root: The root supervisor.
        ended: Set when nothing of the tree is left.
        ending: How the root ended, once it has.
        on_end: Called when nothing of the tree is left; the services end after it.
    """

    def __init__(self, kernel: Kernel, plan: Plan, make: Any) -> None:
        kernel.births, kernel.nurture = births, nurture
        self.kernel = kernel
        self.root = SupervisorCell(f"/{kernel.name}", kernel, self, plan, make)
        self.ended = trio.Event()
        self.ready = trio.Event()
        self.ending: Ending | None = None
        self.on_end: Callable[[], None] | None = None
        self._nursery: Any = None

    async def open(self) -> None:
        """Start the tree; the caller's task must `close` it."""
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        nursery.start_soon(self._live, name=self.root.path)

    @trio.lowlevel.enable_ki_protection
    async def _live(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as services:
                    self.kernel.services = services
                    self.kernel.token = trio.lowlevel.current_trio_token()
                    services.start_soon(self.kernel.heap.run)
                    self.root.incarnation = 1
                    self.ending = await self.root.serve()
                    self.root.finish(self.ending)
                    self.kernel.close()
                    await wait_a_moment(self.kernel)
                    if self.on_end is not None:
                        self.on_end()
                    services.cancel_scope.cancel()
        finally:
            self.ready.set()
            self.ended.set()

    def child_started(self, node: Any) -> None:
        self.ready.set()

    def child_ended(self, node: Any, ending: Ending) -> None:
        """The root serves in a task of ours, which goes on by itself."""

    @property
    def alive(self) -> bool:
        """Whether the root may still take children."""
        return self.root.ended is None and not self.ended.is_set()

    def stop(self, deadline: float = math.inf) -> None:
        """Ask the tree to end, by *deadline* at the latest."""
        if self.alive:
            self.root.ask_to_stop(deadline)

    def kill(self) -> None:
        """End the tree now."""
        if self.alive:
            self.root.kill()

    async def close(self) -> None:
        """Wait for the end, which must have been asked for; neither a cancellation nor
        Ctrl-C cuts it short, but Ctrl-C makes it a kill. Raises a Ctrl-C at the end."""
        interrupted: KeyboardInterrupt | None = None
        while not self.ended.is_set():
            try:
                with trio.CancelScope(shield=True):
                    await self.ended.wait()
            except KeyboardInterrupt as raised:
                interrupted = raised
                self.kill()
        await self._nursery.__aexit__(None, None, None)
        if interrupted is not None:
            raise interrupted
