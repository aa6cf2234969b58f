"""Cache: what it may be declared with, which entries it keeps, and the gate beside it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import ConfigurationError
from actorflow.policies import Bulkhead, Cache, Chain, CircuitBreaker, RateLimit, Retry, Wait
from actorflow.policies.cache import Entries, GateBesideCache, cache_key
from actorflow.policies.decision import ADMIT


class Store:
    """As much of a store as a declaration looks at."""

    def get(self, key: str) -> None: ...

    def set(self, key: str, data: bytes, ttl: float) -> None: ...

    def delete(self, key: str) -> None: ...


class Half:
    """No store: it forgets nothing."""

    def get(self, key: str) -> None: ...

    def set(self, key: str, data: bytes) -> None: ...


# The declaration ------------------------------------------------------------------------


def test_caches_declared_alike_are_equal_and_hash_alike() -> None:
    store = Store()

    assert Cache(5, store=store) == Cache(5, store=store)
    assert hash(Cache(5, store=store)) == hash(Cache(5, store=store))
    assert Cache(5, store=store) != Cache(5, store=Store())
    assert Cache(5) != Cache(6)


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda: Cache(0), "Cache.ttl must be a number of seconds, above 0, got 0"),
        (lambda: Cache(5, max_entries=0), "Cache.max_entries must be a whole number, 1 or more"),
        (lambda: Cache(5, key="id"), "Cache.key must be a function of the message body, or None"),  # type: ignore[arg-type]
        (lambda: Cache(5, store={}), "Cache.store must be an object with get, set, delete, got {}"),
        (lambda: Cache(5, store=Half()), "Cache.store must be an object with get, set, delete"),
        (lambda: Cache(5, store=Store), "Cache.store must be an object with get, set, delete"),
        (lambda: Cache(5, shared="x"), "Cache.shared must be left out: its key says whose it is"),
        (lambda: Cache(5, per_worker=True), "Cache.per_worker must be left out: its key says"),
    ],
)
def test_what_cannot_be_is_said_when_it_is_declared(declare: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declare()

    assert str(caught.value).startswith(text)


def test_a_list_has_one_cache_and_it_guards_no_lease() -> None:
    chain = Chain([Cache(5), Retry()], where="stage 'a'")

    assert chain.cache == Cache(5)
    assert chain.gate is None
    assert Chain([], where="stage 'a'", defaults=[Cache(7)]).cache == Cache(7)
    with pytest.raises(ConfigurationError, match=r"stage 'a' policies must be a list with one Cac"):
        Chain([Cache(5), Cache(6)], where="stage 'a'")


def test_a_cache_can_be_changed_live() -> None:
    chain = Chain([Cache(5)], where="stage 'a'")

    chain.change(Cache(9), now=0.0)

    assert chain.cache == Cache(9)


def test_a_key_says_which_function_which_version_and_which_value() -> None:
    keys = {
        cache_key("m", "f", 1, b"x"),
        cache_key("m", "g", 1, b"x"),
        cache_key("n", "f", 1, b"x"),
        cache_key("m", "f", 2, b"x"),
        cache_key("m", "f", 1, b"y"),
    }

    assert len(keys) == 5
    assert cache_key("m", "f", 1, b"x") in keys


# Entries --------------------------------------------------------------------------------


def test_an_entry_is_good_until_its_time_is_over() -> None:
    entries: Entries[str | None] = Entries()
    entries.set("a", "A", now=10.0, most=9)

    assert entries.get("a", 14.9, 5.0, None) == "A"
    assert entries.get("a", 15.0, 5.0, None) is None
    assert len(entries) == 0


def test_the_entry_that_was_not_asked_for_longest_is_forgotten() -> None:
    entries: Entries[str | None] = Entries()
    for name in "abc":
        entries.set(name, name, now=0.0, most=3)
    entries.get("a", 0.0, 5.0, None)
    entries.set("d", "d", now=0.0, most=3)

    assert [entries.get(name, 0.0, 5.0, None) for name in "abcd"] == ["a", None, "c", "d"]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.floats(0, 3)), max_size=60),
)
def test_entries_do_what_an_ordered_dict_does(most: int, actions: list[Any]) -> None:
    entries: Entries[int | None] = Entries()
    model: OrderedDict[str, tuple[float, int]] = OrderedDict()
    now, ttl = 0.0, 5.0

    for number, (sets, name, later) in enumerate(actions):
        now += later
        key = str(name)
        if sets:
            entries.set(key, number, now, most)
            model[key] = (now, number)
            model.move_to_end(key)
            while len(model) > most:
                model.popitem(last=False)
        else:
            since, value = model.get(key, (-100.0, None))
            if now - since >= ttl:
                model.pop(key, None)
                value = None
            else:
                model.move_to_end(key)
            assert entries.get(key, now, ttl, None) == value
        assert len(entries) == len(model) <= most


# The gate -------------------------------------------------------------------------------


def wait(answer: object) -> float | None:
    assert isinstance(answer, Wait)
    return answer.seconds


def gate_of(*policies: object) -> Any:
    gate = Chain(list(policies), where="stage 'a'").gate
    assert gate is not None
    return gate


def test_what_is_known_passes_and_takes_nothing() -> None:
    known: set[object] = set()
    inner = gate_of(RateLimit(1), Bulkhead(1))
    gate = GateBesideCache(inner, known.__contains__)

    token = gate.take(0.0, "a")
    assert gate.ready(0.0, "a") == Wait(None)
    known.add("a")
    assert gate.ready(0.0, "a") == ADMIT
    free = gate.take(0.0, "a")
    gate.record(0.0, free, True)
    assert gate.ready(0.0, "b") == Wait(None)
    gate.record(0.0, token, True)

    assert wait(gate.ready(0.5, "b")) == pytest.approx(0.5)
    assert gate.ready(1.0, "b") == ADMIT


def test_what_turns_out_to_be_a_hit_gives_back_what_it_took() -> None:
    gate = GateBesideCache(gate_of(RateLimit(1), Bulkhead(1)), lambda body: False)

    token = gate.take(0.0, "a")
    assert gate.ready(0.0, "b") == Wait(None)
    free = gate.give_back(0.0, token, "a")

    assert gate.ready(0.0, "b") == ADMIT
    assert gate.give_back(0.0, free, "a") is free
    gate.record(0.0, free, True)
    assert gate.ready(0.0, "b") == ADMIT


def test_a_probe_that_turns_out_to_be_a_hit_says_nothing_about_the_service() -> None:
    gate = GateBesideCache(gate_of(CircuitBreaker(1, 10.0)), lambda body: False)
    gate.record(0.0, gate.take(0.0, "a"), False)

    gate.give_back(10.0, gate.take(10.0, "a"), "a")

    assert gate.ready(10.0, "b") == ADMIT
    gate.take(10.0, "b")
    assert isinstance(gate.ready(10.0, "c"), Wait)  # One probe: it is not closed.


def test_each_key_of_a_rate_gets_back_its_own() -> None:
    gate = GateBesideCache(gate_of(RateLimit(1, key=lambda body: body[0])), lambda body: False)

    first = gate.take(0.0, "a1")
    gate.take(0.0, "b1")
    gate.give_back(0.0, first, "a1")

    assert gate.ready(0.0, "a2") == ADMIT
    assert wait(gate.ready(0.0, "b2")) == pytest.approx(1.0)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=40),
)
def test_giving_back_never_admits_more_than_the_rate(burst: int, actions: list[Any]) -> None:
    machine = RateLimit(1, burst=burst).machine()
    now = 0.0
    kept: list[float] = []

    for later, gives_back in actions:
        now += later
        while machine.ready(now, None) == ADMIT:
            machine.take(now, None)
            if gives_back:
                machine.give_back(None)
                break
            kept.append(now)

    for first, start in enumerate(kept):
        for last, end in enumerate(kept[first:], first):
            assert last - first + 1 <= burst + (end - start) + 1e-6
