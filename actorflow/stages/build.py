"""Build the actors of one stage: a supervisor, its workers, and the mailbox they share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from actorflow.core.timings import Histogram, Timings
from actorflow.errors import ConfigurationError, NotRunningError
from actorflow.graph.joining import is_wiring
from actorflow.graph.stage import Stage
from actorflow.policies.cache import GateBesideCache
from actorflow.policies.chain import Chain
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.cell import Cell, Ending
from actorflow.runtime.child import Child
from actorflow.runtime.declare import Plan
from actorflow.runtime.endings import abandon, uncover
from actorflow.runtime.kernel import Kernel, Ledger
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.refill import cover
from actorflow.runtime.spawn import ActorCell, equip
from actorflow.runtime.supervisor import SupervisorCell
from actorflow.runtime.turn import Turn
from actorflow.stages.caching import memory_of
from actorflow.stages.calls import call_for
from actorflow.stages.hooks import hear_the_rest
from actorflow.stages.sections import Sections

__all__ = ["StageCell", "WorkerBehaviour", "chain_of"]

#: Crashes outside a turn that a stage survives, and the seconds within which they count.
#: A crash inside a turn has cost its message an attempt and is not counted.
MAX_RESTARTS = 3
RESTART_WINDOW = 30.0

#: Seconds a surplus worker has to end its turn: as long as that takes, since a thread cannot be
#: cut short and no message may be worked on twice. A run that ends kills its workers at once.
WORKER_SHUTDOWN = 1e9

#: Why a stage has no workers while its run goes on.
_STOPPED = "a policy has answered Stop() to each of its workers, and what comes is a dead letter"


def chain_of(stage: Stage[Any, Any], defaults: Sequence[Any], shared: dict[str, Any]) -> Chain:
    """The policies of *stage*, those of its flow included if it was declared by somebody.

    Raises:
        ConfigurationError: They contradict each other, or those that share their state do.
    """
    chain = Chain(
        stage.policies,
        where=f"stage {stage.name!r}",
        workers=stage.workers,
        defaults=() if is_wiring(stage) else defaults,
        shared=shared,
        timeout=stage.timeout,
    )
    for name, rate in stage.rates.items():
        chain.section(name, rate)
    return chain


class WorkerBehaviour:
    """What a worker does: the stage's handler."""

    def __init__(self, stage: Stage[Any, Any]) -> None:
        self._stage = stage

    def begin(self, cell: Cell) -> None:
        """Wire the handler into *cell*."""
        hear_the_rest(cell.kernel)
        call = call_for(self._stage, cell)
        cell.call, cell.coroutines = call.call, call.coroutines
        if call.wants_turn:
            cell.call = functools.partial(_with_turn, cell, call.call)
        cell.turn_type = Turn
        cell.crash_on = self._stage.crash_on

    def starter(self, cell: Cell) -> None:
        """Workers have no `on_start`."""

    def stopper(self, cell: Cell) -> None:
        """Workers have no `on_stop`."""


