"""``actorflow run``: a flow over a file, a pipe or a terminal.

    in.jsonl, stdin ──► MODULE:FLOW ──► out.jsonl, stdout
                             ├──► dead letters, if asked for
                             └──► what became of it, on stderr
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actorflow.cli.front import Code, Trouble, debug_option, in_words, quiet_pipe

if TYPE_CHECKING:
    from actorflow.cli.drive import Outcome
    from actorflow.flows.pipeline import Pipeline

__all__ = ["run"]

STANDARD = "-"

#: Largest input whose lines are counted for the display: read in well under a second.
COUNTED_BYTES = 64 * 1024 * 1024

FORMATS = click.Choice(["json", "text"])


class _Workers(click.ParamType):
    name = "workers"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[str, int]:
        stage, equals, count = str(value).rpartition("=")
        if not (equals and stage and count.isascii() and count.isdigit() and int(count)):
            self.fail(f"{value!r} is not STAGE=N, such as fetch=8", param, context)
        return stage, int(count)


@click.command(short_help="Run a flow over lines of JSON or text.")
@click.argument("target", metavar="MODULE:FLOW")
@click.option("--input", "input_", metavar="FILE", default="-", help="Where items come from; - is standard input (the default).")
@click.option("--output", metavar="FILE", default="-", help="Where values go; - is standard output (the default).")
@click.option("--input-format", type=FORMATS, default="json", show_default=True, help="What a line of the input is.")
@click.option("--output-format", type=FORMATS, default="json", show_default=True, help="What a line of the output is.")
@click.option("--run-id", metavar="ID", help="Name of the run; made up by default.")
@click.option("--workers", type=_Workers(), metavar="STAGE=N", multiple=True, help="Another number of workers for a stage; may be given for several.")
@click.option("--progress", type=click.Choice(["bar", "compact", "detailed", "full", "none"]), default="bar", show_default=True, help="What to show meanwhile, on a terminal that takes no values.")
@click.option("--dead", metavar="FILE", help="Where dead letters go, a JSON object per line.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object on standard output (on standard error, if the values go to standard output).")
@debug_option
def run(**options: Any) -> int:
    """Run every line of the input through a flow.

    \b
    Example: actorflow run shop.flows:crawl --input urls.jsonl --output pages.jsonl

    FLOW is a pipeline in MODULE, a function without arguments that makes one, or a
    stage or function of one value. The current directory is on the import path.

    A line that cannot be read becomes a dead letter with its number; the others go on.
    Values come out as they are ready. What became of all items is told on standard error.

    SIGTERM reads no more and finishes what is held, for up to 30 seconds; a second one
    stops, a third exits at once. Ctrl-C stops; a second one exits at once.
    """
    return _run(**options)
