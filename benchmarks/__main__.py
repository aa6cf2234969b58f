"""Ask all benchmark questions, ours and the peers' side by side, and print one table.

    python -m benchmarks                      everything
    python -m benchmarks stages ask           files or single questions
    python -m benchmarks --quick              small loads, fewer rounds
    python -m benchmarks --markdown           the table of docs/performance.md
    python -m benchmarks --json               every round of every side

Run it at the top of the checkout. The exit code is 1 if a side gave a wrong answer or
a target is not met, and 2 for a name that does not exist.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence

import attrs

from benchmarks.catalogue import FILES, QUESTIONS, chosen
from benchmarks.measure import Answer, SideFailed, ask
from benchmarks.table import INSTALL, Row, rows_of, to_markdown, to_text

__all__ = ["main"]

#: Whose versions the figures depend on.
VERSIONS = ("trio", "actorflow", "AntFlow", "async-graph-data-flow", "pykka")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse *arguments*, ask, print; answers the exit code."""
    wanted = _parser().parse_args(arguments)
    try:
        questions = chosen(wanted.names)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    answers = []
    for question in questions:
        try:
            answers.append(ask(question, quick=wanted.quick, rounds=wanted.rounds, tell=_tell))
        except SideFailed as error:
            print(error, file=sys.stderr)
            return 1
    _tell("")
    rows = [row for answer in answers for row in rows_of(answer)]
    if wanted.json:
        print(_as_json(answers, rows))
    elif wanted.markdown:
        print(to_markdown(rows))
    else:
        print(f"{machine()}\n\n{to_text(rows)}\n{_about_the_missing(answers)}", end="")
    return int(any(row.met == "no" for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = ", ".join(dict.fromkeys((*FILES, *QUESTIONS)))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to run: {names}")
    parser.add_argument("--quick", action="store_true", help="small loads, fewer rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each side runs")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--markdown", action="store_true", help="the table and nothing else")
    shape.add_argument("--json", action="store_true", help="every round of every side")
    return parser


def _tell(line: str) -> None:
    """Say what runs, to people who watch; it is not part of the answer."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def machine() -> str:
    """Where and with what the figures were taken, in one line."""
    found = [f"{os.cpu_count()} cores", platform.system(), platform.machine()]
    found.append(f"{platform.python_implementation()} {platform.python_version()}")
    for name in VERSIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if hasattr(os, "getloadavg"):
        found.append(f"load at the end {os.getloadavg()[0]:.1f}")
    return ", ".join(found)


def _about_the_missing(answers: Sequence[Answer]) -> str:
    names = sorted({side.name for answer in answers for side in answer.missing})
    return f"\nNot installed: {', '.join(names)}. For these: {INSTALL}\n" if names else ""


def _as_json(answers: Sequence[Answer], rows: Sequence[Row]) -> str:
    return json.dumps(
        {
            "machine": machine(),
            "rows": [attrs.asdict(row) for row in rows],
            "rounds": [
                {
                    "question": answer.question.name,
                    "items": answer.items,
                    "sides": answer.rounds,
                    "missing": [side.name for side in answer.missing],
                }
                for answer in answers
            ],
        },
        indent=2,
    )


if __name__ == "__main__":
    sys.exit(main())
