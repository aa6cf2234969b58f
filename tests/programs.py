"""The programs of the documentation: find them on their page, run them, compare what they print.

A whole program is a block of Python that begins with an import. A block of text right behind it
is what it prints. What is to be replaced begins with a comment, so that nobody runs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs

__all__ = ["DOCS", "Program", "names_in_tables", "printed", "programs"]

DOCS = Path(__file__).parent.parent / "docs"

#: Seconds that one program may take, on a slow machine.
TIME_LIMIT = 60

_BLOCKS = re.compile(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)


@attrs.frozen
class Program:
    """A program of a page, and what the page says it prints."""

    code: str
    prints: str


def programs(page: str) -> list[Program]:
    """Whole programs of *page*: those that import what they use."""
    found = _BLOCKS.findall((DOCS / page).read_text(encoding="utf-8"))
    return [Program(code, text) for code, text in found if code.startswith(("import", "from"))]


def names_in_tables(page: str) -> set[str]:
    """What stands as code in the first column of the tables of *page*."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    first = [line.split("|")[1] for line in lines if line.startswith("| ")]
    return {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}


def printed(program: Program, folder: Path) -> str:
    """Run *program* in *folder*: what it prints. One that fails fails the test."""
    done = subprocess.run(
        [sys.executable, "-c", program.code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
