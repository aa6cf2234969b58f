"""Deliberate bugs, each of which the suite must find.

    python -m tests.mutants --list          the bugs
    python -m tests.mutants NAME ...        apply each to a copy, run its tests, say what came out
    python -m tests.mutants                 all of them
    python -m tests.mutants --markdown      all of them, as the table of docs/reliability.md

A mutant is one change of one place in the source. It is made in a copy of the checkout,
so the source stays as it is, and several of these commands may run at once; it is *killed*
if the tests named beside it fail, and *survived* if they pass. Exit code 1 if any survived.

    running      the runtime, policies, flows
    committing   what is told to whom, and when the disk has it
    storing      owners, files, chains of cuts
    restoring    what the next life finds
    suspecting   the careful mode
    forking      checkpoints that are kept, and runs that begin with them
    surrounding  what stands around handlers
    stories      what drawn stories of actors have found
    ghosts       what made the laboratory blind, or hear what is not there
    looked       what no test had seen when it was planted by hand
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tests.mutants import (
    committing,
    forking,
    ghosts,
    looked,
    restoring,
    running,
    stories,
    storing,
    surrounding,
    suspecting,
)
from tests.mutants.mutant import ROOT, Mutant, run_mutant

__all__ = ["MUTANTS", "ROOT", "Mutant", "main", "row", "run_mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *running.MUTANTS,
    *committing.MUTANTS,
    *storing.MUTANTS,
    *restoring.MUTANTS,
    *suspecting.MUTANTS,
    *forking.MUTANTS,
    *surrounding.MUTANTS,
    *stories.MUTANTS,
    *ghosts.MUTANTS,
    *looked.MUTANTS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names and places")
    parser.add_argument("--markdown", action="store_true", help="print a table of a page")
    given = parser.parse_args(arguments)
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no mutant is named {unknown[0]!r}; see --list")
    if given.list:
        for mutant in MUTANTS:
            print(f"{mutant.name:34} {mutant.path}")
        return 0
    if given.markdown:
        print("| bug | in | found by | |\n| --- | --- | --- | --- |")
    survivors = 0
    for name in given.names or known:
        mutant = known[name]
        killed = run_mutant(mutant)
        survivors += not killed
        verdict = "killed" if killed else "survived"
        if given.markdown:
            print(row(mutant, verdict), flush=True)
        else:
            print(f"{name:34} {verdict}", flush=True)
    return 1 if survivors else 0


def row(mutant: Mutant, verdict: str) -> str:
    """What the table of the page on reliability says of *mutant*."""
    words = mutant.name.replace("_", " ")
    tests = " ".join(f"`{each.removeprefix('tests/')}`" for each in mutant.tests)
    return f"| {words} | `{mutant.path}` | {tests} | {verdict} |"
