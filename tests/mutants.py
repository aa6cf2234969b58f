"""Deliberate bugs, each of which the suite must find.

    python -m tests.mutants --list          the bugs
    python -m tests.mutants NAME ...        apply each to a copy, run its tests, say what came out
    python -m tests.mutants                 all of them

A mutant is one change of one place in the source. It is made in a copy of the checkout,
so the source stays as it is; it is *killed* if the tests named beside it fail, and
*survived* if they pass. Exit code 1 if any survived.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]

#: Seconds for the tests of one mutant; one that hangs is killed, which is a way to fail.
TIME_LIMIT = 180


@attrs.frozen
class Mutant:
    """One deliberate bug.

    Attributes:
        name: What the bug is.
        path: File below the package.
        old: The text that is there, exactly once.
        new: What the mutant has instead.
        tests: What to run.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


RUNTIME = ("tests/runtime", "tests/actors")
FLOWS = ("tests/flows",)

MUTANTS: tuple[Mutant, ...] = ()


def run_mutant(mutant: Mutant) -> bool:
    """Apply *mutant* to a copy and run its tests; whether they noticed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("actorflow", "tests", "benchmarks", "docs", "examples"):
            if (ROOT / part).is_dir():
                shutil.copytree(
                    ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__")
                )
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, copy / part)
        file = copy / "actorflow" / mutant.path
        source = file.read_text(encoding="utf-8")
        if source.count(mutant.old) != 1:
            raise SystemExit(
                f"mutant {mutant.name}: {mutant.path} must hold its text exactly once, "
                f"found {source.count(mutant.old)} times; bring tests/mutants.py up to date"
            )
        file.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *mutant.tests],
                cwd=copy,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
    return done.returncode == 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names and places")
    given = parser.parse_args(arguments)
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no mutant is named {unknown[0]!r}; see --list")
    if given.list:
        for mutant in MUTANTS:
            print(f"{mutant.name:34} {mutant.path}")
        return 0
    survivors = 0
    for name in given.names or known:
        killed = run_mutant(known[name])
        survivors += not killed
        print(f"{name:34} {'killed' if killed else 'survived'}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
