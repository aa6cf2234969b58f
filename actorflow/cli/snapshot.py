"""``actorflow snapshot``: what the checkpoints of a run hold."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import click

from actorflow.cli.front import STANDARD, Code, Trouble, debug_option
from actorflow.cli.stores import (
    import_option,
    json_option,
    moment,
    opened,
    run_row,
    say_json,
    store_option,
    store_url,
    table,
    wants_json,
)

if TYPE_CHECKING:
    from actorflow.durability.store import Store
    from actorflow.wire.snapshot import Cut, Key, Record

__all__ = ["snapshot"]

#: Messages that are listed, and changes of each kind.
SHOWN = 10

#: Most characters of a fact that are shown.
FACT_WIDTH = 90


class _Checkpoint(click.Argument):
    """One of two numbers that are given together or not at all: the usage has ``[A B]``."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Its own name, without the brackets around both."""
        assert self.metavar is not None
        return f"'{self.metavar.strip('[]')}'"


@click.group(short_help="Show, compare and export the checkpoints of a run.")
@store_option
@json_option
@debug_option
def snapshot() -> None:
    """Look into the checkpoints of a run. A run in use may be looked at too.

    \b
    Example: actorflow snapshot show crawl --store sqlite:///run.db

    A checkpoint has messages, each in a lane of a mailbox, and facts, which are all else:
    how far the input was read, what the output has, what policies count.
    """


@snapshot.command(short_help="Show what a run holds.")
@click.argument("run", metavar="RUN")
@click.option("--at", metavar="N", type=int, help="The checkpoint; the last one if not given.")
@store_option
@json_option
@import_option
@debug_option
def show(run: str, at: int | None) -> None:
    """Show what a run holds at a checkpoint: messages by mailbox and lane, facts by name, and the
    oldest messages.

    \b
    Example: actorflow snapshot show crawl --store sqlite:///run.db
             actorflow snapshot show crawl --at 17 --store sqlite:///run.db

    The last checkpoints of a run are kept, at least as many as its keep= says.
    """
    with opened(store_url()) as store:
        found = _summary(run, _kept(store, run), at)
    if wants_json():
        say_json(found)
    else:
        click.echo("\n".join(_summary_words(found)))


@snapshot.command(short_help="Show what changed between two checkpoints.")
@click.argument("run", metavar="RUN")
@click.argument("before", cls=_Checkpoint, metavar="[A", type=int, required=False)
@click.argument("after", cls=_Checkpoint, metavar="B]", type=int, required=False)
@store_option
@json_option
@debug_option
def diff(run: str, before: int | None, after: int | None) -> None:
    """Show what changed from checkpoint A to checkpoint B, both of which must be kept; without
    them, what the last one has changed.

    \b
    Example: actorflow snapshot diff crawl 17 20 --store sqlite:///run.db
    """
    if before is not None and after is None:
        raise click.UsageError("give the numbers of both checkpoints, or of none")
    with opened(store_url()) as store:
        found = _difference(run, _kept(store, run), before, after)
    if wants_json():
        say_json(found)
    else:
        click.echo("\n".join(_difference_words(found)))


@snapshot.command(short_help="Write all that a run holds into a file.")
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE")
@store_option
@json_option
@import_option
@debug_option
def export(run: str, file: str) -> None:
    """Write every message and every fact of a run into FILE, as one JSON document.

    \b
    Example: actorflow snapshot export crawl crawl.json --store sqlite:///run.db

    A body whose type is not known here is written by its tags; --import MODULE makes the
    types of MODULE known. FILE may be - for standard output.
    """
    from actorflow.wire.snapshot import fold

    with opened(store_url()) as store:
        row, cuts = run_row(store, run), _kept(store, run)
        state = fold(cuts)
        head = {
            "run": run,
            "flow": row.flow,
            "version": row.version,
            "status": row.status,
            "cut": state.number,
            "at": state.at,
        }
    if file == STANDARD:
        _write_export(sys.stdout, head, state)
        return
    try:
        _replace(file, head, state)
    except OSError as error:
        raise Trouble(f"cannot write {file}: {error.strerror}", Code.USAGE, error) from error
    counts = {"messages": len(state.messages), "facts": len(state.facts)}
    if wants_json():
        say_json({"run": run, "cut": state.number, "file": file, **counts})
    else:
        click.echo(f"{counts['messages']:,} messages and {counts['facts']:,} facts in {file}")


# Reading --------------------------------------------------------------------------------


