"""One deliberate bug, and whether the tests named beside it notice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

__all__ = ["ROOT", "Mutant", "run_mutant"]

ROOT = Path(__file__).parents[2]

#: Seconds for the tests of one mutant; one that hangs is killed, which is a way to fail.
TIME_LIMIT = 90


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
                f"found {source.count(mutant.old)} times; bring tests/mutants up to date"
            )
        file.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        process = subprocess.Popen(
            [*command, *mutant.tests],
            cwd=copy,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(TIME_LIMIT) == 1
        except subprocess.TimeoutExpired:
            return True
        finally:  # With all that a test may have started and left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
