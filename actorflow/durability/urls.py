"""From a URL to a store.

sqlite:///run.db           a file below the working directory
sqlite:////srv/run.db      a file by its whole path
sqlite:///run.db?synchronous=NORMAL
memory:                    nowhere: for tests and trying out
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from actorflow.durability.memory import MemoryStore
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Store
from actorflow.errors import ConfigurationError

__all__ = ["as_store", "store_from_url"]

ACCEPTED = "'sqlite:///run.db', 'sqlite:////whole/path/run.db' or 'memory:'"

#: What every store can do, and little else.
_VERBS = ("open", "acquire", "load", "commit", "release")

_SQLITE = "sqlite:///"
_LATER = ("mariadb", "mysql", "postgres", "postgresql", "redis", "rediss", "valkey")


def as_store(option: str, given: Any) -> Store:
    """*given*, or the store that it names.

    Raises:
        ConfigurationError: It is neither a store nor a URL of one.
    """
    if isinstance(given, str):
        return store_from_url(given)
    if isinstance(given, type) or not all(callable(getattr(given, each, None)) for each in _VERBS):
        raise ConfigurationError(option, given, f"{ACCEPTED}, or a store")
    store: Store = given
    return store


def store_from_url(url: str) -> Store:
    """The store that *url* names; nothing is opened.

    Raises:
        ConfigurationError: No store of this release is named so. The error does not repeat
            what may hold a password.
    """
    if not isinstance(url, str):
        raise ConfigurationError("store", url, ACCEPTED)
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme in _LATER:
        raise ConfigurationError(
            "store", f"{scheme}:...", f"{ACCEPTED}; {scheme} is not in this release"
        )
    if url == "memory:":
        return MemoryStore(url)
    if not url.startswith(_SQLITE):
        raise ConfigurationError("store", f"{scheme}:..." if "@" in url else url, ACCEPTED)
    path, _, query = url.removeprefix(_SQLITE).partition("?")
    if not path or path.endswith("/"):
        raise ConfigurationError("store", url, f"{ACCEPTED}, with the name of a file")
    if path == ":memory:":
        raise ConfigurationError("store", url, f"{ACCEPTED}; in memory is 'memory:'")
    return _sqlite(url, path, query)


def _sqlite(url: str, path: str, query: str) -> SqliteStore:
    given = parse_qsl(query, keep_blank_values=True)
    if not query:
        return SqliteStore(path)
    match given:
        case [("synchronous", "FULL")]:
            return SqliteStore(path, synchronous="FULL")
        case [("synchronous", "NORMAL")]:
            return SqliteStore(path, synchronous="NORMAL")
    raise ConfigurationError(
        "store", url, "after '?' nothing but synchronous=FULL or synchronous=NORMAL"
    )
