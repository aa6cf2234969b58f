"""``actorflow demo --kill``: SIGKILL to the process that runs the demo, again and again.

    this process                          its child: actorflow demo --life
    draw how far this life may get  ◄───  how many lines it has made; may it write them?
    kill -9                         ───►  gone, in the middle of whatever it was doing
    the same command again          ───►  goes on from its store

At the end every file that was given must be found once: in a line of the output, or in a
dead letter. What says so is the file and the store, not the process that wrote them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from rich.console import Console
from rich.text import Text

from actorflow.cli.front import Code, Trouble
from actorflow.cli.stores import stored_letters
from actorflow.core.letters import DeadLetter

__all__ = ["Proof", "kill_and_resume", "proof_form", "prove", "show_proof"]

#: Kills of one demo, if there are files enough. A file that was inside is done by then.
KILLS, MANY_FILES = 5, 400

#: Kills otherwise: a file that is inside at each of them is not yet taken for the cause.
FEW_KILLS = 3

#: Least files for each life: a life that has done nothing proves nothing.
FILES_PER_LIFE = 5

#: Most seconds between the line that decides it and the kill, so that its workers and its
#: checkpoints may be anywhere.
DELAY = 0.2


@attrs.frozen(kw_only=True)
class Proof:
    """What the output and the store say of the files that were given.

    Attributes:
        files: How many were given.
        lines: Lines of output.
        letters: The dead letters.
        lost: Files that are in neither, or were given up for the kills.
        doubled: Files that are there more than once.
        strange: What is there and was not given.
    """

    files: int
    lines: int
    letters: tuple[DeadLetter, ...]
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    strange: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing was lost or doubled."""
        return not (self.lost or self.doubled or self.strange)


def kill_and_resume(args: Sequence[str], files: int, console: Console, folder: str) -> int:
    """Run the demo in lives that end by SIGKILL, and a last one that does not; answers the kills.

    Args:
        args: The command line of one life, behind ``actorflow``.
        files: How many files there are.
        console: Where each kill is told.
        folder: For what the lives say of themselves.

    Raises:
        Trouble: A life ended otherwise.
    """
    most = KILLS if files >= MANY_FILES else FEW_KILLS
    lives = max(1, min(most, files // FILES_PER_LIFE - 1))
    kills = 0
    for goal in [*_goals(lives, files), None]:
        life = _live(args, goal, os.path.join(folder, "stderr"))
        if life.code == Code.DONE:  # Perhaps before the goal was reached.
            break
        if life.code != -signal.SIGKILL:
            text = f"process {life.pid} ended with exit code {life.code}: {life.last_words}"
            raise Trouble(text, Code.FAILED)
        kills += 1
        text = f"kill {kills}: SIGKILL to process {life.pid} after {life.seconds:.1f} s"
        console.print(Text(f"{text} and {life.files:,} files more"), soft_wrap=True)
    return kills


@attrs.frozen(kw_only=True)
class _Life:
    """One process that worked at the demo."""

    pid: int
    code: int
    seconds: float
    files: int
    last_words: str


def _live(args: Sequence[str], goal: int | None, words: str) -> _Life:
    """Start a process, kill it once it has *goal* files done, and wait for its end."""
    began = time.monotonic()
    # Its worker processes find out by a broken pipe, and would say so on our terminal.
    with open(words, "w+", encoding="utf-8", errors="replace") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "actorflow", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        ended = False
        try:
            written = _watch(process, goal)
            if goal is not None and written >= goal:
                time.sleep(random.uniform(0, DELAY))
            else:
                ended = process.wait() is not None
        finally:
            if not ended:
                process.kill()
            code = process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        stderr.seek(0)
        return _Life(
            pid=process.pid,
            code=code,
            seconds=time.monotonic() - began,
            files=written,
            last_words=(stderr.read().strip().splitlines() or ["nothing said"])[-1],
        )


def _goals(lives: int, files: int) -> Iterator[int]:
    """How many files each life may get done before it is killed."""
    share = max(1, files // (lives + 1))
    for _ in range(lives):
        yield random.randint(max(1, share // 2), share)


def _watch(process: subprocess.Popen[bytes], goal: int | None) -> int:
    """Read how many lines it has and let it write them, up to *goal* or to its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    written = 0
    for line in process.stdout:
        written = int(line)
        if goal is not None and written >= goal:
            break
        with contextlib.suppress(BrokenPipeError):  # It ends in this very moment.
            process.stdin.write(b"on\n")
            process.stdin.flush()
    return written


def prove(paths: Sequence[str], output: str, url: str, run: str) -> Proof:
    """Look for every one of *paths* in the output and among the dead letters."""
    with open(output, encoding="utf-8") as file:
        lines = [json.loads(line)["path"] for line in file]
    letters = tuple(stored_letters(url, run))
    found = Counter(lines)
    found.update(letter.body["path"] for letter in letters)
    innocent = {letter.body["path"] for letter in letters if letter.reason == "poison"}
    given = set(paths)
    return Proof(
        files=len(paths),
        lines=len(lines),
        letters=letters,
        lost=tuple(path for path in paths if path not in found or path in innocent),
        doubled=tuple(sorted(path for path, count in found.items() if count > 1)),
        strange=tuple(sorted(found.keys() - given)),
    )


def show_proof(console: Console, proof: Proof, kills: int, output: str) -> None:
    """Print it."""
    reasons = Counter(letter.reason for letter in proof.letters)
    causes = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    rows = {
        "kills": f"{kills:,}",
        "files": f"{proof.files:,}",
        "output": f"{proof.lines:,} lines in {output}",
        "dead letters": f"{len(proof.letters):,}{f' ({causes})' if causes else ''}",
        "lost": _named(proof.lost),
        "doubled": _named(proof.doubled),
    }
    if proof.strange:
        rows["strange"] = _named(proof.strange)
    for name, value in rows.items():
        console.print(Text.assemble((f"{name:<14}", "cyan"), value), soft_wrap=True)


def proof_form(proof: Proof, kills: int, output: str) -> dict[str, Any]:
    """The same as JSON has it."""
    return {
        "kills": kills,
        "files": proof.files,
        "lines": proof.lines,
        "output": output,
        "dead": dict(Counter(letter.reason for letter in proof.letters)),
        "lost": list(proof.lost),
        "doubled": list(proof.doubled),
        "strange": list(proof.strange),
    }


def _named(paths: Sequence[str]) -> str:
    return f"{len(paths):,}" + (f": {', '.join(paths[:5])}" if paths else "")
