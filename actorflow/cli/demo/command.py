"""``actorflow demo``: a real job from end to end, and the same with dying workers."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
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
    from actorflow.cli.demo.flow import Deps

__all__ = ["demo"]

#: Takes some 5 s on two cores; the library has about three times as many.
FILES = 600

OUTPUT = "actorflow-demo.jsonl"

#: Worker processes: enough for any machine, each holds some 30 MB.
MOST_PROCESSES = 8


def _number(context: click.Context, option: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    if value.isascii() and value.isdigit() and int(value):
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number nor 'all'", context, option)


@click.command(short_help="Run a real job: the source files of the standard library.")
@click.option(
    "--files",
    "most",
    metavar="N",
    default=str(FILES),
    callback=_number,
    help=f"How many files, or 'all'; {FILES} by default, spread evenly.",
)
@click.option("--kill-workers", is_flag=True, help="Let workers die at random meanwhile.")
@click.option(
    "--output",
    metavar="FILE",
    default=OUTPUT,
    help=f"Where the result goes, a JSON line per file; {OUTPUT} by default.",
)
@click.option(
    "--tree",
    metavar="DIRECTORY",
    type=click.Path(exists=True, file_okay=False),
    help="Take the Python files below this directory instead.",
)
@debug_option
def demo(most: int | None, kill_workers: bool, output: str, tree: str | None) -> int:
    """Read, tokenise, measure and summarise the source files of this Python's own library.

    \b
    Example: actorflow demo --kill-workers

    Four stages with several workers each, the heavy one in worker processes. Broken
    files, of which the library has some for its tests, end as dead letters and are
    listed with their errors; the others go on. With --kill-workers, processes are
    ended in the middle of their work and workers crash; the result is the same.
    """
    from actorflow.cli.demo.tree import chosen, files, standard_library
    from actorflow.cli.load import require_processes

    require_processes("actorflow demo")
    root = standard_library() if tree is None else tree
    found = files(root)
    if not found:
        raise Trouble(f"there are no Python files below {root}; name others: --tree", Code.USAGE)
    paths = chosen(found, most)
    with _deps(paths, kill_workers) as deps:
        return _run(root, paths, len(found) - len(paths), output, deps, library=tree is None)


@contextlib.contextmanager
def _deps(paths: Sequence[str], kill_workers: bool) -> Iterator[Deps]:
    from actorflow.cli.demo.flow import Deps, draw_crashes
    from actorflow.cli.demo.tally import Tally

    if not kill_workers:
        yield Deps(Tally())
        return
    with tempfile.TemporaryDirectory(prefix="actorflow-demo-") as folder:
        yield Deps(Tally(), draw_crashes(paths, folder))


def _run(
    root: str, paths: Sequence[str], left_out: int, output: str, deps: Deps, *, library: bool
) -> int:
    from rich.console import Console

    from actorflow.cli.demo.flow import demo_flow
    from actorflow.cli.demo.table import Facts, show
    from actorflow.cli.drive import drive
    from actorflow.flows.sinks import JsonLinesSink
    from actorflow.flows.sources import IterableSource

    processes = min(MOST_PROCESSES, max(2, os.cpu_count() or 1))
    items = [_item(root, number, path, deps) for number, path in enumerate(paths)]
    mixed = output == STANDARD and is_terminal(1)  # A display between the values.
    crashing = deps.crashes is not None
    try:
        with _restarts_unsaid(crashing):
            outcome = drive(
                demo_flow(processes, crashing=crashing),
                IterableSource(items),
                JsonLinesSink(output),
                None,
                deps=deps,
                ordered=True,
                progress=None if mixed else "detailed",
                total=len(items),
            )
    except OSError as error:
        raise Trouble(f"cannot write {output}: {error.strerror}", Code.USAGE, error) from error
    if isinstance(outcome.error, BrokenPipeError) and output == STANDARD:
        quiet_pipe()
        return Code.FAILED
    facts = Facts(root, len(paths), left_out, output, library)
    show(Console(stderr=output == STANDARD), outcome, facts, deps.tally)
    if outcome.error is not None:
        Trouble(in_words(outcome.error), outcome.code, outcome.error).show()
    return Code.DONE if outcome.code is Code.DEAD_LETTERS else outcome.code


@contextlib.contextmanager
def _restarts_unsaid(wanted: bool) -> Iterator[None]:
    """Crashes that were asked for are counted in the table, not told one by one."""
    logger = logging.getLogger("actorflow")
    level = logger.level
    if wanted:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _item(root: str, number: int, path: str, deps: Deps) -> dict[str, Any]:
    item = {"root": root, "path": path}
    if deps.crashes is not None and path in deps.crashes.tokenise:
        item["fuse"] = os.path.join(deps.crashes.folder, str(number))
    return item
