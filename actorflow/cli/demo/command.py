"""``actorflow demo``: a real job from end to end, and the same with what dies under it.

demo                  durable: in a store, so that it can be killed and gone on with
demo --kill-workers   its workers die
demo --kill           its process dies: this one starts it again and proves the result
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from actorflow.cli.front import (
    STANDARD,
    Code,
    Trouble,
    debug_option,
    is_terminal,
    quiet_pipe,
)

if TYPE_CHECKING:
    from actorflow.cli.demo.flow import Deps

__all__ = ["demo"]

#: Takes some 5 s on two cores; the library has about three times as many.
FILES = 600

OUTPUT = "actorflow-demo.jsonl"

#: Id of the run in its store.
RUN = "demo"

#: Files inside at a time: enough for all workers. Their text is in every checkpoint.
INSIDE = 32

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
    "--kill",
    is_flag=True,
    help="Kill -9 the process that does it, several times, and prove that nothing is lost.",
)
@click.option("--life", is_flag=True, hidden=True, help="Be one life of --kill.")
@click.option(
    "--store",
    metavar="URL",
    help="Keep the run here, such as sqlite:///demo.db; for the time of the demo by default.",
)
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
@click.option(
    "--json",
    "wants_json",
    is_flag=True,
    help="Report as one JSON object on standard output; on standard error if values go there.",
)
@debug_option
def demo(
    most: int | None,
    kill_workers: bool,
    kill: bool,
    life: bool,
    store: str | None,
    output: str,
    tree: str | None,
    wants_json: bool,
) -> int:
    """Read, tokenise, measure and summarise the source files of this Python's own library.

    \b
    Example: actorflow demo --kill

    Four stages with several workers each, the heavy one in worker processes. Broken
    files, of which the library has some for its tests, end as dead letters and are
    listed with their errors; the others go on. With --kill-workers, processes are
    ended in the middle of their work and workers crash; the result is the same.

    The run is kept in a store. With --kill the process that does the work is killed with
    SIGKILL several times, and started again by the same command. At the end each file is
    looked for in the output and among the dead letters: exits with 1 if one is lost or is
    there twice.
    """
    from actorflow.cli.demo.tree import chosen, files, standard_library
    from actorflow.cli.load import require_processes
    from actorflow.cli.stores import require_folder

    require_processes("actorflow demo")
    if kill and (kill_workers or output == STANDARD):
        raise Trouble(
            "--kill needs a file as --output, and goes without --kill-workers", Code.USAGE
        )
    if kill and store is not None:
        _require_lasting(store)
    root = standard_library() if tree is None else tree
    found = files(root)
    if not found:
        raise Trouble(f"there are no Python files below {root}; name others: --tree", Code.USAGE)
    paths = chosen(found, most)
    with tempfile.TemporaryDirectory(prefix="actorflow-demo-") as folder:
        url = store or f"sqlite:///{folder}/demo.db"
        require_folder(url)
        if kill:
            return _kill(paths, output, url, most, tree, folder, wants_json)
        deps = _deps(paths, kill_workers, url, folder)
        job = _Job(
            root, paths, len(found) - len(paths), output, url, tree is None, life, wants_json
        )
        return _run(job, deps)


class _Job(NamedTuple):
    """What is to be done, and how it is shown."""

    root: str
    paths: Sequence[str]
    left_out: int
    output: str
    url: str
    library: bool
    life: bool
    wants_json: bool


def _require_lasting(url: str) -> None:
    """Raise if what is in the store ends with the process that is to be killed.

    Raises:
        Trouble: It does, or there is no such store.
    """
    from actorflow.cli.stores import file_of, trouble
    from actorflow.durability.urls import store_from_url
    from actorflow.errors import ConfigurationError

    try:
        store_from_url(url)
    except ConfigurationError as error:
        raise trouble(error) from error
    if file_of(url) is None:
        text = f"--kill needs a store that outlives the process, and {url} ends with it"
        raise Trouble(f"{text}; write --store sqlite:///demo.db, or no --store", Code.USAGE)


def _deps(paths: Sequence[str], kill_workers: bool, url: str, folder: str) -> Deps:
    from actorflow.cli.demo.flow import Deps, draw_crashes
    from actorflow.cli.demo.tally import Tally
    from actorflow.cli.stores import file_of

    if not kill_workers:
        return Deps(Tally())
    # Beside the store: who goes on with the run must find the same files to take.
    fuses = f"{file_of(url) or os.path.join(folder, 'demo')}.fuses"
    os.makedirs(fuses, exist_ok=True)
    return Deps(Tally(), draw_crashes(paths, fuses))


def _kill(
    paths: Sequence[str],
    output: str,
    url: str,
    most: int | None,
    tree: str | None,
    folder: str,
    wants_json: bool,
) -> int:
    from rich.console import Console

    from actorflow.cli.demo.kills import kill_and_resume, proof_form, prove, show_proof

    args = ["demo", "--life", "--store", url, "--output", output]
    args += ["--files", "all" if most is None else str(most)]
    args += [] if tree is None else ["--tree", tree]
    console = Console(stderr=wants_json)
    kills = kill_and_resume(args, len(paths), console, folder)
    proof = prove(paths, output, url, RUN)
    code = Code.DONE if proof.holds else Code.FAILED
    if wants_json:
        found = {"exit_code": int(code), **proof_form(proof, kills, output)}
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        show_proof(console, proof, kills, output)
    return code


def _run(job: _Job, deps: Deps) -> int:
    from rich.console import Console

    from actorflow.cli.demo.flow import demo_flow
    from actorflow.cli.demo.table import Facts, facts_form, show
    from actorflow.cli.run import drive_flow, in_line
    from actorflow.cli.summary import as_json
    from actorflow.flows.sources import IterableSource

    processes = min(MOST_PROCESSES, max(2, os.cpu_count() or 1))
    items = [_item(job.root, number, path, deps) for number, path in enumerate(job.paths)]
    mixed = job.output == STANDARD and is_terminal(1)  # A display between the values.
    crashing = deps.crashes is not None
    with _restarts_unsaid(crashing):
        outcome = drive_flow(
            demo_flow(processes, crashing=crashing),
            IterableSource(items),
            _sink(job),
            None,
            deps=deps,
            ordered=True,
            concurrency=INSIDE,
            progress=None if mixed or job.life else "detailed",
            total=len(items),
            store=job.url,
            run_id=RUN,
        )
    if isinstance(outcome.error, BrokenPipeError) and job.output == STANDARD:
        quiet_pipe()
        return Code.FAILED
    code = Code.DONE if outcome.code is Code.DEAD_LETTERS else outcome.code
    if not job.life:
        facts = Facts(job.root, len(job.paths), job.left_out, job.output, job.library)
        if job.wants_json:
            found = as_json("demo", outcome) | facts_form(facts, deps.tally)
            found["exit_code"] = int(code)
            click.echo(json.dumps(found, ensure_ascii=False), err=job.output == STANDARD)
        else:
            show(Console(stderr=job.output == STANDARD), outcome, facts, deps.tally)
    if outcome.error is not None:
        in_line(outcome.error, outcome.code).show()
    return code


def _sink(job: _Job) -> Any:
    from actorflow.cli.demo.life import TellingSink
    from actorflow.flows.sinks import JsonLinesSink

    return (TellingSink if job.life else JsonLinesSink)(job.output)


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
