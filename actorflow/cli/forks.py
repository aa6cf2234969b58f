"""``actorflow runs fork`` and ``diff``: begin a run with what another had, and compare two."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from actorflow.cli.front import Code, Trouble, debug_option
from actorflow.cli.stores import (
    import_option,
    json_option,
    opened,
    say_json,
    store_option,
    store_url,
    wants_json,
)

if TYPE_CHECKING:
    from actorflow.flows.differing import RunDiff

__all__ = ["diff", "fork"]

#: Items that are listed.
SHOWN = 10

#: Most characters of a value that are shown.
WIDTH = 40

#: What a program says, and what one types.
TYPED = (
    ("fork() at", "--at"),
    ("fork() new_id", "--as"),
    ("keep=", "--keep"),
    ("from_stage=", "--from "),
    ("at=", "--at"),
    ("another run_id, or resume='auto'", "another --as"),
)


@click.command(short_help="Begin a run with what the checkpoints of another have.")
@click.argument("target", metavar="MODULE:FLOW")
@click.argument("run", metavar="RUN")
@click.option("--from", "stage", metavar="STAGE", help="Each item as it last was here or before.")
@click.option("--at", metavar="N", type=int, help="Only what checkpoint N has counts.")
@click.option("--as", "new", metavar="NEW", help="Id of the new run; RUN.fork-N if not given.")
@store_option
@json_option
@debug_option
def fork(target: str, run: str, stage: str | None, at: int | None, new: str | None) -> None:
    """Make a run that begins with what the kept checkpoints of another have. That one is only
    read, and may be running; the flow may be mended code.

    \b
    Example: actorflow runs fork shop:crawl monday --from price --store sqlite:///run.db
             actorflow run shop:crawl --run-id monday.fork-1 --store sqlite:///run.db

    Items keep their ids and begin with attempt 1. The new run has nothing to read, and its
    output begins anew. Without --from it begins with all that the last checkpoint holds.
    """
    from actorflow.cli.load import load_flow
    from actorflow.errors import ConfigurationError, ResumeError
    from actorflow.flows.forking import fork_run

    flow = load_flow(target)
    with opened(store_url()) as store:
        try:
            into, items = fork_run(
                store, flow.plan, run, from_stage=stage, at=at, new_id=new, now=time.time()
            )
        except (ConfigurationError, ResumeError) as error:
            usage = isinstance(error, (ConfigurationError, LookupError))
            code = Code.USAGE if usage else Code.FAILED
            raise Trouble(_typed(str(error)), code, error) from error
    if wants_json():
        say_json({"run": run, "into": into, "items": items})
    else:
        click.echo(f"{items:,} items of run {run} are in run {into}, which is parked")


def _typed(text: str) -> str:
    for said, typed in TYPED:
        text = text.replace(said, typed)
    return text


@click.command(short_help="Compare what two runs made of their items.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@store_option
@json_option
@import_option
@debug_option
def diff(a: str, b: str) -> None:
    """Compare the last that is known of each item of two runs: its stored result, or where it is
    in the last checkpoint that has it, or its dead letter.

    \b
    Example: actorflow runs diff monday monday.fork-1 --store sqlite:///run.db

    Items are told apart by their ids. Values are compared key by key.
    """
    from actorflow.flows.differing import diff_runs

    with opened(store_url()) as store:
        found = diff_runs(store, a, b)
    if wants_json():
        say_json(_facts(a, b, found))
    else:
        click.echo("\n".join(_words(a, b, found)))


def _facts(a: str, b: str, found: RunDiff) -> dict[str, Any]:
    """A comparison as JSON has it; what one side lacks is not there."""
    from actorflow.cli.form import form

    missing = found.MISSING
    return {
        "a": a,
        "b": b,
        "same": found.same,
        "changed": [
            {
                "id": form(item),
                "keys": {
                    str(key): {
                        side: form(value)
                        for side, value in zip("ab", pair, strict=True)
                        if value is not missing
                    }
                    for key, pair in keys.items()
                },
            }
            for item, keys in found.changed.items()
        ],
        "only_a": [form(item) for item in found.only_a],
        "only_b": [form(item) for item in found.only_b],
    }


def _words(a: str, b: str, found: RunDiff) -> Iterator[str]:
    yield (
        f"{a} and {b}: {found.same:,} items are the same, {len(found.changed):,} differ, "
        f"{len(found.only_a):,} are only in {a}, {len(found.only_b):,} only in {b}"
    )
    for item, keys in list(found.changed.items())[:SHOWN]:
        for key, (one, other) in keys.items():
            yield f"~ {item}  {key}  {_value(one)} -> {_value(other)}"
    for sign, items in (("-", found.only_a), ("+", found.only_b)):
        for item in items[:SHOWN]:
            yield f"{sign} {item}"
    most = max(len(found.changed), len(found.only_a), len(found.only_b))
    if most > SHOWN:
        yield "and more; --json has all"


def _value(value: object) -> str:
    from actorflow.cli.form import brief, form
    from actorflow.flows.differing import RunDiff

    if value is RunDiff.MISSING:
        return repr(value)
    return brief({"body": form(value)}, WIDTH)
