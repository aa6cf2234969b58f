"""``actorflow dead``: the dead letters of stored runs, and how they get another chance.

list, show      look                       purge     forget
replay          put back into the stage they died in, and run: cli/replay.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from actorflow.cli.front import STANDARD, Code, debug_option, one_line, quiet_pipe
from actorflow.cli.stores import (
    age,
    import_option,
    json_option,
    matching,
    moment,
    opened,
    run_rows,
    say_json,
    store_option,
    store_url,
    table,
    wants_json,
)
from actorflow.core.letters import REASONS

if TYPE_CHECKING:
    from actorflow.durability.store import DeadQuery, DeadRow

__all__ = ["dead"]

C = TypeVar("C", bound=Callable[..., Any])

#: Letters that are listed to people, and those that are shown whole.
LISTED, SHOWN = 100, 20

#: Most characters of an error in the list.
ERROR_WIDTH = 60


def _filters(command: C) -> C:
    """The options that say which dead letters are meant."""
    for name, metavar, text in (
        ("--id", "ID", "Of the message with this id."),
        ("--error", "TYPE", "With an error of this type, such as ValueError."),
        ("--stage", "STAGE", "That died in this stage or actor."),
        ("--run", "ID", "Of this run."),
    ):
        command = click.option(name, metavar=metavar, help=text)(command)
    return click.option(
        "--reason",
        metavar="REASON",
        type=click.Choice(REASONS),
        help="With this reason, such as failed or poison.",
    )(command)


@click.group(short_help="List, show, replay and purge dead letters.")
@store_option
@json_option
@debug_option
def dead() -> None:
    """Look at the dead letters of stored runs, replay them, or forget them.

    \b
    Example: actorflow dead list --store sqlite:///run.db --run crawl --error TimeoutError
    """


@dead.command("list", short_help="List dead letters.")
@_filters
@store_option
@json_option
@import_option
@debug_option
def list_(**filters: str | None) -> None:
    """List dead letters, by run and in the order of dying.

    \b
    Example: actorflow dead list --store sqlite:///run.db --reason poison
    """
    from actorflow.cli.form import body_form, brief

    with opened(store_url()) as store:
        found = list(matching(store, _query(filters)))
    if wants_json():
        say_json([facts(run, row, whole=False) for run, row in found])
        return
    if not found:
        click.echo("no dead letters")
        return
    head = ("run", "number", "id", "item", "stage", "reason", "error", "attempts", "died", "body")
    lines = [
        (
            run,
            str(row.seq),
            row.id,
            _item(row),
            row.place,
            row.reason,
            _error(row)[:ERROR_WIDTH],
            str(row.attempts),
            age(row.at),
            brief(body_form(row.body), 40),
        )
        for run, row in found[:LISTED]
    ]
    click.echo("\n".join(table([head, *lines], numbers=[1, 7])))
    if len(found) > LISTED:
        click.echo(f"and {len(found) - LISTED:,} more; --json has all")


@dead.command(short_help="Show dead letters whole, with their tracebacks.")
@_filters
@store_option
@json_option
@import_option
@debug_option
def show(**filters: str | None) -> int:
    """Show dead letters with body, error and traceback.

    \b
    Example: actorflow dead show --store sqlite:///run.db --run crawl --id 17

    Exits with 2 if there is none.
    """
    with opened(store_url()) as store:
        found = list(matching(store, _query(filters)))
    if wants_json():
        say_json([facts(run, row, whole=True) for run, row in found])
    elif not found:
        click.echo("actorflow: no such dead letter", err=True)
    else:
        click.echo("\n\n".join("\n".join(_whole(run, row)) for run, row in found[:SHOWN]))
        if len(found) > SHOWN:
            click.echo(f"\nand {len(found) - SHOWN:,} more; --json has all")
    return Code.DONE if found else Code.USAGE


@dead.command(short_help="Forget dead letters.")
@_filters
@click.option("--all", "everything", is_flag=True, help="All there are.")
@store_option
@json_option
@debug_option
def purge(everything: bool, **filters: str | None) -> None:
    """Forget dead letters. Which ones must be said, or --all.

    \b
    Example: actorflow dead purge --store sqlite:///run.db --run crawl
    """
    _need_a_filter(filters, everything)
    with opened(store_url()) as store:
        query = _query(filters)
        run_rows(store, query.run)
        count = store.purge_dead(query)
    if wants_json():
        say_json({"purged": count})
    else:
        click.echo(f"{count:,} dead letters purged")


@dead.command(short_help="Put dead letters back where they died, and run them.")
@click.argument("target", metavar="MODULE:FLOW")
@_filters
@click.option("--all", "everything", is_flag=True, help="All of the run.")
@click.option(
    "--output",
    metavar="FILE",
    default=STANDARD,
    help="Where values go: behind what the file has; - is standard output (the default).",
)
@click.option(
    "--output-format",
    type=click.Choice(["json", "text"]),
    default="json",
    show_default=True,
    help="What a line of the output is.",
)
@click.option(
    "--results",
    type=click.Choice(["discard", "store"]),
    default="discard",
    show_default=True,
    help="Whether the store keeps results too.",
)
@store_option
@json_option
@debug_option
def replay(
    target: str,
    everything: bool,
    output: str,
    output_format: str,
    results: str,
    **filters: str | None,
) -> int:
    """Put dead letters of a run back into the stages they died in, and run until all are done.

    \b
    Example: actorflow dead replay shop:crawl --store sqlite:///run.db --run crawl --all

    They begin with attempt 1 and have one replay more. A run that has not finished gets
    them itself: give it the --output that it has. It does not read on; its own command
    does. A run that has finished stays as it is: its letters go into a run of their own,
    named like it with .replay-1 behind, whose values go behind what --output has.

    The same command may be given again, whatever happened to the one before: no letter is
    lost, and none is replayed twice. Exits as `actorflow run` does.
    """
    from actorflow.cli.load import load_flow
    from actorflow.cli.replay import replayed

    if filters["run"] is None:
        raise click.UsageError("missing option '--run'")
    _need_a_filter({**filters, "run": None}, everything)
    flow = load_flow(target)
    code = replayed(
        flow,
        store_url(),
        _query(filters),
        output,
        output_format,
        results=results,
        wants_json=wants_json(),
    )
    if code is None:
        quiet_pipe()
        return Code.FAILED
    return code


# Which, and what ------------------------------------------------------------------------


def _query(filters: dict[str, str | None]) -> DeadQuery:
    from actorflow.durability.store import DeadQuery

    return DeadQuery(
        run=filters["run"],
        place=filters["stage"],
        reason=filters["reason"],
        error=filters["error"],
        id=filters["id"],
    )


def _need_a_filter(filters: dict[str, str | None], everything: bool) -> None:
    if not everything and all(value is None for value in filters.values()):
        raise click.UsageError("say which: --stage, --reason, --error or --id; or --all")


def facts(run: str, row: DeadRow, *, whole: bool) -> dict[str, Any]:
    """A dead letter as JSON has it."""
    from actorflow.cli.form import body_form

    known = {
        "run": run,
        "number": row.seq,
        "id": row.id,
        "item": _item(row),
        "stage": row.place,
        "reason": row.reason,
        "error": {"type": row.error, "text": row.text} if row.error else None,
        "attempts": row.attempts,
        "at": row.at,
        "replays": row.replays,
        **body_form(row.body),
    }
    return known | {"traceback": row.traceback} if whole else known


def _item(row: DeadRow) -> str:
    """The id of the item that was fed, as text; ``-`` of an actor's letter."""
    from actorflow.durability.letters import letter_item

    item = letter_item(row)
    return "-" if item is None else one_line(str(item))


def _error(row: DeadRow) -> str:
    return one_line(f"{row.error}: {row.text}" if row.text else row.error) or "-"


def _whole(run: str, row: DeadRow) -> Iterator[str]:
    from actorflow.cli.form import body_form, brief

    yield from table(
        [
            ("run", f"{run}, dead letter {row.seq:,}"),
            ("id", row.id),
            ("item", _item(row)),
            ("stage", row.place),
            ("reason", row.reason),
            ("error", _error(row)),
            ("attempts", f"{row.attempts}, replayed {row.replays} times"),
            ("died", moment(row.at)),
            ("body", brief(body_form(row.body), 400)),
        ]
    )
    for line in row.traceback.splitlines():
        yield "  " + "".join(letter if letter.isprintable() else "?" for letter in line)