def _kept(store: Store, run: str) -> list[Cut]:
    """All cuts of a run that are kept, read.

    Raises:
        RunNotFoundError: There is no such run.
        StoreCorrupt: One cannot be read.
    """
    from actorflow.errors import DecodeError, StoreCorrupt
    from actorflow.wire.snapshot import read_cut

    run_row(store, run)
    try:
        return [read_cut(each.body) for each in store.cuts(run)]
    except DecodeError as error:
        text = f"the checkpoint of run {run!r} cannot be read: {error}"
        raise StoreCorrupt(store.url, text) from error


def _id_order(key: Key) -> tuple[Any, ...]:
    """Oldest first: an item has the number in which it was fed, its pieces come behind it. What
    came from another system has that one's numbers, and is listed by its name."""
    root, *steps = str(key).split(".")
    home, _, number = root.rpartition("/")
    return (home, int(number), *map(int, steps))


def _message(key: Key, record: Record) -> dict[str, Any]:
    from actorflow.cli.form import body_form, form
    from actorflow.wire.codec import decode
    from actorflow.wire.snapshot import LANES

    more: dict[str, Any] = dict(record.more)
    if "headers" in more:
        more["headers"] = decode(more["headers"], max_bytes=None)
    return {
        "id": str(key),
        "box": record.box,
        "lane": LANES[record.lane],
        "order": record.order,
        "attempt": record.attempt,
        **{name: form(value) for name, value in more.items()},
        **body_form(record.body),
    }


def _read(facts: Mapping[str, bytes | None]) -> dict[Any, dict[str, Any]]:
    return {name: _fact(data) for name, data in sorted(facts.items()) if data}


def _fact(data: bytes) -> dict[str, Any]:
    from actorflow.cli.form import body_form

    found = body_form(data)
    return {"value": found["body"]} if "body" in found else found


# Showing --------------------------------------------------------------------------------


def _summary(run: str, cuts: list[Cut], at: int | None) -> dict[str, Any]:
    from actorflow.wire.snapshot import LANES, fold, read_record

    if at is not None and not cuts:
        raise Trouble(f"run {run!r} has no checkpoint yet", Code.USAGE)
    state = fold(cuts) if at is None else _state_at(run, cuts, at)
    counts: Counter[tuple[str, int]] = Counter()
    for data in state.messages.values():
        assert data is not None
        record = read_record(data)
        counts[record.box, record.lane] += 1
    boxes: dict[str, dict[str, int]] = {}
    for (box, lane), count in sorted(counts.items()):
        boxes.setdefault(box, {})[LANES[lane]] = count
    oldest = sorted(state.messages, key=_id_order)[:SHOWN]
    return {
        "run": run,
        "cut": state.number,
        "at": state.at if cuts else None,
        "kept": {
            "first": cuts[0].number if cuts else None,
            "last": cuts[-1].number if cuts else None,
            "count": len(cuts),
        },
        "messages": len(state.messages),
        "mailboxes": boxes,
        "oldest": [_message(key, read_record(state.messages[key] or b"")) for key in oldest],
        "facts": _read(state.facts),
    }


def _summary_words(found: dict[str, Any]) -> Iterator[str]:
    from actorflow.cli.form import brief
    from actorflow.wire.snapshot import LANES

    if not found["kept"]["count"]:
        yield f"run {found['run']}: no checkpoint yet"
        return
    first, last = found["kept"]["first"], found["kept"]["last"]
    kept = f"{first:,}" if first == last else f"{first:,} to {last:,}"
    yield f"run {found['run']}: checkpoint {found['cut']:,} of {moment(found['at'])}; kept: {kept}"
    yield ""
    yield f"{found['messages']:,} messages"
    if found["mailboxes"]:
        lanes = [lane for lane in LANES if any(lane in box for box in found["mailboxes"].values())]
        rows = [
            (box, *(f"{count.get(lane, 0):,}" for lane in lanes))
            for box, count in found["mailboxes"].items()
        ]
        yield from table([("mailbox", *lanes), *rows], numbers=range(1, len(lanes) + 1))
        yield ""
        head = ("oldest", "mailbox", "lane", "attempt", "body")
        oldest = [
            (each["id"], each["box"], each["lane"], str(each["attempt"]), brief(each))
            for each in found["oldest"]
        ]
        yield from table([head, *oldest], numbers=[3])
    yield ""
    yield f"{len(found['facts']):,} facts"
    width = max(map(len, found["facts"]), default=0)
    for name, fact in found["facts"].items():
        body = {"body": fact["value"]} if "value" in fact else fact
        yield f"{name.ljust(width)}  {brief(body, FACT_WIDTH)}"


