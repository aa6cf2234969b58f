"""A store and the reference side by side, through random histories of several processes.

    rule ──► MemoryStore ──────► answer or error ─┐
         └─► store under test ─► answer or error ─┴─ must be equal

The reference is the simplest thing that could be right. Both sides are handed the same
sessions and the same time; time passes only by a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import methodcaller
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from actorflow.durability.store import Change, DeadQuery, DeadRow, Session, Store
from actorflow.errors import ActorFlowError
from actorflow.testing.store_worlds import MemoryWorld, StoreWorld, new_session

__all__ = ["drive"]

PROCESSES = 3

runs = st.sampled_from(["a", "b", "\udc80"])
places = st.sampled_from(["", "parse", "save"])
names = st.sampled_from(["m1", "m2", "m3", "é\udcff", "", "\x00"])
texts = st.text(st.characters(exclude_categories=()), max_size=8)
bodies = st.binary(max_size=20) | st.just(9000).map(bytes)
numbers = st.integers(0, 6)

letters = st.builds(
    DeadRow,
    seq=st.just(0),
    id=names,
    place=places,
    reason=st.sampled_from(["failed", "poison"]),
    error=places,
    text=texts,
    traceback=texts,
    attempts=numbers,
    at=st.floats(allow_nan=False, allow_infinity=False),
    replays=numbers,
    body=bodies,
    facts=bodies,
)

contents = st.fixed_dictionaries(
    {},
    optional={
        "full": st.booleans(),
        "keep": st.integers(1, 6),
        "status": st.sampled_from([None] * 9 + ["running", "parked", "failed", "finished"]),
        "report": st.none() | bodies,
        "version": st.none() | texts,
        "identity": st.none() | st.lists(texts, max_size=3).map(tuple),
        "flow": st.none() | texts,
        "results": st.lists(st.tuples(names, bodies), max_size=5),
        "dead": st.lists(letters, max_size=3),
        "blame": st.dictionaries(names, numbers, max_size=3),
        "cleared": st.lists(names, max_size=3),
        "at": st.floats(0, 1000),
    },
)

#: What to add to the right epoch or number; nearly always nothing.
slips = st.sampled_from([0] * 12 + [1, -1])

#: Whether something is done wrongly on purpose.
rarely = st.sampled_from([False] * 7 + [True])

queries = st.builds(
    DeadQuery,
    run=st.none() | runs,
    place=st.none() | places,
    reason=st.none() | st.just("poison"),
    error=st.none() | places,
    id=st.none() | names,
    seq=st.none() | numbers,
)


@attrs.frozen
class _Attempt:
    """One commit, nearly always as it should be."""

    stranger: bool
    cut: bytes | None
    content: dict[str, Any]
    contradicts: bool
    wrong_epoch: int
    wrong_number: int

    def change(self, run: str, epoch: int, following: int) -> Change:
        """The change, for a run that is at this epoch and whose next cut is *following*."""
        number = None if self.cut is None else following + self.wrong_number
        left_out = set() if self.cut is not None else {"full"}
        if self.content.get("status") in (None, "running"):
            left_out.add("report")
        if self.contradicts:
            left_out.clear()
        content = {name: it for name, it in self.content.items() if name not in left_out}
        return Change(
            run=run, epoch=epoch + self.wrong_epoch, number=number, cut=self.cut, **content
        )


attempts = st.builds(
    _Attempt,
    stranger=rarely,
    cut=st.none() | bodies,
    content=contents,
    contradicts=rarely,
    wrong_epoch=slips,
    wrong_number=slips,
)


@attrs.define(eq=False)
class _Process:
    """One process, twice."""

    session: Session
    reference: Store
    tested: Store


class _Agreement(RuleBasedStateMachine):
    """Does everything to both stores and compares what they say."""

    factory: Callable[[], StoreWorld] = MemoryWorld

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.reference: StoreWorld = MemoryWorld()
        self.tested = type(self).factory()
        self.processes: list[_Process] = []
        self.epochs: dict[str, int] = {}
        self.holders: dict[str, _Process] = {}
        for lease in (10.0, 30.0):
            self.begin(lease)

    def teardown(self) -> None:
        self.tested.close()

    def both(self, process: _Process, verb: Callable[[Store], Any]) -> Any:
        """What both say; it must be the same."""
        wanted = _outcome(verb, process.reference)
        found = _outcome(verb, process.tested)
        if found != wanted:
            raise AssertionError(f"the store says {found!r}, the reference {wanted!r}")
        return found

    def pick(self, which: int) -> _Process:
        return self.processes[which % len(self.processes)]

    # Processes ------------------------------------------------------------------------

    @precondition(lambda self: len(self.processes) < PROCESSES)
    @rule(lease=st.sampled_from([10.0, 30.0]))
    def begin(self, lease: float) -> None:
        session = new_session(lease)
        self.processes.append(
            _Process(session, self.reference.open(session), self.tested.open(session))
        )

    @precondition(lambda self: bool(self.processes))
    @rule(which=numbers, how=st.sampled_from(["close", "kill", "nothing", "nothing"]))
    def end(self, which: int, how: str) -> None:
        process = self.pick(which)
        if how == "close":
            self.both(process, methodcaller("close"))
            self.ended(process)
        elif how == "kill":
            self.reference.kill(process.reference)
            self.tested.kill(process.tested)
            self.ended(process)

    def ended(self, process: _Process) -> None:
        self.processes.remove(process)
        self.holders = {run: it for run, it in self.holders.items() if it is not process}

    @rule(seconds=st.sampled_from([1.0, 9.0, 10.0, 20.0, 30.0, -5.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: bool(self.processes))
    @rule(which=numbers, ticks=numbers)
    def renew(self, which: int, ticks: int) -> None:
        self.both(self.pick(which), lambda store: store.renew(self.now, ticks))

    # Runs -----------------------------------------------------------------------------

    @precondition(lambda self: bool(self.processes))
    @rule(
        which=numbers,
        run=runs,
        resume=st.sampled_from(["auto"] * 4 + ["must", "never"]),
        wait=st.sampled_from([0.0, 0.0, 10.0, 30.0]),
    )
    def acquire(self, which: int, run: str, resume: Any, wait: float = 0.0) -> None:
        self.now += wait
        process = self.pick(which)
        kind, answer = self.both(process, lambda store: store.acquire(run, self.now, resume=resume))
        if kind == "answer":
            self.epochs[run] = answer.epoch
            self.holders[run] = process

    @precondition(lambda self: bool(self.processes))
    @rule(which=numbers, run=runs, slip=slips, wanted=rarely)
    def release(self, which: int, run: str, slip: int, wanted: bool) -> None:
        if not wanted:
            return
        epoch = self.epochs.get(run, 1) + slip
        self.both(self.pick(which), lambda store: store.release(run, epoch))

    @precondition(lambda self: bool(self.processes))
    @rule(run=runs, which=numbers, attempts=st.lists(attempts, min_size=1, max_size=5))
    def work(self, run: str, which: int, attempts: list[_Attempt]) -> None:
        if run not in self.holders:
            self.acquire(which, run, "auto")
        for each in attempts:
            holder = self.holders.get(run)
            process = self.pick(which + 1) if each.stranger or holder is None else holder
            kind, last = _outcome(methodcaller("number", run), process.reference)
            following = (last if kind == "answer" else 0) + 1
            change = each.change(run, self.epochs.get(run, 1), following)
            self.both(process, methodcaller("commit", change))

    @precondition(lambda self: bool(self.processes))
    @rule(which=numbers, run=runs, wanted=rarely)
    def delete(self, which: int, run: str, wanted: bool) -> None:
        if wanted:
            self.both(self.pick(which), lambda store: store.delete_run(run))

    # Questions ------------------------------------------------------------------------

    @precondition(lambda self: bool(self.processes))
    @rule(which=numbers, run=runs, query=queries, after=numbers, limit=numbers, purge=rarely)
    def ask(
        self, which: int, run: str, query: DeadQuery, after: int, limit: int, purge: bool
    ) -> None:
        process = self.pick(which)
        self.both(process, methodcaller("results", run, after, limit))
        self.both(process, methodcaller("dead", query, after, limit))
        if purge:
            self.both(process, methodcaller("purge_dead", query))

    @invariant()
    def all_that_is_kept_is_equal(self) -> None:
        for process in self.processes[:1]:
            self.both(process, lambda store: store.runs())
            for run in self.epochs:
                self.both(process, methodcaller("load", run))
                self.both(process, methodcaller("cuts", run))
            self.both(process, lambda store: store.dead(DeadQuery()))


def _outcome(verb: Callable[[Store], Any], store: Store) -> tuple[str, Any]:
    """What the verb answers, or which error it raises about which run and owner."""
    try:
        return "answer", verb(store)
    except ActorFlowError as error:
        facts = {name: getattr(error, name, None) for name in ("run", "owner", "reason")}
        return type(error).__name__, facts


def drive(
    factory: Callable[[], StoreWorld],
    *,
    examples: int,
    steps: int,
    phases: Collection[Phase] = tuple(Phase),
) -> None:
    """Run the machine; see `store_conformance.store_agreement`."""
    machine = type("Agreement", (_Agreement,), {"factory": staticmethod(factory)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )
