"""Make the node of a child: a cell with its mailbox and policies, or a supervisor."""

from __future__ import annotations

from typing import Any

import trio

from actorflow import options as check
from actorflow.core.envelope import Envelope, address
from actorflow.core.letters import DeadLetter, Unreadable
from actorflow.errors import ActorStopped, ConfigurationError, UsageError
from actorflow.policies.chain import Chain
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.actor import ActorBehaviour
from actorflow.runtime.cell import Cell, Ending
from actorflow.runtime.declare import Plan, plan_of
from actorflow.runtime.endings import finish, prepare_restart
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.life import live
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.ref import ActorRef, ref_to
from actorflow.runtime.remember import remember
from actorflow.runtime.supervisor import SupervisorCell
from actorflow.wire.codec import decode

__all__ = [
    "ActorCell",
    "SupervisorRef",
    "births",
    "child_spec",
    "equip",
    "make_node",
    "nurture",
    "ref_of",
    "replay",
    "spawn_in",
]

#: What `spawn` takes beside the options of a mailbox.
SPAWN_DEFAULTS: dict[str, Any] = {"restart": "transient", "max_restarts": 3, "window": 30.0}


class ActorCell(Cell):
    """A cell that its supervisor can start, stop and bury."""

    __slots__ = ("spec",)

    def __init__(self, path: str, kernel: Kernel, mailbox: Mailbox, parent: Any) -> None:
        super().__init__(path, kernel, mailbox, parent)
        self.spec: Any = None

    @property
    def id(self) -> str:
        """Under which its supervisor knows it."""
        return self.path.rpartition("/")[2]

    async def live(self) -> None:
        await live(self)

    def prepare(self) -> None:
        """A new incarnation is about to start."""
        prepare_restart(self)

    def finish(self, ending: Ending) -> None:
        """The actor is gone for good."""
        finish(self, ending)


def equip(cell: Cell, chain: Chain, *, worker: int = 0) -> None:
    """Put the policies in *chain* in force for *cell*, the *worker*-th, and its mailbox."""
    mailbox = cell.mailbox
    cell.chain = chain
    cell.timeout = chain.timeout
    cell.gate = chain.gate_for(worker)
    mailbox.packs = chain.may_retry or mailbox.journal is not None
    mailbox.dated = chain.dated or chain.budgeted
    mailbox.look_again()
    if cell.gate is not None:
        cell.gate.on_wake = mailbox.wake_for_work


def child_spec(start: Any, name: str | None, number: int, given: dict[str, Any]) -> ChildSpec:
    """The spec of a child that is spawned, with the defaults of `spawn`."""
    if isinstance(start, ChildSpec):
        if given or name is not None:
            raise ConfigurationError(
                "spawn() options",
                sorted({*given, *(["name"] if name else [])}),
                "left to the ChildSpec that is given",
            )
        return start
    if name is None:
        kind = start if isinstance(start, type) else type(start)
        name = f"{kind.__name__}-{number}"
    return ChildSpec(check.name("spawn() name", name), start, **{**SPAWN_DEFAULTS, **given})


def make_node(supervisor: SupervisorCell, spec: ChildSpec) -> Any:
    """The node for *spec* below *supervisor*, registered under its path.

    Raises:
        ConfigurationError: The path is taken, or the start cannot be started.
    """
    kernel = supervisor.kernel
    path = f"{supervisor.path}/{spec.id}"
    if path in kernel.nodes:
        raise ConfigurationError("spawn() name", path, "a path that no living actor has")
    plan = plan_of(spec.start)
    if plan is not None:
        node: Any = SupervisorCell(path, kernel, supervisor, plan, make_node)
    else:
        node = _make_actor(supervisor, spec, path)
    node.spec = spec
    kernel.nodes[path] = node
    return node


def _make_actor(supervisor: SupervisorCell, spec: ChildSpec, path: str) -> ActorCell:
    wanted = spec.options
    behaviour = ActorBehaviour(spec.start, path, wanted.get("isolation", "fields"))
    durable = wanted.get("durable", False)
    if durable and supervisor.kernel.journal is None:
        raise ConfigurationError(f"{path} durable", True, "used in an ActorSystem(store=...)")
    mailbox = Mailbox(
        path,
        supervisor.kernel,
        capacity=wanted.get("capacity", 256),
        overflow=wanted.get("overflow", "block"),
        journal=supervisor.kernel.journal if durable else None,
    )
    cell = ActorCell(path, supervisor.kernel, mailbox, supervisor)
    cell.behaviour = behaviour
    cell.shutdown = spec.shutdown
    if spec.policies:
        equip(cell, Chain(spec.policies, where=path, shared=supervisor.kernel.machines))
    if durable:
        remember(cell, spec)
    return cell


