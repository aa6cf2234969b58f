"""The command line: what to type, and what the exit code means.

    actorflow run shop.flows:crawl --input urls.jsonl --output pages.jsonl
    actorflow check shop.flows:crawl
    actorflow graph shop.flows:crawl --format mermaid
    actorflow runs --store sqlite:///run.db
    actorflow demo

One file per command. What a command needs to work is imported when it is called, so
that help and mistakes answer at once. Only a command installs signal handlers; the
library never does.
"""

from __future__ import annotations

import click

from actorflow.cli.check import check
from actorflow.cli.dead import dead
from actorflow.cli.demo.command import demo
from actorflow.cli.front import Code, Front, debug_option
from actorflow.cli.graph import graph
from actorflow.cli.run import run
from actorflow.cli.runs import runs
from actorflow.cli.snapshot import snapshot

__all__ = ["main"]

EXIT_CODES = """\b
Exit codes:
    0  done
    1  failed
    2  wrong usage, or a thing that does not exist
    3  finished, with dead letters
   75  work was left: items that are held, or input that was not read
  130  interrupted (Ctrl-C)
"""


@click.group(
    name="actorflow",
    cls=Front,
    invoke_without_command=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(None, "-V", "--version", package_name="actorflow", prog_name="actorflow")
@debug_option
@click.pass_context
def main(context: click.Context) -> None:
    """Run ordinary Python functions as supervised actors.

    \b
    Example: actorflow run shop.flows:crawl --input urls.jsonl
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(Code.USAGE)


for each in (run, check, graph, runs, snapshot, dead, demo):
    main.add_command(each)
