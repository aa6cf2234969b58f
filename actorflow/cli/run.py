"""``actorflow run``: a flow over a file, a pipe or a terminal.

in.jsonl, stdin ──► MODULE:FLOW ──► out.jsonl, stdout
                     │   ├──► dead letters, if asked for
                     │   └──► what became of it, on stderr
                     └──► --store: goes on where it was when it ended, however that was
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from actorflow.cli.front import (
    STANDARD,
    Code,
    Trouble,
    debug_option,
    in_words,
    is_terminal,
    quiet_pipe,
)

if TYPE_CHECKING:
    from actorflow.cli.drive import Outcome
    from actorflow.flows.pipeline import Pipeline

__all__ = ["drive_flow", "in_line", "report", "run", "tell_promises"]

#: Largest input whose lines are counted for the display: read in well under a second.
COUNTED_BYTES = 64 * 1024 * 1024

FORMATS = click.Choice(["json", "text"])


def _workers(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """``STAGE=N`` by name of the stage."""
    found = {}
    for value in values:
        stage, _, count = value.rpartition("=")
        if not (stage and count.isascii() and count.isdigit() and int(count)):
            text = f"{value!r} is not STAGE=N, such as fetch=8"
            raise click.BadParameter(text, context, option)
        found[stage] = int(count)
    return found


def _migrations(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | None:
    """``OLD=NEW`` names of stages."""
    found = {}
    for value in values:
        old, _, new = value.partition("=")
        if not (old and new):
            raise click.BadParameter(f"{value!r} is not OLD=NEW", context, option)
        found[old] = new
    return found or None


@click.command(short_help="Run a flow over lines of JSON or text.")
@click.argument("target", metavar="MODULE:FLOW")
@click.option(
    "--input",
    "given",
    metavar="FILE",
    default=STANDARD,
    help="Where items come from; - is standard input (the default).",
)
@click.option(
    "--output",
    metavar="FILE",
    default=STANDARD,
    help="Where values go; - is standard output (the default).",
)
@click.option(
    "--input-format",
    type=FORMATS,
    default="json",
    show_default=True,
    help="What a line of the input is.",
)
@click.option(
    "--output-format",
    type=FORMATS,
    default="json",
    show_default=True,
    help="What a line of the output is.",
)
@click.option(
    "--store",
    metavar="URL",
    help="Keep the run here, such as sqlite:///run.db; the same command goes on with it.",
)
@click.option(
    "--run-id",
    metavar="ID",
    help="Name of the run; if not given that of the flow, or made up without a store.",
)
@click.option(
    "--resume",
    type=click.Choice(["auto", "never", "must"]),
    default="auto",
    show_default=True,
    help="Go on with a run of this name if there is one; never, or nothing else.",
)
@click.option(
    "--results",
    type=click.Choice(["discard", "store"]),
    default="discard",
    show_default=True,
    help="Whether the store keeps results too, for `actorflow runs results`.",
)
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Checkpoints that `actorflow runs fork` can go back to, at least.",
)
@click.option(
    "--migrate",
    metavar="OLD=NEW",
    multiple=True,
    callback=_migrations,
    help="Go on with the run of another version of the flow, in which a stage had another name.",
)
@click.option(
    "--workers",
    metavar="STAGE=N",
    multiple=True,
    callback=_workers,
    help="Another number of workers for a stage; may be given several times.",
)
@click.option(
    "--progress",
    type=click.Choice(["bar", "compact", "detailed", "full", "none"]),
    default="bar",
    show_default=True,
    help="What to show meanwhile; only on a terminal that the values do not go to.",
)
@click.option("--dead", metavar="FILE", help="Where dead letters go, one JSON object per line.")
@click.option(
    "--json",
    "wants_json",
    is_flag=True,
    help="Report as one JSON object on standard output; on standard error if values go there.",
)
@debug_option
def run(
    target: str,
    given: str,
    output: str,
    input_format: str,
    output_format: str,
    store: str | None,
    run_id: str | None,
    resume: str,
    results: str,
    keep: int,
    migrate: dict[str, str] | None,
    workers: dict[str, int],
    progress: str,
    dead: str | None,
    wants_json: bool,
) -> int:
    """Run every line of the input through a flow.

    \b
    Example: actorflow run shop.flows:crawl --input urls.jsonl --output pages.jsonl

    FLOW is a pipeline in MODULE, a function without arguments that makes one, or a
    stage or function of one value. The current directory is on the import path.

    A line that cannot be read becomes a dead letter with its number; the others go on.
    Values come out as they are ready. What became of the items is told on standard error.

    SIGTERM reads no more and finishes what is held, for up to 30 seconds; a second one stops, a
    third exits at once. Ctrl-C stops, a second one exits at once. If input is left unread or items
    are held then, the exit code is 75 (after Ctrl-C 130); up to which line it was read is told.

    With --store the run survives its process, also kill -9 at any moment: the same
    command goes on with it, and a file of output is what an undisturbed run writes. Of a
    run that has finished its report is shown again. The third SIGTERM, or the second
    Ctrl-C, exits without a last checkpoint: the run goes on from the one before.
    """
    from actorflow.cli.load import load_flow

    kept = _kept(store, resume=resume, results=results, keep=keep, migrate=migrate)
    _check_files(given, output, dead, store)
    flow = _with_workers(load_flow(target), workers)
    if store is not None:
        tell_promises(output, given)
    shown = progress != "none" and not (output == STANDARD and is_terminal(1))
    outcome = drive_flow(
        flow,
        _source(given, input_format),
        _sink(output, output_format),
        dead,
        run_id=run_id,
        progress=progress if shown else None,
        total=_lines(given) if shown and is_terminal(2) else None,
        **kept,
    )
    if isinstance(outcome.error, BrokenPipeError) and output == STANDARD:
        quiet_pipe()
        return Code.FAILED
    report(flow, outcome, wants_json, to_stderr=output == STANDARD)
    return outcome.code


def _kept(store: str | None, **options: Any) -> dict[str, Any]:
    """What a durable run is told of its store; nothing for one without."""
    if store is not None:
        from actorflow.cli.stores import require_folder

        require_folder(store)
        return {"store": store, **options}
    usual = {"resume": "auto", "results": "discard", "keep": 5, "migrate": None}
    for name, value in options.items():
        if value != usual[name]:
            raise Trouble(f"--{name} needs --store", Code.USAGE)
    return {}


def tell_promises(output: str, given: str | None = None) -> None:
    """Say where a durable run cannot promise what it promises of files."""
    if output == STANDARD or _is_special(output):
        where = "standard output" if output == STANDARD else output
        text = f"what goes to {where} is at-least-once: after an unclean end some comes again"
        click.echo(f"actorflow: {text}; an --output file has each value once", err=True)
    if given is not None and (given == STANDARD or _is_special(given)):
        where = "standard input" if given == STANDARD else given
        text = f"{where} cannot be read again: what was read is kept, give the rest next time"
        click.echo(f"actorflow: {text}; kill -9 may take the last lines read", err=True)


def drive_flow(
    flow: Pipeline[Any, Any], source: Any, sink: Any, dead: str | None, **options: Any
) -> Outcome:
    """`drive`, with what keeps it from beginning as `Trouble`."""
    from actorflow.cli.drive import drive
    from actorflow.errors import ConfigurationError

    try:
        return drive(flow, source, sink, dead, **options)
    except ConfigurationError as error:
        raise Trouble(str(error), Code.USAGE, error) from error
    except OSError as error:
        raise _cannot("write", error.filename or sink.name, error) from error


def report(
    flow: Pipeline[Any, Any], outcome: Outcome, wants_json: bool | None, *, to_stderr: bool
) -> None:
    """Show how it ended; of a run that could not begin, or if *wants_json* is `None`, only why."""
    from actorflow.cli.summary import as_json, as_text

    if wants_json is None:
        pass
    elif wants_json:
        click.echo(json.dumps(as_json(flow.name, outcome), ensure_ascii=False), err=to_stderr)
    elif outcome.report is not None or outcome.error is None:
        click.echo(as_text(flow.name, outcome), err=True)
    if outcome.error is not None:
        in_line(outcome.error, outcome.code).show()


def in_line(error: Exception, code: Code) -> Trouble:
    """The line for what ended a run."""
    from actorflow.cli.stores import trouble
    from actorflow.errors import ResumeError, StoreError

    if isinstance(error, (ResumeError, StoreError)):
        return trouble(error)
    if code is Code.USAGE:
        return Trouble(f"{error}; give the --output that the run began with", code, error)
    return Trouble(in_words(error), code, error, more=_notes(error))


def _notes(error: BaseException) -> list[str]:
    """What an error of the system has been told of what helps."""
    return list(getattr(error, "__notes__", ())) if isinstance(error, OSError) else []


# What the options name ----------------------------------------------------------------


def _with_workers(flow: Pipeline[Any, Any], wanted: Mapping[str, int]) -> Pipeline[Any, Any]:
    """*flow*, with other numbers of workers; nothing else of it changes."""
    import attrs

    from actorflow.errors import CompilationError
    from actorflow.graph.stage import stage

    try:
        for name in wanted:
            flow.plan.stage(name)
    except CompilationError as error:
        raise Trouble(f"--workers: {error}", Code.USAGE, error) from error
    stages = tuple(
        stage(each, workers=wanted[each.name]) if each.name in wanted else each
        for each in flow.plan.stages
    )
    tuned = copy.copy(flow)
    tuned.plan = attrs.evolve(flow.plan, stages=stages)
    return tuned


def _source(path: str, style: str) -> Any:
    from actorflow.flows.sources import JsonLinesSource, TextLinesSource

    source = JsonLinesSource(path) if style == "json" else TextLinesSource(path)
    try:
        source.check()
    except OSError as error:
        raise _cannot("read", source.name, error) from error
    return source


def _sink(path: str, style: str) -> Any:
    from actorflow.flows.sinks import JsonLinesSink, TextLinesSink

    return JsonLinesSink(path) if style == "json" else TextLinesSink(path)


def _cannot(verb: str, name: str, error: OSError) -> Trouble:
    return Trouble(
        f"cannot {verb} {name}: {error.strerror or error}", Code.USAGE, error, more=_notes(error)
    )


def _is_special(path: str) -> bool:
    """Whether there is something of that name that is no regular file: a pipe, a terminal."""
    try:
        mode = os.stat(path).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    except OSError:
        return False


def _check_files(given: str, output: str, dead: str | None, store: str | None) -> None:
    """Nothing that is written may be something else that is read or written."""
    if dead == STANDARD:
        raise Trouble("--dead needs the name of a file, not -", Code.USAGE)
    from actorflow.cli.stores import file_of

    file = None if store is None else file_of(store)
    named = {"--input": given, "--output": output, "--dead": dead, "--store": file}
    files = [(option, path) for option, path in named.items() if path and path != STANDARD]
    for (one, path), (other, same) in itertools.combinations(files, 2):
        if _is_same_file(path, same):
            raise Trouble(f"{one} and {other} are the same file, {same}", Code.USAGE)


def _is_same_file(one: str, other: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(one).st_mode) and os.path.samefile(one, other)
    except OSError:  # One of them does not exist yet.
        return os.path.abspath(one) == os.path.abspath(other)


def _lines(path: str) -> int | None:
    """Items of the input, if they are quickly counted."""
    try:
        found = os.stat(path)
        if path == STANDARD or not stat.S_ISREG(found.st_mode) or found.st_size > COUNTED_BYTES:
            return None
        with open(path, "rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError:
        return None
