"""``actorflow run``: a flow over a file, a pipe or a terminal.

in.jsonl, stdin ──► MODULE:FLOW ──► out.jsonl, stdout
                         ├──► dead letters, if asked for
                         └──► what became of it, on stderr
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

__all__ = ["run"]

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
@click.option("--run-id", metavar="ID", help="Name of the run; made up if not given.")
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
    run_id: str | None,
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

    SIGTERM reads no more and finishes what is held, for up to 30 seconds; a second one
    stops, a third exits at once. Ctrl-C stops, a second one exits at once. If input is
    left unread or items are held then, the exit code is 75 (after Ctrl-C 130), and the
    line up to which the input was read is told.
    """
    from actorflow.cli.load import load_flow

    _check_files(given, output, dead)
    flow = _with_workers(load_flow(target), workers)
    shown = progress != "none" and not (output == STANDARD and is_terminal(1))
    outcome = _drive(
        flow,
        _source(given, input_format),
        _sink(output, output_format),
        dead,
        run_id=run_id,
        progress=progress if shown else None,
        total=_lines(given) if shown and is_terminal(2) else None,
    )
    if isinstance(outcome.error, BrokenPipeError) and output == STANDARD:
        quiet_pipe()
        return Code.FAILED
    _report(flow, outcome, wants_json, to_stderr=output == STANDARD)
    return outcome.code


def _drive(
    flow: Pipeline[Any, Any], source: Any, sink: Any, dead: str | None, **options: Any
) -> Outcome:
    from actorflow.cli.drive import drive
    from actorflow.errors import ConfigurationError

    try:
        return drive(flow, source, sink, dead, **options)
    except ConfigurationError as error:
        raise Trouble(str(error), Code.USAGE, error) from error
    except OSError as error:
        raise _cannot("write", error.filename or sink.name, error) from error


def _report(
    flow: Pipeline[Any, Any], outcome: Outcome, wants_json: bool, *, to_stderr: bool
) -> None:
    from actorflow.cli.summary import as_json, as_text

    if wants_json:
        click.echo(json.dumps(as_json(flow.name, outcome), ensure_ascii=False), err=to_stderr)
    else:
        click.echo(as_text(flow.name, outcome), err=True)
    if outcome.error is not None:
        Trouble(in_words(outcome.error), outcome.code, outcome.error).show()


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
    return Trouble(f"cannot {verb} {name}: {error.strerror or error}", Code.USAGE, error)


def _check_files(given: str, output: str, dead: str | None) -> None:
    """Nothing that is written may be something else that is read or written."""
    if dead == STANDARD:
        raise Trouble("--dead needs the name of a file, not -", Code.USAGE)
    named = {"--input": given, "--output": output, "--dead": dead}
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
