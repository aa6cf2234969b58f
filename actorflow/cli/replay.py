"""Give dead letters another chance, so that a crash neither loses nor doubles one.

    dead letters ──► 1. one commit: items of a run, and the fact whose letters it has
                     2. their rows go
                     3. the run goes on until nothing is held

A run that has not finished gets its letters back itself. A finished one is final: its
letters go into a run of their own, `RUN.replay-1`, or the next of that row which has not
finished. A process that dies after 1 leaves rows of which a run says it has them: they are
only purged the next time. One that dies in 3 leaves a run like any other: it goes on.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from typing import Any

import attrs
import click

from actorflow.cli.front import STANDARD, Code, Trouble
from actorflow.cli.run import drive_flow, report, tell_promises
from actorflow.cli.stores import matching, opened, run_row, run_rows, say_json
from actorflow.cli.summary import as_json
from actorflow.durability.chain import whole
from actorflow.durability.letters import had_come_out, was_batch
from actorflow.durability.store import Change, DeadQuery, DeadRow, RunRow, Store
from actorflow.errors import ActorFlowError, RunInUseError
from actorflow.flows.pipeline import Pipeline
from actorflow.flows.sinks import JsonLinesSink, TextLinesSink
from actorflow.flows.stored import REPLAYED, input_left, put_back
from actorflow.graph.plan import Plan
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import Cut

__all__ = ["Given", "give_back", "replayed"]

#: Letters that stay where they are, of those that are listed.
SHOWN = 10

_OWN = re.compile(r"\.replay-\d+$")


@attrs.frozen(kw_only=True)
class Given:
    """What became of the letters that were meant.

    Attributes:
        run: The run they died in.
        into: The run that has them now; `None` if there is nothing to run.
        count: How many it was given.
        before: How many it had been given before, by a command that did not get further.
        left: Those that stay where they are, with the reason.
        read_on: Whether the run is finished when nothing is held any more.
    """

    run: str
    into: str | None
    count: int
    before: int
    left: tuple[tuple[DeadRow, str], ...]
    read_on: bool


def replayed(
    flow: Pipeline[Any, Any],
    url: str,
    query: DeadQuery,
    output: str,
    style: str,
    *,
    results: str,
    wants_json: bool,
) -> Code | None:
    """Put the letters back and run; answers the exit code, or `None` if the reader of standard
    output has gone."""
    with opened(url) as store:
        given = give_back(store, flow, query, output)
    if given.into is None:
        _tell(given, None, wants_json)
        return Code.DONE
    if not wants_json:
        _tell(given, None, wants_json)
    tell_promises(output)
    outcome = drive_flow(
        flow,
        None,
        JsonLinesSink(output) if style == "json" else TextLinesSink(output),
        None,
        read_on=given.read_on,
        store=url,
        run_id=given.into,
        resume="must",
        results=results,
    )
    if isinstance(outcome.error, BrokenPipeError) and output == STANDARD:
        return None
    if wants_json:
        _tell(given, as_json(flow.name, outcome), wants_json, to_stderr=output == STANDARD)
    report(flow, outcome, None if wants_json else False, to_stderr=True)
    return outcome.code


def give_back(
    store: Store, flow: Pipeline[Any, Any], query: DeadQuery, output: str = STANDARD
) -> Given:
    """Put letters back into the run they died in, or into one of their own; nothing is run.

    Args:
        store: Open.
        flow: The flow of the run.
        query: Which letters, of which run.
        output: The file that the values will go to.

    Raises:
        RunNotFoundError, RunInUseError: There is no such run, or it is running.
        Trouble: The run is not of this flow.
    """
    run = query.run
    assert run is not None
    row = run_row(store, run)
    if row.version == "system":
        text = f"run {run!r} is an actor system; replay its letters in the program that has it"
        raise Trouble(text, Code.USAGE)
    rows = {each.run: each for each in run_rows(store)}
    into, target = _target(rows, row)
    letters = [letter for _, letter in matching(store, query)]
    states = {name: _state(store, name, rows[name].number) for name in _relatives(rows, run)}
    known = {seq for state in states.values() for seq in _marked(state).get(run, ())}
    before = [letter for letter in letters if letter.seq in known]
    good, left = _sorted_out(flow, [each for each in letters if each.seq not in known])
    state = states.get(into)
    if target is row:  # An earlier command may have begun.
        begun = bool(before) or (run in _marked(state) and _holds(state))
    else:
        begun = target is not None
    if good or begun:
        _check_output(into, state, output)
    if good:
        _commit(store, flow, into, target, run, good, before, output)
    for letter in (*before, *good):
        store.purge_dead(DeadQuery(run=run, seq=letter.seq))
    facts = {} if state is None else state.facts
    read = {key: decode(data, max_bytes=None) for key, data in facts.items() if data}
    return Given(
        run=run,
        into=into if good or begun else None,
        count=len(good),
        before=len(before),
        left=tuple(left),
        read_on=target is None or not input_left(read),
    )


def _holds(state: Cut | None) -> bool:
    return state is not None and bool(state.messages)


# Where they go --------------------------------------------------------------------------


def _target(rows: dict[str, RunRow], row: RunRow) -> tuple[str, RunRow | None]:
    """Name of the run that gets them, and the run if it is there."""
    if row.status != "finished":
        return row.run, row
    for name in _own_runs(row.run):
        found = rows.get(name)
        if found is None or found.status != "finished":
            return name, found
    raise AssertionError


def _own_runs(run: str) -> Iterator[str]:
    base, number = _OWN.sub("", run), 0
    while True:
        number += 1
        yield f"{base}.replay-{number}"


def _relatives(rows: dict[str, RunRow], run: str) -> Iterator[str]:
    """The run and those that may have been given letters of it."""
    base = _OWN.sub("", run)
    return (name for name in rows if _OWN.sub("", name) == base)


def _state(store: Store, run: str, number: int) -> Cut | None:
    return whole(store.url, run, store.load(run).cuts, number)


def _marked(state: Cut | None) -> dict[str, list[int]]:
    data = None if state is None else state.facts.get(REPLAYED)
    found: dict[str, list[int]] = {} if data is None else decode(data, max_bytes=None)
    return found


def _sorted_out(
    flow: Pipeline[Any, Any], letters: list[DeadRow]
) -> tuple[list[DeadRow], list[tuple[DeadRow, str]]]:
    """Letters that can be replayed, and the others with the reason."""
    stages = {stage.name for stage in flow.plan.stages}
    good, left = [], []
    for letter in letters:
        if letter.place == "input":
            left.append((letter, "a line of the input that could not be read; correct it"))
        elif letter.place not in stages and not had_come_out(letter):
            left.append((letter, f"the flow has no stage {letter.place!r}"))
        elif not had_come_out(letter) and (why := _belongs_elsewhere(flow.plan, letter)):
            left.append((letter, why))
        else:
            try:
                decode(letter.body, max_bytes=None)
            except ActorFlowError as error:
                left.append((letter, f"its body cannot be read: {error}"))
            else:
                good.append(letter)
    return good, left


def _belongs_elsewhere(plan: Plan, letter: DeadRow) -> str:
    """Why *letter* cannot go on by itself where it died; empty if it can."""
    if joins := plan.within(letter.place):
        return f"a branch that {joins[-1].stage!r} joins with others; feed its item again"
    joined = any(join.stage == letter.place for join in plan.joins)
    if joined and letter.reason == "sibling_failed":
        return "what branches gave before they were joined; feed its item again"
    if plan.gather(letter.place) is None and not was_batch(letter):
        return "the stage gets batches and single values; feed its item again"
    return ""


# The one commit -------------------------------------------------------------------------


def _commit(
    store: Store,
    flow: Pipeline[Any, Any],
    into: str,
    target: RunRow | None,
    run: str,
    letters: list[DeadRow],
    before: list[DeadRow],
    output: str,
) -> None:
    if target is not None and target.version and target.version != flow.version:
        text = (
            f"run {into!r} was begun by version {target.version} of the flow, this is "
            f"{flow.version}; `actorflow run` with its --run-id says what differs"
        )
        raise Trouble(text, Code.FAILED)
    if target is not None and target.owner:
        raise RunInUseError(into, target.owner)  # Said before it is touched.
    now = time.time()
    owned = store.acquire(into, now, resume="auto")
    freed = False
    try:
        if owned.status == "finished":
            raise Trouble(f"run {into!r} has just finished; try again", Code.FAILED)
        state = _state(store, into, owned.number)
        marks = _marked(state)
        # Rows that are gone need no mark any more.
        marks[run] = [each.seq for each in (*before, *letters)]
        clean = owned.new or owned.status != "running"
        store.commit(
            Change(
                run=into,
                epoch=owned.epoch,
                number=owned.number + 1,
                cut=put_back(
                    flow.name,
                    state,
                    owned.number + 1,
                    now if state is None else state.at,
                    letters,
                    marks,
                    _size(output),
                    {each.name: flow.plan.gather(each.name) or "" for each in flow.plan.stages},
                ),
                full=state is None,
                # One that was killed stays so: it must be careful with what it holds.
                status="parked" if clean else None,
                version=flow.version,
                identity=flow.plan.identity(),
                flow=flow.name,
                at=now,
            )
        )
        freed = clean
    finally:
        if not freed:
            store.release(into, owned.epoch)


def _check_output(into: str, state: Cut | None, output: str) -> None:
    """Refuse a file that is not the one the run has written, before anything happens to it.

    Raises:
        Trouble: It is not, or it cannot be written.
    """
    data = None if state is None else state.facts.get("sink")
    had = None if data is None else decode(data)
    try:
        has = _size(output)
        if state is None and has is None and output != STANDARD and not os.path.exists(output):
            os.close(os.open(output, os.O_CREAT | os.O_WRONLY, 0o666))
    except OSError as error:
        raise Trouble(f"cannot write {output}: {error.strerror}", Code.USAGE, error) from error
    if had is not None and (has is None or has < had):
        text = f"run {into!r} has written {had:,} bytes to a file; give that one as --output"
        raise Trouble(text, Code.USAGE)
    if state is not None and had is None and has:
        text = f"run {into!r} has not written {output}, which would be emptied; give another file"
        raise Trouble(text, Code.USAGE)


def _size(output: str) -> int | None:
    """Bytes that a file of output has already: what is new goes behind them."""
    if output == STANDARD or not os.path.exists(output):
        return None
    found = os.stat(output)
    return found.st_size if stat.S_ISREG(found.st_mode) else None


# In words -------------------------------------------------------------------------------


def _tell(
    given: Given, outcome: dict[str, Any] | None, wants_json: bool, *, to_stderr: bool = False
) -> None:
    if wants_json:
        say_json(
            {
                "run": given.run,
                "into": given.into,
                "replayed": given.count,
                "replayed_before": given.before,
                "left": [
                    {"number": row.seq, "id": row.id, "stage": row.place, "why": why}
                    for row, why in given.left
                ],
                "outcome": outcome,
            },
            to_stderr=to_stderr,
        )
        return
    where = f" into run {given.into}" if given.into else ""
    text = f"{given.count:,} dead letters of run {given.run} put back{where}"
    if given.before:
        text += f"; {given.before:,} had been before"
    click.echo(text, err=True)
    for row, why in given.left[:SHOWN]:
        click.echo(f"left: {row.id} of {row.place}: {why}", err=True)
    if len(given.left) > SHOWN:
        click.echo(f"and {len(given.left) - SHOWN:,} more are left", err=True)