def nurture(cell: Cell) -> SupervisorCell:
    """The hidden supervisor of what *cell* spawns: each child with a budget of its own."""
    plan = Plan(max_restarts=None, on_exhausted="end", dynamic=True)
    return SupervisorCell(cell.path, cell.kernel, _Nobody(), plan, make_node)


def births(cell: Cell, start: Any, name: str | None, given: dict[str, Any]) -> tuple[Any, Any]:
    """The node of a child that a turn of *cell* spawns, not yet started, and its handle."""
    kernel = cell.kernel
    if cell.children is None:
        cell.children = nurture(cell)
    spec = child_spec(start, name, next(kernel.ids), given)
    node = make_node(cell.children, spec)
    return node, ref_of(node)


def ref_of(node: Any) -> ActorRef[Any]:
    """The handle on *node*: an actor's, or a supervisor's."""
    if isinstance(node, SupervisorCell):
        return SupervisorRef(node.path, node)
    return ref_to(node)


class SupervisorRef(ActorRef[Any]):
    """The handle on a supervisor. It takes children, not messages."""

    __slots__ = ()

    async def start_child(self, spec: ChildSpec) -> ActorRef[Any]:
        """Start one more child; returns when its `on_start` is done.

        Raises:
            ConfigurationError: The id is taken, or there are `max_children` already.
            UsageError: The supervisor is not a `DynamicSupervisor`.
            ActorStopped: The supervisor has ended.
            Exception: Whatever the child's `on_start` raised.
        """
        supervisor: Any = self.cell
        if not isinstance(spec, ChildSpec):
            raise ConfigurationError("start_child()", spec, "given a ChildSpec(id, start)")
        if not supervisor.plan.dynamic:
            raise UsageError(f"{self.path}: its children are fixed; use a DynamicSupervisor")
        if supervisor.ended is not None:
            raise ActorStopped(self.path)
        return ref_of(await spawn_in(supervisor, spec))

    async def stop_child(self, name: str) -> None:
        """Stop a child for good and wait for its end.

        Raises:
            LookupError: No child of that id.
        """
        supervisor: Any = self.cell
        child = supervisor.children.get(name)
        if child is None:
            raise LookupError(f"{self.path} has no child {name!r}")
        supervisor.release(child.node)
        await ref_of(child.node).stopped()

    async def tell(self, message: Any, **given: Any) -> None:
        """Not for supervisors."""
        raise UsageError(f"{self.path} is a supervisor; tell one of its children")

    def tell_nowait(self, message: Any, **given: Any) -> None:
        """Not for supervisors."""
        raise UsageError(f"{self.path} is a supervisor; tell one of its children")

    async def ask(self, message: Any, **given: Any) -> Any:
        """Not for supervisors."""
        raise UsageError(f"{self.path} is a supervisor; ask one of its children")


async def replay(supervisor: SupervisorCell, letter: DeadLetter) -> None:
    """Send a dead letter's body to its actor again.

    Raises:
        ActorStopped: The actor is gone.
        DecodeError: The body cannot be read, still.
    """
    kernel = supervisor.kernel
    node = kernel.nodes.get(letter.stage_or_actor)
    if node is None:
        raise ActorStopped(letter.stage_or_actor)
    body = letter.body
    if type(body) is Unreadable:
        body = decode(body.packed, max_bytes=None)
    envelope = Envelope(body, *address(letter.id))
    envelope.replays = letter.replays + 1
    if not node.mailbox.has_room():
        await node.mailbox.wait_for_room()
    kernel.held += 1
    node.mailbox.put(envelope)


class _Nobody:
    """Above a hidden supervisor: its cell waits for its task instead of being told."""

    def child_started(self, node: Any) -> None:
        """Nobody needs to know."""

    def child_ended(self, node: Any, ending: Ending) -> None:
        """Nobody needs to know."""


async def spawn_in(supervisor: SupervisorCell, spec: ChildSpec) -> Any:
    """Start a child and wait until its `on_start` is done; answers its node.

    Raises:
        ConfigurationError: The path is taken, or the supervisor has its `max_children`.
        Exception: Whatever the child's `on_start` raised.
    """
    plan: Plan = supervisor.plan
    if plan.max_children is not None and len(supervisor.children) >= plan.max_children:
        raise ConfigurationError(
            f"{supervisor.path} max_children", plan.max_children, "more than the children it has"
        )
    node = make_node(supervisor, spec)
    done = trio.Event()
    failure: list[BaseException] = []

    def settled(error: BaseException | None) -> None:
        if error is not None:
            failure.append(error)
        done.set()

    supervisor.adopt(spec, node, settled)
    try:
        await done.wait()
    except BaseException:
        supervisor.release(node)  # Nobody will ever hold its ref.
        raise
    if failure:
        raise failure[0]
    return node
