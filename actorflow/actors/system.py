"""`ActorSystem`: a tree of actors inside any trio program, from `async with` to its end.

    async with ActorSystem("bank") as system:
        alice = await system.spawn(Account(balance=10), name="alice")
        await alice.tell(Deposit(5))

The body runs in the caller's task, outside every scope of the tree: nothing in the
tree can cancel it, and leaving it always ends the tree, in reverse order of start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import trio

from actorflow import options
from actorflow.actors.seen import EventStream, TreeNode, snapshot_of
from actorflow.core.letters import DeadLetter
from actorflow.errors import InsideTurn, NotRunningError
from actorflow.runtime.cell import Ending, turn_here
from actorflow.runtime.declare import Plan
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.ports import real_ports
from actorflow.runtime.ref import ActorRef
from actorflow.runtime.spawn import (
    births,
    child_spec,
    make_node,
    nurture,
    ref_of,
    replay,
    spawn_in,
)
from actorflow.runtime.supervisor import SupervisorCell

__all__ = ["ActorSystem"]

#: How long leaving the block waits for held messages before it stops, in seconds.
DRAIN_SECONDS = 30.0


class ActorSystem:
    """A tree of supervised actors; an async context manager.

    Leaving the block drains for up to 30 s and then stops. With an exception in the body,
    a cancellation or Ctrl-C it stops at once: turns in progress are ended within the
    actors' `shutdown` times.

    Args:
        name: First part of every path.
        seed: Fixes the draws (jitter); `None` takes them from the machine.
        observers: Objects with `on_event`; told what happens, and free to fail.

    Raises:
        ConfigurationError: The name cannot be part of a path.
    """

    def __init__(
        self, name: str, *, seed: int | None = None, observers: Iterable[Any] = ()
    ) -> None:
        self.name = options.name("ActorSystem.name", name)
        self._seed = seed
        self._observers = tuple(observers)
        self._kernel: Kernel | None = None
        self._root: SupervisorCell | None = None
        self._ended = trio.Event()
        self._spawned = 0
        self._outer: Any = None

    # The block ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._kernel is not None:
            raise NotRunningError(f"system {self.name!r} was started before; make another one")
        kernel = self._kernel = Kernel(self.name, real_ports(self._seed), self._observers)
        kernel.births, kernel.nurture = births, nurture
        plan = Plan(max_restarts=None, on_exhausted="end", dynamic=True)
        self._root = SupervisorCell(f"/{self.name}", kernel, self, plan, make_node)
        self._outer = trio.open_nursery()
        nursery = await self._outer.__aenter__()
        nursery.start_soon(self._house, name=f"/{self.name}")
        return self

    @trio.lowlevel.enable_ki_protection
    async def _house(self) -> None:
        """Everything that runs below the block, shielded: only the root's end ends it."""
        assert self._kernel is not None
        assert self._root is not None
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as services:
                    self._kernel.services = services
                    services.start_soon(self._kernel.heap.run)
                    await self._root.serve()
                    self._root.finish(Ending("stopped"))
                    services.cancel_scope.cancel()
        finally:
            self._ended.set()

    def child_started(self, node: Any) -> None:
        """The root is ready; nobody waits for that."""

    def child_ended(self, node: Any, ending: Ending) -> None:
        """The root has ended; `_house` goes on from there."""

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        interrupted: BaseException | None = None
        try:
            if error is None:
                await self.drain(DRAIN_SECONDS)
            else:
                self._stop_now()
        except BaseException as raised:  # A cancellation or Ctrl-C while draining.
            interrupted = raised
            self._stop_now()
        while not self._ended.is_set():
            try:
                with trio.CancelScope(shield=True):
                    await self._ended.wait()
            except KeyboardInterrupt as raised:
                interrupted = raised
                self._running().kill()
        await self._outer.__aexit__(None, None, None)
        if interrupted is not None and error is None:
            raise interrupted

    def _running(self) -> SupervisorCell:
        if self._root is None:
            raise NotRunningError(f"system {self.name!r} is not running; use `async with`")
        return self._root

    def _stop_now(self) -> None:
        root = self._running()
        if root.ended is None:
            root.ask_to_stop(math.inf)

    # Verbs ----------------------------------------------------------------------------

    async def spawn(self, actor: Any, *, name: str | None = None, **given: Any) -> ActorRef[Any]:
        """Start an actor below the root; returns when its `on_start` is done.

        Args:
            actor: An `Actor` class or instance, a callable that makes one, a `Supervisor`, a
                `DynamicSupervisor` or a `ChildSpec`.
            name: Last part of its path; the class name and a number by default.
            **given: ``policies=()``, ``capacity=256`` (messages waiting, 0 for a rendezvous),
                ``overflow="block"`` ("fail", "drop_new", "drop_old"), ``restart="transient"``,
                ``max_restarts=3`` within ``window=30.0`` seconds, ``shutdown=5.0`` seconds to
                end before it is killed, ``backoff=None``, ``isolation="fields"`` ("copy").

        Raises:
            ConfigurationError: An option is wrong or the name is taken.
            NotRunningError: The system is not running, or is ending.
            Exception: Whatever `on_start` raised; nothing then stays registered.
        """
        root = self._open()
        if turn_here() is not None:
            raise InsideTurn("system.spawn()", "ctx.spawn()")
        self._spawned += 1
        node = await spawn_in(root, child_spec(actor, name, self._spawned, given))
        return ref_of(node)

    def ref(self, cls: type[Any], name: str) -> ActorRef[Any]:
        """The ref of the actor *name* below the root, if it lives.

        Raises:
            LookupError: No such actor.
        """
        path = f"/{self.name}/{name}"
        node = None if self._kernel is None else self._kernel.nodes.get(path)
        if node is None:
            raise LookupError(f"no living actor {path}; spawn it first")
        return ref_of(node)

    async def settled(self) -> None:
        """Return when all that was accepted so far is as safe as this system makes it.

        Without a store that is at once.
        """
        self._running()
        await trio.lowlevel.checkpoint()

    async def drain(self, timeout: float = DRAIN_SECONDS) -> None:
        """Take nothing more from outside, finish what is held, then stop; all by one deadline.

        What is not finished then becomes dead letters (`stopped`).

        Args:
            timeout: Seconds for everything together.
        """
        until = trio.current_time() + options.seconds("drain() timeout", timeout)
        self._refuse_inside("drain()")
        root = self._running()
        assert self._kernel is not None
        if root.ended is None:
            self._kernel.draining = True
            with trio.move_on_at(until):
                await self._kernel.quiet()
            root.ask_to_stop(until)
        await self._ended.wait()

    async def stop(self) -> None:
        """End turns within the actors' `shutdown` times, right to left; mail becomes dead letters."""
        self._refuse_inside("stop()")
        self._stop_now()
        await self._ended.wait()

    def cancel(self) -> None:
        """End everything now: running turns are cancelled."""
        root = self._running()
        if root.ended is None:
            root.kill()

    async def resume(self, ref: ActorRef[Any]) -> None:
        """Start a parked actor again; one that is not parked is left alone."""
        ref.cell.parent.resume(ref.cell)
        await trio.lowlevel.checkpoint()

    async def replay(self, letter: DeadLetter) -> None:
        """Send the body of a dead letter to its actor again, as attempt 1 of a replay.

        Raises:
            ActorStopped: The actor is gone.
        """
        root = self._open()
        await replay(root, letter)

    def _open(self) -> SupervisorCell:
        root = self._running()
        if root.ended is not None or (self._kernel is not None and self._kernel.draining):
            raise NotRunningError(f"system {self.name!r} is ending; it takes nothing new")
        return root

    def _refuse_inside(self, verb: str) -> None:
        if turn_here() is not None:
            raise InsideTurn(f"system.{verb}", "ctx.stop() or a task outside the system")

    # What is seen ---------------------------------------------------------------------

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The latest 10,000 messages that left without being acknowledged, oldest first."""
        return () if self._kernel is None else tuple(self._kernel.letters)

    def events(self) -> EventStream:
        """What happens from now on, as an async iterator; it ends with the system."""
        self._running()
        assert self._kernel is not None
        return EventStream(self._kernel, self._ended)

    def tree(self) -> TreeNode:
        """The actors of this moment, as a frozen tree; ``print`` draws it."""
        return snapshot_of(self._running())

    def stats(self) -> Mapping[str, int]:
        """Counters since the start: actors, held, dead_letters, restarts, mailbox_spilled, ..."""
        self._running()
        assert self._kernel is not None
        facts = dict(self._kernel.counters)
        facts = {name: count for name, count in facts.items() if not name.startswith("shared:")}
        return {**facts, "actors": len(self._kernel.nodes), "held": self._kernel.held}
