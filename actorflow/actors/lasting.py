"""What survives of an actor system: its store, and the durable actors that it brings back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

from actorflow.core.envelope import Envelope, address, message_id
from actorflow.durability.hold import Hold
from actorflow.durability.letters import dead_row, read_letter
from actorflow.durability.records import messages_of, without_garbage
from actorflow.durability.store import DeadQuery, Store
from actorflow.durability.urls import as_store
from actorflow.errors import DecodeError, ResumeError
from actorflow.policies.chain import Chain
from actorflow.policies.supervision import ChildSpec, RestartBudget
from actorflow.runtime.journal import Journal
from actorflow.runtime.kept import actor_class, fields_of, tag_of
from actorflow.runtime.kernel import LETTERS_KEPT, Kernel
from actorflow.runtime.ports import dump_chance, load_chance
from actorflow.runtime.ref import ActorRef
from actorflow.runtime.refill import Mail
from actorflow.runtime.spawn import equip, make_node, ref_of, spawn_in

__all__ = ["Lasting", "readopt"]

logger = logging.getLogger("actorflow")

#: In the place of a flow's version: a system is not resumed by a flow, nor the other way round.
VERSION = "system"


class Lasting:
    """The durable side of one system.

    Args:
        kernel: The system's services; gets a journal.
        store: A URL such as ``sqlite:///bank.db``, or a store.
        tune: Whether the interpreter's switch interval is made short.
        on_failure: Told when nothing will be on disk any more.
    """

    def __init__(
        self,
        kernel: Kernel,
        store: str | Store,
        *,
        tune: bool,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kernel = kernel
        self._journal = kernel.journal = Journal()
        kernel.stored = self
        opened = as_store("ActorSystem.store", store)
        self.hold = Hold(opened, f"system:{kernel.name}", kernel, on_failure=on_failure, tune=tune)
        self._states: dict[str, Any] = {}
        self._mail: dict[str, Mail] = {}
        self._given = self._restarts = 0
        self._budgets: dict[str, Any] = {}
        kernel.ids = iter(self._numbers())

    async def open(self) -> None:
        """Take hold of what the store has of this system.

        Raises:
            RunInUseError: Another process has it.
            StoreError: The store cannot be used or read.
        """
        hold, kernel = self.hold, self._kernel
        try:
            await hold.open()
            if hold.owned.version not in ("", VERSION):
                raise ResumeError(hold.run, "this is the run of a flow; give another name")
            checkpointer = hold.keep(about=(VERSION, (), kernel.name))
            self._journal.bury = lambda letter, envelope: checkpointer.rows.dead.append(
                dead_row(letter, envelope)
            )
            checkpointer.gather = self._gather
            query = DeadQuery(run=hold.run)
            rows = await hold.bridge.call(hold.bridge.store.dead, query, 0, LETTERS_KEPT)
            kernel.letters.extend(read_letter(row) for _, row in rows)
            if hold.state is not None:
                with without_garbage():
                    self._read()
        except BaseException:
            await hold.close(None, broken=True)
            raise

    def _read(self) -> None:
        hold, kernel = self.hold, self._kernel
        state = hold.state
        assert state is not None
        facts = hold.facts()
        self._given = facts.get("ids", 0)
        self._budgets = facts.get("budgets", {})
        load_chance(kernel.ports, facts.get("chance"))
        self._states = {
            key.removeprefix("actor"): fact
            for key, fact in facts.items()
            if key.startswith("actor/")
        }
        orders = 0
        for envelope, record, fault in messages_of(state.messages, kernel.now(), kernel.ahead()):
            orders = max(orders, abs(record.order))
            envelope.stored = state.number
            if fault is not None:
                self._give_up(envelope, record.box, fault)
            else:
                self._mail.setdefault(record.box, Mail()).add(envelope, record)
        self._journal.begin_after(state.number, orders)
        self._find_askers()
        hold.state = None

    def _find_askers(self) -> None:
        """Find which messages are here that have asked something, and will ask it again."""
        questions = [(each.root, each.path) for mail in self._mail.values() for each in mail.asked]
        questions += (address(key) for state in self._states.values() for key in state["answers"])
        askers = {(root, path[0]) for root, path in questions if path is not None}
        if not askers:
            return
        for mail in self._mail.values():
            for each in mail.envelopes():
                if (each.root, each.path) in askers:
                    self._journal.asks[message_id(each)] = []

    def _give_up(self, envelope: Envelope, box: str, fault: Exception) -> None:
        self._kernel.held += 1
        self._kernel.give_up(envelope, "unknown_schema", fault, box)

    def _numbers(self) -> Iterator[int]:
        """The numbers of messages from outside, behind those of earlier lives."""
        while True:
            self._given += 1
            yield self._given

    def _gather(self) -> None:
        kernel, given = self._kernel, self._given
        self._journal.mark("ids", lambda: given)
        restarts = kernel.counters["restarts"]
        if restarts != self._restarts:  # Only then is any budget another one.
            self._restarts = restarts
            self._journal.mark("budgets", self._dump_budgets)
        if kernel.ports.chance is not None:
            self._journal.mark("chance", lambda: dump_chance(kernel.ports))

    def _dump_budgets(self) -> dict[str, Any]:
        """How often each durable actor was restarted lately, and when."""
        now, wall = self._kernel.now(), self._kernel.ports.wall()
        budgets = {
            path: node.parent.children[node.id].budget
            for path, node in self._kernel.nodes.items()
            if getattr(node, "kept", None) is not None
        }
        return {
            path: {**budget.dump(now), "at": wall}
            for path, budget in budgets.items()
            if budget is not None and budget.used(now)
        }

    def recall(self, path: str, budget: RestartBudget) -> None:
        """Have *budget*, of the actor *path*, count on from what the last life had."""
        state = self._budgets.pop(path, None)
        if state is not None:
            now = self._kernel.now()
            budget.load(state, now, now + self._kernel.ahead() - state["at"])

    # Bringing back --------------------------------------------------------------------

    def tag(self, path: str) -> str | None:
        """The class that *path* had, if it has left anything."""
        state = self._states.get(path)
        return None if state is None else state["tag"][0]

    def check(self, path: str, cls: type) -> None:
        """Whether *cls* can go on from what *path* has left.

        Raises:
            DecodeError: It cannot: there is no way from that version to this one, or something
                in the fields is of an unknown type.
        """
        state = self._states[path]
        fields_of(tuple(state["tag"]), tag_of(cls), state["fields"], path)

    def take(self, path: str) -> tuple[Any, Mail]:
        """State and mail that *path* has left, once."""
        return self._states.pop(path, None), self._mail.pop(path, Mail())

    async def restore(self, root: Any) -> set[str]:
        """Start every actor again that was spawned below *root* with plain options; answers
        their names. Others wait until they are spawned."""
        started = set()
        for path in sorted(self._states):
            parent, _, name = path.rpartition("/")
            if parent != root.path:
                continue
            spec = self._spec(path, name)
            if spec is None:
                continue
            try:
                await spawn_in(root, spec)
            except Exception as error:  # It keeps what it has; the others come back.
                self._kernel.report(path, "does not start again", error)
            else:
                started.add(name)
        return started

    def spawn(self, root: Any, name: str) -> Any:
        """Start one that waits, without waiting for its `on_start`; `None` if there is none."""
        path = f"{root.path}/{name}"
        spec = self._spec(path, name) if path in self._states else None
        if spec is None:
            return None
        node = make_node(root, spec)
        root.adopt(spec, node)
        return node

    def _spec(self, path: str, name: str) -> ChildSpec | None:
        state = self._states[path]
        if state["options"] is None:
            return None
        tag = state["tag"][0]
        cls = actor_class(tag)
        if cls is None:
            fault = DecodeError(
                f"no actor class has the tag {tag!r}; import the module of it", path
            )
            mail = self._mail.pop(path, Mail()).envelopes()
            logger.error("%s; %d messages are parked as dead letters", fault, len(mail))
            for envelope in mail:
                self._give_up(envelope, path, fault)
            return None
        try:
            self.check(path, cls)
        except DecodeError as error:  # It keeps what it has, mail too, for a process that can.
            logger.error("%s does not start again: %s", path, error)
            return None
        return ChildSpec(name, lambda: _bare(cls), **state["options"])


def _bare(cls: Any) -> Any:
    """An instance with the defaults of its fields; what was stored comes over them."""
    made = cls.__new__(cls)
    for field in attrs.fields(cls):
        default = field.default
        if hasattr(default, "factory"):
            default = default.factory()
        if default is not attrs.NOTHING:
            made.__dict__[field.name] = default
    return made


async def readopt(node: Any, spec: ChildSpec) -> ActorRef[Any]:
    """An actor that was brought back is spawned again by *spec*: it goes on; what that starts is
    its beginning only, unless ``replace=True`` says that its state is to be that."""
    if spec.options.get("replace"):
        made = spec.start() if callable(spec.start) else spec.start
        node.kept.replace(made.__dict__)
    if spec.policies:
        where, shared = node.path, node.kernel.machines
        equip(node, Chain(spec.policies, where=where, shared=shared))
    await trio.lowlevel.checkpoint()
    return ref_of(node)
