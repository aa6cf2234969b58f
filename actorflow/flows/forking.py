"""Make a run of what another one's checkpoints have: which moment of each item, and as what.

    kept cuts ──► History ──► moments that fit ──► the latest of each item ──► one full cut
                                                                                   │
    the new run: parked, nothing left to read, attempts begun anew ◄───────────────┘

The other run is only read, and may be running anywhere. Nothing is written before all is known
to be there; then it is one commit.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from actorflow import options
from actorflow.core.envelope import STEP
from actorflow.durability.hold import NAME
from actorflow.durability.store import Change, Store
from actorflow.errors import ConfigurationError, RunExistsError
from actorflow.flows.checkpoints import Moment, Piece, run_row
from actorflow.flows.order import ORDER, block_of, key_of
from actorflow.flows.picking import Picked, check_number, check_places, marked, picked_of
from actorflow.flows.progress import SOURCE
from actorflow.flows.stored import new_account
from actorflow.graph.plan import Plan
from actorflow.wire.codec import decode, encode
from actorflow.wire.snapshot import DUE, SLEEPING, Key, Row, pack_facts, pack_messages, write_cut

__all__ = ["fork_run"]


def fork_run(
    store: Store,
    plan: Plan,
    run: str,
    *,
    from_stage: str | None = None,
    at: int | None = None,
    new_id: str | None = None,
    now: float,
) -> tuple[str, int]:
    """Make a run of what *run* has, as `Runs.fork` says; answers its id, and how many items it has.

    Args:
        store: Open.
        plan: Of the flow that will go on.
        run: Id of the run that is read.
        from_stage: Every item as it last was at this stage or before it.
        at: The number of the only checkpoint that counts.
        new_id: Of the new run; the first free ``RUN.fork-N`` by default.
        now: Wall time.
    """
    options.name("fork() run_id", run)
    options.optional(options.name, "fork() new_id", new_id)
    options.optional(options.count, "fork() at", at)
    if from_stage is not None:
        plan.stage(from_stage)
    if run_row(store, run).version == "system":
        raise ConfigurationError("fork() run_id", run, "a run of a flow, not an actor system")
    if new_id is not None and any(row.run == new_id for row in store.runs()):
        raise RunExistsError(new_id)
    rows = store.cuts(run)
    check_number(run, rows, at)
    picked = picked_of(store, plan, run, rows, from_stage, at)
    check_places(plan, picked.moments)
    writing = _Writing(plan, run, picked, now)
    return _commit(store, plan, run, new_id, writing.data(), now), len(writing.numbers)


# The new run ----------------------------------------------------------------------------


class _Writing:
    """The first cut of the new run, whose items are numbered from 0 and keep their ids.

    Attributes:
        numbers: Of the items, by those that they had.
    """

    def __init__(self, plan: Plan, run: str, picked: Picked, now: float) -> None:
        self._plan = plan
        self._run = run
        self._picked = picked
        self._now = now
        roots = {root: each for each in picked.moments for root in each.roots}
        ordered = sorted(roots, key=lambda root: (isinstance(root, str), root))
        self._moments = {root: roots[root] for root in ordered}
        self.numbers = {root: number for number, root in enumerate(ordered)}
        #: Items that are done, and of which only the sink has not got all.
        self._ended = {
            root: None
            for root, moment in self._moments.items()
            if all(piece.out for piece in moment.pieces if root in piece.roots)
        }

    def data(self) -> bytes:
        """Its bytes."""
        rows: list[Row] = []
        stages: Counter[str] = Counter()
        for moment in self._picked.moments:
            for piece in moment.pieces:
                rows.append(self._row(moment, piece))
                if not piece.out and not piece.held:
                    stages[piece.stage] += 1
        facts: dict[str, bytes | None] = dict.fromkeys(self._picked.seen, encode(True))
        for moment in self._picked.moments:
            facts |= self._facts_of(moment)
        facts |= {key: encode(fact) for key, fact in self._facts(stages).items()}
        blocks = [*pack_messages(rows, lambda key, error: None), pack_facts(facts)]
        return write_cut(1, True, self._now, blocks)

    def _facts(self, stages: Mapping[str, int]) -> dict[str, Any]:
        """What the new run says of itself."""
        ended = [self.numbers[root] for root in self._ended]
        account = new_account()
        account["counts"][:2] = len(self.numbers), len(ended)
        account["stages"] = {name: [count, 0, 0, 0, 0] for name, count in stages.items()}
        source: dict[str, Any] = {
            "name": f"run {self._run}",
            "cursor": None,
            "ended": True,
            "in_hand": [],
        }
        facts: dict[str, Any] = {"run": account, f"{SOURCE}0": source, ORDER: {"next": 0}}
        for number in ended:
            facts.setdefault(key_of(block_of(number)), []).append(number)
        return facts

    def _facts_of(self, moment: Moment) -> dict[str, bytes]:
        """What is known of the items of *moment*, under their new numbers."""
        found: dict[str, bytes] = {}
        for key, data in moment.facts.items():
            head, _, rest = key.rpartition("/")
            found[f"{head}/{self._renamed(rest)}"] = data
        for root in moment.roots:
            name = f"{NAME}{self.numbers[root]}"
            if root in self._ended:
                found.pop(name, None)
            elif name not in found and self.numbers[root] != root:
                found[name] = encode(root)
        return found

    def _renamed(self, key: Key) -> Key:
        """The id of a message, under the new number of its item."""
        if isinstance(key, int):
            return self.numbers[key]
        root, dot, steps = key.partition(".")
        number = self.numbers[int(root) if root.isdecimal() else root]
        return f"{number}{dot}{steps}"

    def _row(self, moment: Moment, piece: Piece) -> Row:
        record = piece.record
        box = f"/{self._plan.name}/{piece.stage}{piece.held and '//'}{piece.held}"
        lane = DUE if record.lane == SLEEPING else record.lane
        more = self._more(moment, record.more)
        return self._renamed(piece.key), box, lane, record.order, 0, record.body, None, more

    def _more(self, moment: Moment, old: Mapping[str, Any]) -> dict[str, Any]:
        """What is not as it usually is. What is left of a time is left again."""
        more = {name: each for name, each in old.items() if name not in ("due", "position")}
        for name in ("until", "since"):
            if name in more:
                more[name] += self._now - moment.at
        if "members" in more:
            more["members"] = self._members(more["members"])
        if marked(old):  # The code of the steps may be another one: the stage begins anew.
            headers = decode(more.pop("headers"), max_bytes=None)
            rest = {name: each for name, each in headers.items() if name != STEP}
            more |= {"headers": encode(rest)} if rest else {}
            del more["emitted"]
        return more

    def _members(self, members: Any) -> list[Any]:
        stage, listed = members
        return [
            stage,
            [[self._renamed(key), within and self._members(within)] for key, within in listed],
        ]


def _commit(store: Store, plan: Plan, run: str, new_id: str | None, data: bytes, now: float) -> str:
    names = [new_id] if new_id is not None else (f"{run}.fork-{n}" for n in itertools.count(1))
    for name in names:
        try:
            owned = store.acquire(name, now, resume="never")
        except RunExistsError:
            if new_id is not None:
                raise
            continue
        try:
            store.commit(
                Change(
                    run=name,
                    epoch=owned.epoch,
                    number=1,
                    cut=data,
                    full=True,
                    status="parked",
                    version=plan.version,
                    identity=plan.identity(),
                    flow=plan.name,
                    at=now,
                )
            )
        except BaseException:
            store.release(name, owned.epoch)
            store.delete_run(name)
            raise
        return name
    raise AssertionError
