"""`ActorSystem`: a tree of actors inside any trio program, from `async with` to its end.

    async with ActorSystem("bank") as system:
        alice = await system.spawn(Account(balance=10), name="alice")
        await alice.tell(Deposit(5))

The body runs in the caller's task, outside every scope of the tree: nothing in the
tree can cancel it, and leaving it always ends the tree, in reverse order of start.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import trio

from actorflow import options
from actorflow.actors.house import House
from actorflow.actors.lasting import Lasting, readopt
from actorflow.actors.seen import EventStream, TreeNode, snapshot_of
from actorflow.core.letters import DeadLetter
from actorflow.errors import ActorStopped, ConfigurationError, InsideTurn, NotRunningError
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.cell import turn_here
from actorflow.runtime.declare import Plan
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.ports import real_ports
from actorflow.runtime.ref import ActorRef
from actorflow.runtime.spawn import (
    child_spec,
    make_node,
    ref_of,
    replay,
    spawn_in,
)

__all__ = ["ActorSystem"]

#: How long leaving the block waits for held messages before it stops, in seconds.
DRAIN_SECONDS = 30.0

#: Counters that are always there to be read.
NOTHING_YET = dict.fromkeys(("dead_letters", "errors", "mailbox_spilled", "restarts"), 0)


class ActorSystem:
    """A tree of supervised actors; an async context manager.

    Leaving the block drains for up to 30 s and then stops. With an exception in the body,
    a cancellation or Ctrl-C it stops at once: turns in progress are ended within the
    actors' `shutdown` times.

    Args:
        name: First part of every path.
        seed: Fixes the draws (jitter); `None` takes them from the machine.
        observers: Objects with `on_event`; told what happens, and free to fail.
        debug: Whether to say so when a failed turn has changed a field in place, at the
            price of a copy of the fields per turn; by default as Python is (``-X dev``).

    Raises:
        ConfigurationError: The name cannot be part of a path.
    """

    def __init__(
        self,
        name: str,
        *,
        seed: int | None = None,
        observers: Iterable[Any] = (),
        debug: bool | None = None,
        store: Any = None,
        restore: str = "eager",
        tune: bool = True,
    ) -> None:
        self.name = options.name("ActorSystem.name", name)
        self._store = store
        self._restore = options.choice("ActorSystem.restore", restore, ("eager", "lazy"))
        self._tune = tune
        self._lasting: Lasting | None = None
        self._restored: set[str] = set()
        self._failure: BaseException | None = None
        self._forgotten = False
        self._drains: list[trio.CancelScope] = []
        self._seed = seed
        self._observers = tuple(observers)
        self._debug = sys.flags.dev_mode if debug is None else debug
        self._house: House | None = None
        self._spawned = 0

    # The block ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._house is not None:
            raise NotRunningError(f"system {self.name!r} was started before; make another one")
        kernel = Kernel(self.name, real_ports(self._seed), self._observers)
        kernel.debug = self._debug
        plan = Plan(max_restarts=None, on_exhausted="end", dynamic=True)
        if self._store is not None:
            self._lasting = Lasting(kernel, self._store, tune=self._tune, on_failure=self._give_up)
            await self._lasting.open()
        self._house = House(kernel, plan, make_node)
        await self._house.open()
        if self._lasting is not None:
            try:
                await self._house.ready.wait()
                self._lasting.hold.start()
                if self._restore == "eager":
                    self._restored = await self._lasting.restore(self._house.root)
            except BaseException:
                await self._close(broken=True)
                raise
        return self

    def _give_up(self, error: BaseException) -> None:
        """Nothing more can be kept: end, and say why when the block is left."""
        if self._failure is None:
            self._failure = error
        self._stop(kill=True)
        for scope in self._drains:
            scope.cancel()

    def _stop(self, deadline: float = math.inf, *, kill: bool = False) -> None:
        """Ask the tree to end; in a durable system mail and states stay for the next life."""
        house = self._running()
        if house.kernel.journal is not None:
            house.kernel.journal.closing = True
        if kill:
            house.kill()
        else:
            house.stop(deadline)

    async def _close(self, *, broken: bool) -> None:
        house, lasting = self._running(), self._lasting
        self._stop()
        try:
            await house.close()
        finally:
            if lasting is not None:
                await lasting.hold.close(None if self._forgotten else "parked", broken=broken)
        if self._failure is not None and not broken:
            raise self._failure

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.drain(DRAIN_SECONDS)
        except BaseException as raised:  # A cancellation or Ctrl-C while draining.
            error = raised
            raise
        finally:
            # What a call says of the end is no reason; what the system ended of is one.
            told = self._failure is not None and _says_the_end(error, type(self._failure))
            await self._close(broken=error is not None and not told)

    def _running(self) -> House:
        if self._house is None:
            raise NotRunningError(f"system {self.name!r} is not running; use `async with`")
        return self._house

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
        house = self._open()
        self._refuse_inside("spawn()", "ctx.spawn()")
        whole = isinstance(actor, ChildSpec)
        if given.get("durable") and name is None and not whole:
            raise ConfigurationError(
                "spawn() name", name, "given: it is a durable actor's identity"
            )
        spec = child_spec(actor, name, self._spawned + 1, given)
        if spec.id in self._restored and (whole or name is not None):
            self._restored.discard(spec.id)
            known = house.kernel.nodes.get(f"{house.root.path}/{spec.id}")
            if known is not None:
                return await readopt(known, spec)
        self._spawned += 1
        return ref_of(await spawn_in(house.root, spec))

    def ref(self, cls: type[Any], name: str) -> ActorRef[Any]:
        """The ref of the actor *name* below the root, if it lives.

        Raises:
            LookupError: No such actor.
        """
        path = f"/{self.name}/{name}"
        node = None if self._house is None else self._house.kernel.nodes.get(path)
        if node is None and self._lasting is not None and self._house is not None:
            node = self._lasting.spawn(self._house.root, name)
            self._restored.add(name)
        if node is None:
            raise LookupError(f"no living actor {path}; spawn it first")
        return ref_of(node)

    async def settled(self) -> None:
        """Return when all that was accepted so far is as safe as this system makes it.

        Without a store that is at once.
        """
        journal = self._running().kernel.journal
        if journal is None:
            await trio.lowlevel.checkpoint()
        else:
            await journal.settled()

    async def drain(self, timeout: float = DRAIN_SECONDS) -> None:
        """Take nothing more from outside, finish what is held, then stop; all by one deadline.

        What is not finished then becomes dead letters (`stopped`).

        Args:
            timeout: Seconds for everything together.
        """
        until = trio.current_time() + options.seconds("drain() timeout", timeout)
        self._refuse_inside("drain()")
        house = self._running()
        if house.alive and self._failure is None and not self._forgotten:
            house.kernel.drain()
            with trio.move_on_at(until) as scope:
                self._drains.append(scope)
                await house.kernel.quiet()
            self._drains.remove(scope)
            self._stop(until)
        await house.ended.wait()

    async def stop(self) -> None:
        """End every actor, right to left, each within its `shutdown`; mail becomes dead letters."""
        self._refuse_inside("stop()")
        house = self._running()
        self._stop()
        await house.ended.wait()

    def cancel(self) -> None:
        """End everything now: running turns are cancelled. A durable system stays as its last
        checkpoint has it."""
        self._forgotten = True
        self._stop(kill=True)

    async def resume(self, ref: ActorRef[Any]) -> None:
        """Start a parked actor again; one that is not parked is left alone."""
        supervisor: Any = ref.cell.parent
        supervisor.resume(ref.cell)
        await trio.lowlevel.checkpoint()

    async def replay(self, letter: DeadLetter) -> None:
        """Send the body of a dead letter to its actor again, as attempt 1 of a replay.

        Raises:
            ActorStopped: The actor is gone.
            DecodeError: It was parked as `unknown_schema`, and its body can still not be read.
        """
        await replay(self._open().root, letter)

    def _open(self) -> House:
        house = self._running()
        if not house.alive or house.kernel.draining:
            raise NotRunningError(f"system {self.name!r} is ending; it takes nothing new")
        return house

    def _refuse_inside(
        self, verb: str, instead: str = "ctx.stop() or a task outside the system"
    ) -> None:
        turn = turn_here()
        if turn is not None and turn.self.cell.kernel is self._running().kernel:
            raise InsideTurn(f"system.{verb}", instead)

    # What is seen ---------------------------------------------------------------------

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The latest 10,000 messages that left without being acknowledged, oldest first."""
        return () if self._house is None else tuple(self._house.kernel.letters)

    def events(self) -> EventStream:
        """What happens from now on, as an async iterator; it ends with the system."""
        house = self._running()
        return EventStream(house.kernel, house.ended)

    def tree(self) -> TreeNode:
        """The actors of this moment, as a frozen tree; ``print`` draws it."""
        return snapshot_of(self._running().root)

    def stats(self) -> Mapping[str, int]:
        """Counters since the start: actors, held, dead_letters, restarts, mailbox_spilled, ..."""
        kernel = self._running().kernel
        facts = {
            name: count for name, count in kernel.counters.items() if not name.startswith("shared:")
        }
        return {**NOTHING_YET, **facts, "actors": len(kernel.nodes), "held": kernel.held}


def _says_the_end(error: BaseException | None, reason: type[BaseException]) -> bool:
    """Whether *error* says no more than that the system has ended, for some such *reason*."""
    if isinstance(error, BaseExceptionGroup):
        return all(_says_the_end(each, reason) for each in error.exceptions)
    return isinstance(error, (ActorStopped, NotRunningError, reason))
