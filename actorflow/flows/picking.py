"""Which moment of each item another run begins with: the latest that fits, and what lacks one.

A moment fits a stage if all messages of its items are at it or before it, and no part of them has
come out or died. Items that a batch holds together are taken from one moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from actorflow.core.envelope import STEP, address
from actorflow.durability.store import CutRow, DeadQuery, DeadRow, Store
from actorflow.errors import CompilationError, ConfigurationError, DecodeError, ResumeError
from actorflow.flows.checkpoints import History, Moment, Piece, Root, read_cuts
from actorflow.graph.plan import Plan
from actorflow.wire.codec import decode

__all__ = ["Picked", "check_number", "check_places", "marked", "picked_of"]

#: Items that an error names.
NAMED = 3

#: What else could be said where an item is in none.
_AT = "at= for what one checkpoint has"

#: Rows of dead letters that are read at a time.
PAGE = 1000

#: Tells whether an item may be taken as a moment has it.
Fits: TypeAlias = Callable[[Moment], bool]


@attrs.frozen
class Picked:
    """What the new run begins with.

    Attributes:
        moments: Each once.
        seen: Keys that stages take once and had taken then, as facts.
    """

    moments: tuple[Moment, ...]
    seen: tuple[str, ...]


def check_number(run: str, rows: list[CutRow], at: int | None) -> None:
    """Raise unless *run* has a checkpoint, and that of number *at* if one is meant.

    Raises:
        ResumeError: It has none.
        ConfigurationError: It does not have that one.
    """
    if not rows:
        raise ResumeError(run, "it has no checkpoint yet, so there is nothing to begin with")
    first, last = rows[0].number, rows[-1].number
    if at is not None and not first <= at <= last:
        raise ConfigurationError("fork() at", at, f"the number of a kept one, {first} to {last}")


def picked_of(
    store: Store,
    plan: Plan,
    run: str,
    rows: list[CutRow],
    from_stage: str | None,
    at: int | None,
) -> Picked:
    """Pick a moment of each item of *run*.

    Args:
        store: Open.
        plan: Of the flow that will go on.
        run: Id of the run.
        rows: Its kept cuts.
        from_stage: Which all messages have not gone past; `None`: those of the last checkpoint.
        at: The number of the only checkpoint that counts.

    Raises:
        ResumeError: There is no item, or one without a moment that fits.
        CompilationError: As it is kept in stages that the flow does not have.
    """
    fits = None if from_stage is None else _fits(plan, from_stage)
    history = History()
    fitting: dict[Root, list[Moment]] = {}
    first_seen: dict[Root, Moment] = {}
    for cut in read_cuts(store, run, rows):
        if at is not None and cut.number > at:
            break
        for moment in history.add(cut):
            for root in moment.roots:
                first_seen.setdefault(root, moment)
                if fits is not None and at is None and fits(moment):
                    fitting.setdefault(root, []).append(moment)
    if fits is None or from_stage is None:
        chosen = dict(history.now)
    else:
        wanted: Iterable[Root] = range(history.fed())
        if at is not None:
            fitting = {root: [each] for root, each in history.now.items() if fits(each)}
            wanted = [r for r, each in history.now.items() if not all(p.out for p in each.pieces)]
        dead, before = _dead(store, run, plan, from_stage)
        chosen = _latest(fitting)
        missing = [root for root in wanted if root not in chosen and root not in dead]
        if missing:
            lacking = {root: first_seen.get(root) for root in missing}
            raise _not_kept(plan, run, rows, from_stage, lacking, "another at=" if at else _AT)
        chosen = {root: each for root, each in chosen.items() if not each.roots <= before}
    if not chosen:
        raise ResumeError(run, f"{_nothing(rows, from_stage, at)}; say another at= or from_stage=")
    moments = tuple(dict.fromkeys(chosen.values()))
    begun = at or (rows[-1].number if fits is None else min(each.number for each in moments))
    return Picked(moments, tuple(key for key, number in history.noted.items() if number <= begun))


def _nothing(rows: list[CutRow], from_stage: str | None, at: int | None) -> str:
    if from_stage is not None and at is None:
        return f"no item came to {from_stage!r}"
    where = "" if from_stage is None else f" at {from_stage!r} or before it"
    return f"its checkpoint {at or rows[-1].number} holds no item{where}"


def _fits(plan: Plan, stage: str) -> Fits:
    """Whether all messages of a moment are at *stage* or before it, and nothing has gone past."""
    before = _before(plan, stage)

    def fits(moment: Moment) -> bool:
        for piece in moment.pieces:
            if piece.out or piece.stage not in before:
                return False
            if "emitted" in piece.record.more and _has_gone_past(piece, moment):
                return False
        return not any(_has_ended(key, data) for key, data in moment.facts.items())

    return fits


def _has_gone_past(piece: Piece, moment: Moment) -> bool:
    """Whether something that a generator has given for *piece* has ended already."""
    if marked(piece.record.more):
        return False
    begin = f"{piece.key}."
    keys = (str(each.key) for each in moment.pieces)
    there = {key.removeprefix(begin).partition(".")[0] for key in keys if key.startswith(begin)}
    return len(there) < int(piece.record.more["emitted"])


def _has_ended(key: str, data: bytes) -> bool:
    """Whether a fact says that a part of the item has come out or died."""
    kind = key.partition("/")[0]
    return kind == "group" or (kind in ("item", "batch") and any(decode(data)))


def _before(plan: Plan, stage: str) -> frozenset[str]:
    """*stage*, and all from which it can be reached without going back."""
    found, frontier = {stage}, [stage]
    while frontier:
        name = frontier.pop()
        edges = (edge for edge in plan.edges if edge.end == name and not edge.feedback)
        new = {edge.start for edge in edges} - found
        found |= new
        frontier += new
    return frozenset(found)


def _latest(fitting: Mapping[Root, list[Moment]]) -> dict[Root, Moment]:
    """The latest moment of each item that all other items in it have too.

    Of two moments that share an item and are both the latest of one, the later is given up.
    """
    settled = False
    while not settled:
        settled = True
        for moments in fitting.values():
            while moments:
                latest = moments[-1]
                others = (fitting[root][-1] for root in latest.roots)
                clash = next((each for each in others if each is not latest), None)
                if clash is None:
                    break
                settled = False
                later = max(latest, clash, key=lambda each: each.number)
                for root in later.roots:
                    fitting[root].remove(later)
    return {root: moments[-1] for root, moments in fitting.items() if moments}


def _dead(store: Store, run: str, plan: Plan, stage: str) -> tuple[set[Root], set[Root]]:
    """Items that have died, and those of them that had not come to *stage*."""
    before = _before(plan, stage) - {stage} | {"input"}
    died, behind = set(), set()
    after = 0
    while page := store.dead(DeadQuery(run=run), after, PAGE):
        after = page[-1][1].seq
        for _, row in page:
            root = _root_of(row)
            died.add(root)
            if row.place not in before:
                behind.add(root)
    return died, died - behind


def _root_of(row: DeadRow) -> Root:
    try:
        root: Root = decode(row.facts)["number"]
    except (DecodeError, KeyError):
        root = address(row.id)[0]
    return root


def _not_kept(
    plan: Plan,
    run: str,
    rows: list[CutRow],
    stage: str,
    missing: Mapping[Root, Moment | None],
    hint: str,
) -> Exception:
    """The error for items that no kept checkpoint has at *stage* or before it."""
    known = [moment for moment in missing.values() if moment is not None]
    gone = _gone(plan, known)
    if gone:
        return _no_such(plan, gone)
    named = [root if each is None else each.id_of(root) for root, each in missing.items()]
    ids = ", ".join(f"{each!r:.40}" for each in named[:NAMED])
    if len(named) > NAMED:
        ids += ", ..."
    later = None
    if len(known) == len(missing):
        later = next(
            (name for name in _later(plan, stage) if all(map(_fits(plan, name), known))), None
        )
    hints = ["give the run a larger keep="]
    if later is not None:
        hints.append(f"fork with from_stage={later!r}")
    hints.append(f"say {hint}")
    what = "item is" if len(named) == 1 else "items are"
    return ResumeError(
        run,
        f"{len(named):,} {what} in no kept checkpoint at {stage!r} or before it ({ids}); kept are "
        f"{rows[0].number:,} to {rows[-1].number:,}: {', or '.join(hints)}",
    )


def _later(plan: Plan, stage: str) -> list[str]:
    """Stages behind *stage*, in the order of the flow."""
    names = [each.name for each in plan.stages]
    return [name for name in names if name != stage and stage in _before(plan, name)]


# Whether the flow has a place for them --------------------------------------------------


def check_places(plan: Plan, moments: Iterable[Moment]) -> None:
    """Raise if there is a message in a place that the flow does not have.

    Raises:
        CompilationError: A stage is gone, or does not wait any more for what waits for others.
    """
    moments = list(moments)
    gone = _gone(plan, moments)
    if gone:
        raise _no_such(plan, gone)
    waits = {(join.stage, "gather") for join in plan.joins}
    waits |= {(each.name, "gather") for each in plan.stages if each.batch is not None}
    waits |= {(edge.end, f"from {edge.start}") for edge in plan.edges if edge.batch is not None}
    held = {(p.stage, p.held) for each in moments for p in each.pieces if p.held and not p.out}
    if held - waits:
        names = sorted({stage for stage, _ in held - waits})
        text = f"messages wait for others before {_listed(names)}, which takes each alone now"
        raise CompilationError(plan.name, f"{text}; fork from an earlier stage", names)


def _gone(plan: Plan, moments: Iterable[Moment]) -> dict[str, int]:
    """Stages that the flow does not have, with how many messages are there."""
    names = {each.name for each in plan.stages}
    found = Counter(p.stage for each in moments for p in each.pieces if not p.out)
    return {name: count for name, count in sorted(found.items()) if name not in names}


def _no_such(plan: Plan, gone: Mapping[str, int]) -> CompilationError:
    count = sum(gone.values())
    what = "message is" if count == 1 else "messages are"
    text = f"{count:,} {what} at {_listed(gone)}, which it has no more"
    return CompilationError(plan.name, f"{text}; fork from an earlier stage", tuple(gone))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def marked(more: Mapping[str, Any]) -> bool:
    """Whether a message is inside a stage that has several steps."""
    if "emitted" not in more or "headers" not in more:
        return False
    try:
        return STEP in decode(more["headers"], max_bytes=None)
    except DecodeError:
        return False
