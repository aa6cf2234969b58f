"""Flows to run, and child processes that never outlive their test."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from click.testing import CliRunner, Result

import actorflow
from actorflow.cli import main

#: Seconds after which a child is killed; a test that needs them has failed.
PATIENCE = 30.0

#: Where the package under test is, for children that stand elsewhere.
PACKAGE = str(Path(actorflow.__file__).parents[1])

_numbers = itertools.count()


def write_module(folder: Path, text: str, name: str | None = None) -> str:
    """A module of *text* in *folder*; answers its name, which no other test has."""
    name = name or f"cli_flows_{os.getpid()}_{next(_numbers)}"
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return name


def invoke(*args: str, given: str = "") -> Result:
    """Run the command in this process, with *given* as its standard input."""
    return CliRunner().invoke(main, args, input=given, catch_exceptions=False)


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


class Child:
    """A running command; every wait for it has an end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen = self.rest = ""

    def _stream(self, stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream

    def feed(self, text: str) -> None:
        """Write to its standard input, which stays open."""
        stdin = self._stream(self.process.stdin)
        stdin.write(text.encode())
        stdin.flush()

    def out(self) -> str:
        """The next line of its standard output."""
        return self._stream(self.process.stdout).readline().decode()

    def wait_for(self, text: str) -> None:
        """Read its standard error until *text* has come."""
        while text not in self.seen:
            line = self._stream(self.process.stderr).readline().decode()
            assert line, f"the child ended and said {self.seen!r}"
            self.seen += line

    def hang_up(self, name: str) -> None:
        """Close our end of its ``stdin`` or ``stdout``."""
        self._stream(getattr(self.process, name)).close()
        setattr(self.process, name, None)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end, its input still open unless we hung up.

        Then `seen` is all of its standard error, and `rest` what else it put out.
        """
        self.seen += self._stream(self.process.stderr).read().decode()
        if self.process.stdout is not None:
            self.rest = self.process.stdout.read().decode()
        return self.process.wait()


@contextmanager
def child(folder: Path, *args: str, script: Path | None = None) -> Iterator[Child]:
    """`actorflow *args` in *folder*, killed when the block or the patience ends."""
    command = ["-m", "actorflow"] if script is None else [str(script)]
    process = subprocess.Popen(
        [sys.executable, *command, *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        yield Child(process)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