class StageCell(SupervisorCell):
    """The supervisor of one stage.

    Args:
        stage: The declaration.
        parent: The run's supervisor.
        ledger: The run's account of its items.
        defaults: The flow's policies.

    Attributes:
        mailbox: The user lane that all workers share.
        chain: The stage's policies.
        workers: How many there are to be.
        parts: How many of the messages that its mailbox has counted are parts of others, which a
            generator has given up.
        cells: Every worker there has been; what they measured counts to the end.
        waiting: How long turns took that waited for something,
        quick: and those that did not.
    """

    def __init__(
        self, stage: Stage[Any, Any], parent: Any, ledger: Ledger, defaults: Sequence[Any] = ()
    ) -> None:
        kernel: Kernel = parent.kernel
        path = f"{parent.path}/{stage.name}"
        plan = Plan(
            max_restarts=MAX_RESTARTS,
            window=RESTART_WINDOW,
            forgives_turns=True,
            children=tuple(_worker_spec(number) for number in range(1, stage.workers + 1)),
        )
        super().__init__(path, kernel, parent, plan, self._make_worker)
        self.stage = stage
        self.workers = stage.workers
        self.mailbox = Mailbox(
            path,
            kernel,
            capacity=stage.capacity,
            overflow=stage.overflow,
            ledger=ledger,
            priorities=stage.priorities,
            max_waiting=stage.max_waiting,
            journal=kernel.journal,
        )
        self.mailbox.key_of = stage.key
        if stage.effects and kernel.journal is not None:
            cover(self.mailbox)
        self.chain = chain_of(stage, defaults, kernel.machines)
        self.sections = Sections(stage, self.chain, kernel.now)
        self.memory = memory_of(stage, self.mailbox, self.chain)
        self.target: Mailbox | None = None
        self.parts = 0
        self.cells: list[Cell] = []
        self.waiting, self.quick = Histogram(), Histogram()
        kernel.nodes[path] = self

    @property
    def shares(self) -> bool:
        """Whether its handler promises to change nothing of what it gets."""
        return self.stage.isolation == "share"

    @property
    def emitted(self) -> int:
        """How many values its workers have given."""
        target: Any = self.target
        return 0 if target is None else int(target.accepted - target.outside)

    def _make_worker(self, supervisor: SupervisorCell, spec: ChildSpec) -> ActorCell:
        cell = ActorCell(f"{self.path}/{spec.id}", self.kernel, self.mailbox, self)
        cell.spec = spec
        cell.behaviour = WorkerBehaviour(self.stage)
        cell.target = self.target
        cell.shutdown = WORKER_SHUTDOWN
        cell.work = Timings(self.waiting, self.quick)
        self._equip(cell)
        self.kernel.nodes[cell.path] = cell
        self.cells.append(cell)
        return cell

    def resize(self, workers: int) -> None:
        """Have *workers* workers from now on; surplus ones end after their turn."""
        if self.mailbox.closed:
            raise NotRunningError(f"stage {self.stage.name!r} has stopped: {_STOPPED}")
        if type(workers) is not int or workers < 1:
            raise ConfigurationError(f"stage {self.stage.name!r}.workers", workers, "1 or more")
        alive = {
            int(cell.id): self.children[cell.id] for cell in self.each_worker(lambda cell: cell)
        }
        staying = sorted(number for number, child in alive.items() if not child.leaving)
        for number in staying[workers:]:
            alive[number].leaving = True
            self.release(alive[number].node)
        # One that still ends its turn keeps its number until then.
        free = (number for number in itertools.count(1) if number not in alive)
        for number in itertools.islice(free, max(0, workers - len(staying))):
            spec = _worker_spec(number)
            self.adopt(spec, self._make_worker(self, spec))
        self.workers = workers

    def change(self, policy: object) -> None:
        """Put *policy* in the place of the one of its kind."""
        self.chain.change(policy, self.kernel.now())
        for cell in self.each_worker(lambda cell: cell):
            self._equip(cell)
        self.mailbox.wake_for_work()

    def _bury(self, child: Child, ending: Ending) -> None:
        """A worker is gone for good. With the last one whose policies answered `Stop` the stage
        has nobody left: its mail becomes dead letters, now and from now on."""
        super()._bury(child, ending)
        nodes = [each.node for each in self.children.values()]  # None: it has not begun yet.
        left = any(node is None or node.ended is None for node in nodes)
        if ending.kind == "stopped" and self._ending is None and not left:
            abandon(self.mailbox)
            uncover(self.mailbox)

    def _equip(self, cell: Any) -> None:
        equip(cell, self.chain, worker=int(cell.id) - 1)
        if self.memory is not None and cell.gate is not None:
            cell.gate = GateBesideCache(cell.gate, self.memory.knows)
        if self.shares:
            self.mailbox.packs = False

    def each_worker(self, look: Callable[[Cell], Any]) -> list[Any]:
        """What *look* says of each worker there is."""
        nodes = [child.node for child in self.children.values()]
        return [look(node) for node in nodes if node is not None and node.ended is None]


def _with_turn(cell: Cell, call: Callable[[Any, Turn], Any], body: Any) -> Any:
    """Begin a turn of a handler that takes its `Turn`."""
    assert cell.lease is not None
    turn = cell.turn = Turn(cell, cell.lease)
    return call(body, turn)


def _worker_spec(number: int) -> ChildSpec:
    return ChildSpec(str(number), _worker_spec, shutdown=WORKER_SHUTDOWN)
