"""What the commands that look into a store share: options, opening, words for its errors, tables.

    --store URL ──► opened(url) ──► a `Store`, for reading: no run is taken hold of
                        └── what it raises ──► Trouble: one line and an exit code

A store that is not there is never made by looking for it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from actorflow.cli.front import Code, Trouble, in_words, one_line

if TYPE_CHECKING:
    from actorflow.core.letters import DeadLetter
    from actorflow.durability.store import DeadQuery, DeadRow, RunRow, Store

__all__ = [
    "age",
    "file_of",
    "import_option",
    "json_option",
    "matching",
    "moment",
    "opened",
    "require_folder",
    "run_row",
    "run_rows",
    "say_json",
    "size",
    "store_option",
    "store_url",
    "stored_letters",
    "table",
    "trouble",
    "wants_json",
]

C = TypeVar("C", bound=Callable[..., Any])

_STORE, _JSON = "actorflow.store", "actorflow.json"

_SQLITE = "sqlite:///"

#: Rows that are read from a store at a time.
PAGE = 1000


# Options --------------------------------------------------------------------------------


def store_option(command: C) -> C:
    """Give *command* the option ``--store``, which may stand before or behind a subcommand."""

    def note(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[_STORE] = value

    return click.option(
        "--store",
        metavar="URL",
        expose_value=False,
        callback=note,
        help="The store, such as sqlite:///run.db.",
    )(command)


def json_option(command: C) -> C:
    """Give *command* the option ``--json``, which may stand before or behind a subcommand."""

    def note(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.meta[_JSON] = True

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=note,
        help="Answer as one JSON document on standard output.",
    )(command)


def import_option(command: C) -> C:
    """Give *command* the option ``--import``: modules that register what bodies are made of."""

    def load(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> None:
        if names:
            from actorflow.cli.load import import_module

            for name in names:
                import_module(name)

    return click.option(
        "--import",
        metavar="MODULE",
        multiple=True,
        expose_value=False,
        callback=load,
        help="Import this module first, so that its messages can be read.",
    )(command)


def store_url() -> str:
    """What ``--store`` said."""
    context = click.get_current_context()
    url: str | None = context.meta.get(_STORE)
    if url is None:
        raise click.UsageError("missing option '--store'", context)
    return url


def wants_json() -> bool:
    """Whether ``--json`` was given."""
    return bool(click.get_current_context().meta.get(_JSON, False))


# Opening --------------------------------------------------------------------------------


def file_of(url: str) -> str | None:
    """The file that *url* means, if it means one."""
    if not url.startswith(_SQLITE):
        return None
    return url.removeprefix(_SQLITE).partition("?")[0]


def require_folder(url: str) -> None:
    """Raise if the file of the store could not be made for want of its folder.

    Raises:
        Trouble: There is no such folder.
    """
    path = file_of(url)
    folder = None if path is None else os.path.dirname(os.path.abspath(path))
    if folder is not None and not os.path.isdir(folder):
        raise Trouble(f"store {url}: there is no folder {folder}; make it first", Code.USAGE)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Store]:
    """The store of that name, which must be there; what it raises is `Trouble`."""
    from actorflow.durability.store import Session
    from actorflow.durability.urls import store_from_url
    from actorflow.errors import ActorFlowError

    try:
        store = store_from_url(url)
        path = file_of(url)
        if path is None:
            text = f"store {url}: keeps nothing that another process could look at"
            raise Trouble(text, Code.USAGE)
        if not os.path.exists(path):
            raise Trouble(f"store {url}: there is no file {path}", Code.USAGE)
        store.open(Session(secrets.token_bytes(16), socket.gethostname(), os.getpid()))
        try:
            yield store
        finally:
            store.close()
    except ActorFlowError as error:
        raise trouble(error) from error


def run_rows(store: Store, run: str | None = None) -> list[RunRow]:
    """Every run, or the one that is meant.

    Raises:
        RunNotFoundError: There is none of that name.
    """
    from actorflow.errors import RunNotFoundError

    rows = [row for row in store.runs() if run is None or row.run == run]
    if run is not None and not rows:
        raise RunNotFoundError(run)
    return rows


def run_row(store: Store, run: str) -> RunRow:
    """The run of that name.

    Raises:
        RunNotFoundError: There is none.
    """
    return run_rows(store, run)[0]


def matching(store: Store, query: DeadQuery) -> Iterator[tuple[str, DeadRow]]:
    """The dead letters that are meant, by run.

    Raises:
        RunNotFoundError: The run that is meant does not exist.
    """
    for row in sorted(run_rows(store, query.run), key=lambda row: row.run):
        after = 0
        wanted = attrs.evolve(query, run=row.run)
        while row.dead and (page := store.dead(wanted, after, PAGE)):
            yield from page
            after = page[-1][1].seq


def stored_letters(url: str, run: str) -> list[DeadLetter]:
    """The dead letters of *run*."""
    from actorflow.durability.letters import read_letter
    from actorflow.durability.store import DeadQuery

    if file_of(url) is None:
        return []
    with opened(url) as store:
        rows = [row for _, row in matching(store, DeadQuery(run=run))]
    return [read_letter(row) for row in rows]


# Errors ---------------------------------------------------------------------------------


def trouble(error: Exception) -> Trouble:
    """The line for an error of a store or of going on with a run, and its exit code."""
    from actorflow.errors import ConfigurationError, RunNotFoundError, VersionMismatch

    usage = isinstance(error, (ConfigurationError, RunNotFoundError))
    code = Code.USAGE if usage else Code.FAILED
    if isinstance(error, VersionMismatch):
        text = (
            f"VersionMismatch: run {error.run!r} was begun by version {error.stored} of the flow, "
            f"this is {error.found}; finish it with the old code, give another --run-id, or say "
            "--migrate OLD=NEW"
        )
        return Trouble(text, code, error, more=error.changes)
    if isinstance(error, ConfigurationError):
        return Trouble(str(error), code, error)
    words = in_words(error).replace("another run_id", "another --run-id")
    return Trouble(words.replace("resume='auto'", "--resume auto"), code, error)


# Words and tables -----------------------------------------------------------------------


def say_json(answer: object, *, to_stderr: bool = False) -> None:
    """Write *answer* to standard output, or to standard error if values go there."""
    click.echo(json.dumps(answer, ensure_ascii=False), err=to_stderr)


def table(rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> list[str]:
    """Lines of a table whose first row is its head; columns in *numbers* are set to the right."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    lines = []
    for row in clean:
        cells = zip(row, widths, range(len(widths)), strict=True)
        line = [c.rjust(width) if at in numbers else c.ljust(width) for c, width, at in cells]
        lines.append("  ".join(line).rstrip())
    return lines


def moment(seconds: float) -> str:
    """A wall time, in the time zone of who reads it."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """How long ago a wall time is, in words that fit a column."""
    passed = max(0.0, time.time() - seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed >= length:
            return f"{passed // length:.0f} {unit} ago"
    return f"{passed:.0f} s ago"


def size(count: int) -> str:
    """Bytes, as people say it."""
    if count < 1000:
        return f"{count} B"
    amount = count / 1000
    for unit in ("kB", "MB"):
        if amount < 1000:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
