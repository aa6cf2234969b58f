"""What every command shares: exit codes, and how trouble is told in one line.

    Trouble, a usage error ──► "actorflow: ..." on stderr ──► the exit code
    Ctrl-C, a closed pipe ───► nothing ────────────────────► the exit code

A traceback is for whoever asks: ``--debug`` or ``ACTORFLOW_DEBUG=1``.
"""

from __future__ import annotations

import enum
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import IO, Any, TypeVar

import click

__all__ = [
    "STANDARD",
    "Code",
    "Front",
    "Trouble",
    "debug_option",
    "in_words",
    "is_terminal",
    "one_line",
    "quiet_pipe",
]

C = TypeVar("C", bound=Callable[..., Any])

#: The file name that means standard input or standard output.
STANDARD = "-"

#: Most characters of an error that a line shows.
ERROR_WIDTH = 500

_DEBUG = "actorflow.debug"


class Code(enum.IntEnum):
    """Exit codes; other people's scripts go by them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DEAD_LETTERS = 3
    PARKED = 75
    INTERRUPTED = 130


class Trouble(click.ClickException):
    """Why a command ends here, in one line.

    Args:
        message: The line, without the name of the program.
        code: What the program exits with.
        cause: The error behind it; ``--debug`` shows its traceback.
        more: Lines that belong below it.
    """

    def __init__(
        self,
        message: str,
        code: Code,
        cause: BaseException | None = None,
        *,
        more: Sequence[str] = (),
    ) -> None:
        super().__init__(one_line(message))
        self.more = tuple(map(one_line, more))
        self.code = code
        self.cause = cause
        context = click.get_current_context(silent=True)
        self.debug = context is not None and context.meta.get(_DEBUG, False)

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line, and the traceback if that is wanted."""
        if self.debug and self.cause is not None:
            click.echo(
                "".join(traceback.format_exception(self.cause)), file=file, err=True, nl=False
            )
        click.echo(f"actorflow: {self.message}", file=file, err=True)
        for line in self.more:
            click.echo(f"  {line}", file=file, err=True)


class Front(click.Group):
    """The program: every way out of a command ends here with its exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that *args* name and exit with what it returns."""
        try:
            code = super().main(
                args, prog_name or "actorflow", complete_var, standalone_mode=False, **extra
            )
        except click.UsageError as error:
            _show_usage(error)
            code = Code.USAGE
        except Trouble as error:
            error.show()
            code = error.code
        except (click.Abort, KeyboardInterrupt):
            code = Code.INTERRUPTED
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else Code.DONE)


def debug_option(command: C) -> C:
    """Give *command* the option ``--debug``, which may stand before or behind its name."""

    def note(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.meta[_DEBUG] = True

    option = click.option(
        "--debug",
        is_flag=True,
        envvar="ACTORFLOW_DEBUG",
        is_eager=True,
        expose_value=False,
        callback=note,
        help="Show the traceback of an error (as does ACTORFLOW_DEBUG=1).",
    )
    return option(command)


def one_line(text: str) -> str:
    """*text* on one line, with nothing in it that a terminal would obey."""
    line = " ".join(text.split())
    cut = line if len(line) <= ERROR_WIDTH else line[: ERROR_WIDTH - 3] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


def in_words(error: BaseException) -> str:
    """Type and text of *error* on one line."""
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def is_terminal(descriptor: int) -> bool:
    """Whether standard output (1) or standard error (2) is one."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def quiet_pipe() -> None:
    """Whoever read standard output has gone: let nothing that is left complain about it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _show_usage(error: click.UsageError) -> None:
    path = "actorflow" if error.ctx is None else error.ctx.command_path
    text = one_line(error.format_message()).removesuffix(".").replace(". (", " (")
    click.echo(f"{path}: {text[:1].lower()}{text[1:]}; see {path} --help", err=True)
