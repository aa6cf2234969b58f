"""``actorflow runs``: which runs a store has, and what is known of each."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import click

from actorflow.cli.forks import diff, fork
from actorflow.cli.front import Code, Trouble, debug_option
from actorflow.cli.stores import (
    PAGE,
    age,
    json_option,
    moment,
    opened,
    run_row,
    run_rows,
    say_json,
    size,
    store_option,
    store_url,
    table,
    wants_json,
)

if TYPE_CHECKING:
    from actorflow.durability.store import RunRow, Store
    from actorflow.flows.results import Report

__all__ = ["runs"]

HEAD = ("run", "flow", "status", "version", "owner", "created", "updated")
FIGURES = ("cuts", "size", "results", "dead")

#: Kinds of dead letters that are listed.
KINDS = 10


@click.group(invoke_without_command=True, short_help="List the runs of a store.")
@store_option
@json_option
@debug_option
@click.pass_context
def runs(context: click.Context) -> None:
    """List the runs of a store, the latest first.

    \b
    Example: actorflow runs --store sqlite:///run.db
             actorflow runs show crawl --store sqlite:///run.db

    A run is running, parked (it ended with work left), finished or failed; all but the
    finished go on when their command is given again. One that is running without an owner
    was killed: it is told as "killed".
    """
    if context.invoked_subcommand is not None:
        return
    with opened(store_url()) as store:
        rows = run_rows(store)
    if wants_json():
        say_json([facts(row) for row in rows])
    elif rows:
        lines = [(*HEAD, *FIGURES), *map(_line, rows)]
        click.echo("\n".join(table(lines, numbers=range(len(HEAD), len(lines[0])))))
    else:
        click.echo("no runs")


@runs.command(short_help="Show what is known of one run.")
@click.argument("run", metavar="ID")
@store_option
@json_option
@debug_option
def show(run: str) -> None:
    """Show one run: its state, its report if it has ended, and its dead letters by kind.

    \b
    Example: actorflow runs show crawl --store sqlite:///run.db
    """
    with opened(store_url()) as store:
        row = run_row(store, run)
        kinds = _kinds(store, run)
        found = facts(row) | {
            "report": None if row.report is None else _report_facts(_report(row)),
            "dead_kinds": [
                {"stage": stage, "reason": reason, "error": error, "count": count}
                for (stage, reason, error), count in kinds.most_common()
            ],
        }
    if wants_json():
        say_json(found)
    else:
        click.echo("\n".join(_words(row, found)))


@runs.command(short_help="Forget a run that nobody holds.")
@click.argument("run", metavar="ID")
@store_option
@json_option
@debug_option
def delete(run: str) -> None:
    """Forget a run: its checkpoints, results and dead letters. One in use is refused.

    \b
    Example: actorflow runs delete crawl --store sqlite:///run.db
    """
    with opened(store_url()) as store:
        row = run_row(store, run)
        if not store.delete_run(run):
            raise Trouble(f"run {run!r}: somebody else has just deleted it", Code.USAGE)
    if wants_json():
        say_json({"deleted": run, "results": row.results, "dead": row.dead})
    else:
        click.echo(f"deleted {run}: {row.results:,} results, {row.dead:,} dead letters")


@runs.command(short_help="Write the stored results of a run, one JSON object per line.")
@click.argument("run", metavar="ID")
@store_option
@json_option
@debug_option
def results(run: str) -> None:
    """Write the results that a run with --results store has kept, in the order of completion.

    \b
    Example: actorflow runs results crawl --store sqlite:///run.db

    Each is one JSON object on a line of its own; with --json all are one document.
    """
    found: list[Any] = []
    with opened(store_url()) as store:
        run_row(store, run)
        after = 0
        while page := store.results(run, after, PAGE):
            after = page[-1].seq
            for each in map(_result, page):
                if wants_json():
                    found.append(each)
                else:
                    click.echo(json.dumps(each, ensure_ascii=False))
    if wants_json():
        say_json(found)


runs.add_command(fork)
runs.add_command(diff)


# What is known --------------------------------------------------------------------------


def facts(row: RunRow) -> dict[str, Any]:
    """A run without its report."""
    known = attrs.asdict(row, filter=lambda field, _: field.name != "report")
    return known | {"owner": row.owner or None}


def _report(row: RunRow) -> Report:
    from actorflow.flows.stored import read_report

    assert row.report is not None
    return read_report(row.run, row.report, ())


def _report_facts(report: Report) -> dict[str, Any]:
    return {
        "counts": dict(report.counts),
        "duration": report.duration,
        "restarts": report.restarts,
        "stages": {name: attrs.asdict(each) for name, each in report.stages.items()},
        "errors": [attrs.asdict(each) for each in report.errors],
    }


def _kinds(store: Store, run: str) -> Counter[tuple[str, str, str]]:
    from actorflow.durability.store import DeadQuery

    kinds: Counter[tuple[str, str, str]] = Counter()
    after = 0
    while page := store.dead(DeadQuery(run=run), after, PAGE):
        kinds.update((row.place, row.reason, row.error) for _, row in page)
        after = page[-1][1].seq
    return kinds


def _result(row: Any) -> dict[str, Any]:
    from actorflow.cli.form import body_form, form
    from actorflow.errors import DecodeError
    from actorflow.flows.stored import read_result

    try:
        result = read_result(row)
    except DecodeError:
        return {"seq": row.seq, "id": row.id} | body_form(row.body)
    error: Any = result.error
    return {
        "seq": row.seq,
        "id": form(result.id),
        "status": result.status,
        "stage": result.stage,
        "attempts": result.attempts,
        "error": None if error is None else {"type": error.kind, "text": error.text},
        "value": form(result.value),
    }


# In words -------------------------------------------------------------------------------


def _state(row: RunRow) -> str:
    return "killed" if row.status == "running" and not row.owner else row.status


def _line(row: RunRow) -> tuple[str, ...]:
    return (
        row.run,
        row.flow or "-",
        _state(row),
        row.version or "-",
        row.owner or "-",
        age(row.created),
        age(row.updated),
        f"{row.cuts:,}",
        size(row.size),
        f"{row.results:,}",
        f"{row.dead:,}",
    )


def _words(row: RunRow, found: dict[str, Any]) -> list[str]:
    lines = table(
        [
            ("run", row.run),
            ("flow", f"{row.flow or '-'}, version {row.version or '-'}"),
            ("status", _state(row)),
            ("owner", row.owner or "nobody"),
            ("created", moment(row.created)),
            ("updated", moment(row.updated)),
            ("checkpoints", f"{row.cuts:,} kept, {size(row.size)}; the last is {row.number:,}"),
            ("results", f"{row.results:,}"),
            ("dead letters", f"{row.dead:,}"),
        ]
    )
    report = found["report"]
    if report is not None:
        from actorflow.cli.summary import report_lines

        lines += ["", *report_lines(_report(row))]
    if found["dead_kinds"]:
        head = ("dead letters of", "reason", "error", "count")
        rows = [
            (each["stage"], each["reason"], each["error"] or "-", f"{each['count']:,}")
            for each in found["dead_kinds"][:KINDS]
        ]
        lines += ["", *table([head, *rows], numbers=[3])]
    return lines
