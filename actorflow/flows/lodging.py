"""Where a run lives: in a house of its own, or as a lodger in an actor system.

    flow.run(...)                   /crawl ── stages          a nursery in the caller's task
    flow.run(..., system=system)    /shop ── crawl ── stages  one more child of the system's root

A lodger has a kernel of its own: its draining is not the system's, and its items are its
own account. What it tells of itself the system hears too. It is never restarted: how it
ended is told to whoever runs it, and its neighbours go on. A system that ends stops it.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import trio

from actorflow.actors.house import House
from actorflow.actors.system import ActorSystem
from actorflow.core.events import ACTOR_EVENTS, MessageDied
from actorflow.errors import NotRunningError
from actorflow.flows.settings import RunSettings
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.cell import Ending
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.ports import real_ports
from actorflow.runtime.supervisor import SupervisorCell

__all__ = ["house_for", "kernel_for"]


def kernel_for(flow: str, settings: RunSettings) -> Kernel:
    """The services of one run of *flow*; of a lodger, its name has the system's before it."""
    kernel = _kernel_for(flow, settings)
    kernel.middleware, kernel.hooks = settings.middleware, settings.hooks
    return kernel


def _kernel_for(flow: str, settings: RunSettings) -> Kernel:
    if settings.system is None:
        return Kernel(flow, real_ports(settings.seed), settings.observers)
    host = settings.system._open().kernel
    names = itertools.chain([flow], (f"{flow}-{number}" for number in itertools.count(2)))
    paths = (f"{host.name}/{each}" for each in names)
    free = next(each for each in paths if f"/{each}" not in host.nodes)
    kernel = Kernel(free, host.ports, (*settings.observers, _Heard(host)))
    kernel.machines = host.machines
    return kernel


def house_for(kernel: Kernel, plan: Any, make: Any, system: ActorSystem | None) -> House:
    """The house of a run."""
    return House(kernel, plan, make) if system is None else _Lodging(kernel, plan, make, system)


class _Heard:
    """An observer that passes on to the system what its lodger tells, but not of items."""

    wants = ACTOR_EVENTS

    def __init__(self, host: Kernel) -> None:
        self._host = host

    def on_event(self, event: object) -> None:
        if isinstance(event, MessageDied):
            self._host.bury(event.letter)
        else:
            self._host.emit(event)


class _Lodging(House):
    """A house without walls of its own: its tree is a child of the system's root."""

    def __init__(self, kernel: Kernel, plan: Any, make: Any, system: ActorSystem) -> None:
        super().__init__(kernel, plan, make)
        self._system = system
        self.host: SupervisorCell = system._open().root
        self.root: SupervisorCell = _Lodger(self, plan, make)
        self._nursery = contextlib.nullcontext()  # The system's is what it lives in.

    async def open(self) -> None:
        self.host = self._system._open().root
        nodes = self.host.kernel.nodes
        if self.root.path in nodes:
            text = f"another run has become {self.root.path} since this one was made"
            raise NotRunningError(text)
        nodes[self.root.path] = self.root
        self.host.adopt(ChildSpec(self.root.id, _Lodging, restart="temporary"), self.root)
        await self.ready.wait()
        if self.kernel.services is None:
            raise NotRunningError(f"system {self._system.name!r} is ending; it takes nothing new")

    async def close(self) -> None:
        await super().close()
        await trio.lowlevel.cancel_shielded_checkpoint()  # The system's root buries the lodger.

    def child_started(self, node: Any) -> None:
        super().child_started(node)
        self.host.child_started(node)


class _Lodger(SupervisorCell):
    """The root of a run, as a child of the system's root."""

    def __init__(self, house: _Lodging, plan: Any, make: Any) -> None:
        super().__init__(f"/{house.kernel.name}", house.kernel, house, plan, make)
        self._house = house

    async def live(self) -> None:
        try:
            await self._house._live()
        finally:
            self._house.host.child_ended(self, self._house.ending or Ending("stopped"))

    def ask_to_stop(self, deadline: float) -> None:
        """The turns of a run have no time of their own to end in; what it holds stays held."""
        self.kill()

    def finish(self, ending: Ending) -> None:
        """Once by the house; a second time, or the only one if it never lived, by the system."""
        house = self._house
        house.host.kernel.nodes.pop(self.path, None)
        if self.ended is None:
            super().finish(ending)
        if house.kernel.services is None:
            house.ready.set()
            house.ended.set()