# Comparing ------------------------------------------------------------------------------


def _difference(run: str, cuts: list[Cut], before: int | None, after: int | None) -> dict[str, Any]:
    from actorflow.wire.snapshot import compare

    if not cuts:
        raise Trouble(f"run {run!r} has no checkpoint yet", Code.USAGE)
    if before is None or after is None:
        before, after = cuts[-1].number - 1, cuts[-1].number
    old, new = _state_at(run, cuts, before), _state_at(run, cuts, after)
    messages, facts = compare(old.messages, new.messages), compare(old.facts, new.facts)
    was, now = _read(old.facts), _read(new.facts)
    return {
        "run": run,
        "from": before,
        "to": after,
        "messages": {
            "added": [_place(key, new.messages) for key in messages.added],
            "removed": [_place(key, old.messages) for key in messages.removed],
            "changed": [
                _place(key, new.messages) | {"was": _place(key, old.messages)}
                for key in messages.changed
            ],
        },
        "facts": {
            "added": {key: now[key] for key in facts.added},
            "removed": {key: was[key] for key in facts.removed},
            "changed": {key: now[key] | {"was": was[key]} for key in facts.changed},
        },
    }


def _state_at(run: str, cuts: list[Cut], number: int) -> Cut:
    from actorflow.wire.snapshot import Cut, fold

    first, last = cuts[0].number, cuts[-1].number
    if number == first - 1 == 0:
        return Cut(0, True, 0.0, {}, {})
    if not first <= number <= last:
        text = f"run {run!r}: checkpoint {number} is not kept; kept are {first} to {last}"
        if number == first - 1 and first == last:
            text += ", which is a fold of all before it, and a fold has nothing to compare with"
        raise Trouble(text, Code.USAGE)
    return fold(each for each in cuts if each.number <= number)


def _place(key: Key, messages: Mapping[Any, bytes | None]) -> dict[str, Any]:
    from actorflow.wire.snapshot import LANES, read_record

    record = read_record(messages[key] or b"")
    return {
        "id": str(key),
        "box": record.box,
        "lane": LANES[record.lane],
        "attempt": record.attempt,
    }


def _difference_words(found: dict[str, Any]) -> Iterator[str]:
    messages, facts = found["messages"], found["facts"]
    yield f"run {found['run']}: from checkpoint {found['from']:,} to {found['to']:,}"
    for sign, kind in (("+", "added"), ("-", "removed"), ("~", "changed")):
        changes = messages[kind]
        yield f"{len(changes):,} messages {kind}"
        for each in changes[:SHOWN]:
            was = f"{_where(each['was'])} -> " if "was" in each else ""
            yield f"  {sign} {each['id']}  {was}{_where(each)}"
        if len(changes) > SHOWN:
            yield f"  and {len(changes) - SHOWN:,} more"
    for sign, kind in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for name, fact in facts[kind].items():
            was = f"{_short(fact['was'])} -> " if "was" in fact else ""
            yield f"{sign} fact {name}  {was}{_short(fact)}"


def _where(place: dict[str, Any]) -> str:
    return f"{place['box']} {place['lane']}, attempt {place['attempt']}"


def _short(fact: dict[str, Any]) -> str:
    from actorflow.cli.form import brief

    return brief({"body": fact["value"]} if "value" in fact else fact)


# Exporting ------------------------------------------------------------------------------


def _write_export(file: IO[str], head: dict[str, Any], state: Cut) -> None:
    """The document piece by piece: a run may hold a million messages."""
    from actorflow.wire.snapshot import read_record

    file.write(json.dumps(head, ensure_ascii=False)[:-1])
    file.write(', "messages": [')
    for index, key in enumerate(sorted(state.messages, key=_id_order)):
        message = _message(key, read_record(state.messages[key] or b""))
        file.write(("," if index else "") + "\n" + json.dumps(message, ensure_ascii=False))
    file.write('\n], "facts": {')
    for index, (name, data) in enumerate(sorted(state.facts.items())):
        fact = f"{json.dumps(name)}: {json.dumps(_fact(data or b''), ensure_ascii=False)}"
        file.write(("," if index else "") + "\n" + fact)
    file.write("\n}}\n")


def _replace(path: str, head: dict[str, Any], state: Cut) -> None:
    """Write a file that is there whole, or as it was."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as special:
            _write_export(special, head, state)
        return
    folder = os.path.dirname(os.path.abspath(path))
    number, draft = tempfile.mkstemp(".part", ".export.", folder)
    try:
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            _write_export(file, head, state)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
