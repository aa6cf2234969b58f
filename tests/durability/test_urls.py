"""A URL names a store, or an error says which URLs would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from actorflow import ActorSystem, Pipeline
from actorflow.durability.memory import MemoryStore
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.urls import as_store, store_from_url
from actorflow.errors import ConfigurationError


async def echo(value: Any) -> Any:
    return value


ACCEPTED = "'sqlite:///run.db', 'sqlite:////whole/path/run.db' or 'memory:'"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///run.db", os.path.abspath("run.db")),
        ("sqlite:///below/run.db", os.path.abspath("below/run.db")),
        ("sqlite:////srv/run.db", "/srv/run.db"),
        ("sqlite:///a%20b.db", os.path.abspath("a%20b.db")),
    ],
)
def test_a_file_is_named_by_three_slashes_and_its_path(url: str, path: str) -> None:
    store = store_from_url(url)

    assert isinstance(store, SqliteStore)
    assert (store.url, store._path, store._synchronous) == (url, path, "FULL")


@pytest.mark.parametrize("level", ["FULL", "NORMAL"])
def test_the_level_of_syncing_goes_after_a_question_mark(level: str) -> None:
    store = store_from_url(f"sqlite:///run.db?synchronous={level}")

    assert isinstance(store, SqliteStore)
    assert (store._path, store._synchronous) == (os.path.abspath("run.db"), level)


def test_memory_is_a_store_of_its_own_each_time() -> None:
    first, second = store_from_url("memory:"), store_from_url("memory:")

    assert isinstance(first, MemoryStore)
    assert isinstance(second, MemoryStore)
    assert first.url == "memory:"
    assert first._disk is not second._disk


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("run.db", f"store must be {ACCEPTED}, got 'run.db'"),
        ("sqlite:run.db", f"store must be {ACCEPTED}, got 'sqlite:run.db'"),
        ("sqlite://run.db", f"store must be {ACCEPTED}, got 'sqlite://run.db'"),
        ("sqlite:///", f"store must be {ACCEPTED}, with the name of a file, got 'sqlite:///'"),
        (
            "sqlite:///folder/",
            f"store must be {ACCEPTED}, with the name of a file, got 'sqlite:///folder/'",
        ),
        (
            "sqlite:///:memory:",
            f"store must be {ACCEPTED}; in memory is 'memory:', got 'sqlite:///:memory:'",
        ),
        ("memory://", f"store must be {ACCEPTED}, got 'memory://'"),
        ("", f"store must be {ACCEPTED}, got ''"),
        ("mongodb://me:secret@db/x", f"store must be {ACCEPTED}, got 'mongodb:...'"),
        (
            "sqlite:///run.db?mode=ro",
            "store must be after '?' nothing but synchronous=FULL or synchronous=NORMAL, "
            "got 'sqlite:///run.db?mode=ro'",
        ),
    ],
)
def test_any_other_url_is_answered_by_those_that_are_accepted(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store_from_url(url)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@db/x",
        "postgresql+psycopg://me:secret@db/x",
        "mysql://me:secret@db/x",
        "mariadb://me:secret@db/x",
        "redis://:secret@db/0",
    ],
)
def test_a_server_is_not_in_this_release_and_its_password_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not in this release") as caught:
        store_from_url(url)

    assert "secret" not in str(caught.value)


def test_something_else_than_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="got None"):
        store_from_url(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [5, True, object(), ["sqlite:///x.db"], Path("x.db"), MemoryStore]
)
async def test_what_is_neither_a_url_nor_a_store_is_refused_by_the_name_of_the_option(
    given: Any,
) -> None:
    flow = Pipeline([echo])

    wanted = f"must be {ACCEPTED}, or a store, got {given!r}"
    with pytest.raises(ConfigurationError) as run:
        await flow.run([1], store=given)
    with pytest.raises(ConfigurationError) as runs:
        flow.runs(given)
    with pytest.raises(ConfigurationError) as system:
        async with ActorSystem("s", store=given):
            pass

    assert str(run.value) == f"run option store {wanted}"
    assert str(runs.value) == f"runs() store {wanted}"
    assert str(system.value) == f"ActorSystem.store {wanted}"


def test_a_store_is_taken_as_it_is() -> None:
    store = MemoryStore("memory:")

    assert as_store("store", store) is store
