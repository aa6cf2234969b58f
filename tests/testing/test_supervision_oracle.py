"""The runtime against the rules of OTP as `actorflow.testing.otp` tells them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import ChildSpec, Fixed, Supervisor
from actorflow.testing.otp import Exit, Member, Reference
from actorflow.testing.strategies import supervision_trees
from tests.testing.members import Fails, Noting, Seen, Step, StopsForGood, play

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS = ("permanent", "transient", "temporary")
KINDS: tuple[Exit, ...] = ("normal", "stopped", "crash")

#: Seconds, exact in binary; no sum of them is the second that a restart waits.
PAUSES = (0.375, 0.875, 2.125, 10.5)

trees = supervision_trees(
    start=Noting,
    on_exhausted=("escalate", "stop"),
    backoffs=(Fixed(0.0), Fixed(1.0)),
    policies=[StopsForGood()],
)
ends = st.tuples(st.integers(0, 7), st.sampled_from(("crash", "normal", "stopped")))
pauses = st.sampled_from(PAUSES)
one_by_one = st.lists(st.tuples(pauses, st.lists(ends, min_size=1, max_size=1)), max_size=8)
some_at_once = st.lists(st.tuples(pauses, st.lists(ends, min_size=1, max_size=3)), max_size=3)

EXAMPLES = settings(max_examples=150, deadline=None)
MANY = settings(max_examples=1500, deadline=None)


def told(
    tree: Supervisor,
    real: Seen,
    choose: Any = operator.itemgetter(0),
    fails: Fails | None = None,
) -> Seen:
    """What the rules say of the script that was really played."""
    reference, seen = Reference(tree, fails=fails), Seen()
    reference.choose = choose
    reference.start()
    if reference.ended is None:
        seen.alive.append(reference.alive())
    for now, ended in real.script:
        reference.advance(now)
        reference.exits(*ended)
        seen.alive.append(reference.alive())
    seen.log, seen.ended = reference.log, reference.ended
    return seen


def compare(tree: Supervisor, steps: Sequence[Step], fails: Fails | None = None) -> None:
    real = play(tree, steps, fails)
    rules = told(tree, real, fails=fails)

    assert real.log == rules.log
    assert real.alive == rules.alive
    assert real.ended == rules.ended


@given(tree=trees, steps=one_by_one)
@EXAMPLES
def test_the_runtime_does_what_the_rules_say(tree: Supervisor, steps: list[Step]) -> None:
    compare(tree, steps)


@pytest.mark.slow
@given(tree=trees, steps=one_by_one)
@MANY
def test_the_runtime_does_what_the_rules_say_of_many_trees(
    tree: Supervisor, steps: list[Step]
) -> None:
    compare(tree, steps)


def three(*, waits: float = 0.0, restart: Any = "permanent", **options: Any) -> Supervisor:
    """A supervisor of three workers, the first of type *restart*."""
    first = ChildSpec("a", Noting, restart=restart, policies=[StopsForGood()])
    others = [ChildSpec(name, Noting, policies=[StopsForGood()]) for name in "bc"]
    return Supervisor([first, *others], backoff=Fixed(waits), **options)


@pytest.mark.parametrize(
    ("tree", "steps", "ended"),
    [
        # A restart exactly so long ago as the window is still counts.
        (three(max_restarts=1, window=5.0), [(1.0, [(0, "crash")]), (5.0, [(0, "crash")])], True),
        (three(max_restarts=1, window=5.0), [(1.0, [(0, "crash")]), (5.5, [(0, "crash")])], False),
        # Who waits for a restart comes with its group instead, once.
        (
            three(waits=1.0, strategy="rest_for_one"),
            [(0.5, [(1, "crash")]), (0.5, [(0, "crash")]), (0.75, [(9, "crash")]), (9.0, [])],
            False,
        ),
        # All of one moment are one restart of the group.
        (
            three(strategy="one_for_all", max_restarts=1),
            [(0.5, [(0, "crash"), (1, "crash"), (2, "crash")])],
            False,
        ),
    ],
)
def test_what_chance_seldom_meets(tree: Supervisor, steps: list[Step], ended: bool) -> None:
    real = play(tree, steps)

    assert (real.ended is not None) == ended
    assert real.alive == told(tree, real).alive


def test_a_child_that_had_ended_may_fail_to_start_when_its_group_brings_it_back() -> None:
    tree = three(restart="transient", strategy="one_for_all")
    compare(tree, [(0.5, [(0, "normal")]), (0.5, [(0, "crash")])], {"top/a": (2,)})


flat_trees = supervision_trees(
    start=Noting,
    depth=1,
    on_exhausted=("escalate", "stop"),
    backoffs=(Fixed(0.0), Fixed(1.0)),
    policies=[StopsForGood()],
)
failures = st.dictionaries(
    st.sampled_from(["top/a", "top/b", "top/c", "top/d", "top/a/a", "top/b/b", "top/b/a"]),
    st.sets(st.integers(1, 4), max_size=2).map(tuple),
    max_size=2,
)


@given(tree=flat_trees, steps=one_by_one, fails=failures)
@EXAMPLES
def test_starts_that_fail_are_dealt_with_as_the_rules_say(
    tree: Supervisor, steps: list[Step], fails: Fails
) -> None:
    compare(tree, steps, fails)


@pytest.mark.slow
@given(tree=flat_trees, steps=one_by_one, fails=failures)
@MANY
def test_starts_that_fail_are_dealt_with_so_in_many_trees(
    tree: Supervisor, steps: list[Step], fails: Fails
) -> None:
    compare(tree, steps, fails)


@pytest.mark.slow
@given(tree=trees, steps=one_by_one, fails=failures)
@MANY
def test_after_starts_that_fail_at_any_depth_those_are_up_who_must_be(
    tree: Supervisor, steps: list[Step], fails: Fails
) -> None:
    real = play(tree, steps, fails)
    rules = told(tree, real, fails=fails)

    # Not in which order: a supervisor that starts goes on while it deals with such a child.
    assert list(map(set, real.alive)) == list(map(set, rules.alive))
    assert real.ended == rules.ended


#: Who is started again when a child of three is, by its place.
GROUPS = {
    "one_for_one": ("a", "b", "c"),
    "one_for_all": ("abc", "abc", "abc"),
    "rest_for_one": ("abc", "bc", "c"),
}

#: After which ends a child is started again.
AGAIN = {"permanent": ("normal", "crash"), "transient": ("crash",), "temporary": ()}


def by_the_book(strategy: str, restart: str, kind: str, place: int) -> list[str]:
    """What follows the end of one of three children, the others being permanent."""
    name = "abc"[place]
    if kind not in AGAIN[restart]:
        return [f"-top/{name}"]
    group = GROUPS[strategy][place]
    others = [each for each in reversed(group) if each != name]
    return [f"-top/{each}" for each in (name, *others)] + [f"+top/{each}" for each in group]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("restart", RESTARTS)
def test_the_table_of_all_ends_of_one_of_three_children(strategy: Any, restart: Any) -> None:
    for kind, place in itertools.product(KINDS, range(3)):
        children = [
            ChildSpec(
                name,
                Noting,
                restart=restart if number == place else "permanent",
                policies=[StopsForGood()],
            )
            for number, name in enumerate("abc")
        ]
        tree = Supervisor(children, strategy=strategy, backoff=Fixed(0.0))

        real = play(tree, [(0.375, [(place, kind)])])

        assert real.log[3:] == by_the_book(strategy, restart, kind, place), (kind, place)
        assert told(tree, real) == attrs.evolve(real, script=[])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("auto_shutdown", ["never", "any_significant", "all_significant"])
def test_the_table_of_all_ends_with_all_siblings(strategy: Any, auto_shutdown: Any) -> None:
    kinds = [(restart, mark) for restart in RESTARTS for mark in (False, True)]
    kinds.remove(("permanent", True))
    for restarts in itertools.product(kinds, repeat=3):
        children = [
            ChildSpec(name, Noting, restart=restart, significant=mark, policies=[StopsForGood()])  # type: ignore[arg-type]
            for name, (restart, mark) in zip("abc", restarts, strict=True)
        ]
        tree = Supervisor(
            children, strategy=strategy, auto_shutdown=auto_shutdown, backoff=Fixed(0.0)
        )
        for kind, place in itertools.product(KINDS, range(3)):
            compare(tree, [(0.375, [(place, kind)]), (0.375, [(0, "crash")])])


class Order:
    """Which of several ends is heard of first: one after the other, all there is."""

    def __init__(self, taken: list[int], left: list[list[int]]) -> None:
        self.taken, self.left, self.step = taken, left, 0

    def __call__(self, unheard: list[Member]) -> Member:
        if self.step == len(self.taken):
            self.left.extend([*self.taken, other] for other in range(1, len(unheard)))
            self.taken.append(0)
        self.step += 1
        return unheard[self.taken[self.step - 1]]


def outcomes(tree: Supervisor, real: Seen) -> Iterator[tuple[list[set[str]], str | None]]:
    """What the rules allow, whichever end of each moment is heard of first."""
    left: list[list[int]] = [[]]
    while left:
        rules = told(tree, real, Order(left.pop(), left))
        yield [set(each) for each in rules.alive], rules.ended


def compare_at_once(tree: Supervisor, steps: list[Step]) -> None:
    real = play(tree, steps)

    # Not how often each was started: a group may be stopped when only half of it was.
    assert ([set(each) for each in real.alive], real.ended) in list(outcomes(tree, real))


@given(tree=trees, steps=some_at_once)
@EXAMPLES
def test_ends_of_one_moment_have_an_order_that_explains_what_follows(
    tree: Supervisor, steps: list[Step]
) -> None:
    compare_at_once(tree, steps)


@pytest.mark.slow
@given(tree=trees, steps=some_at_once)
@MANY
def test_ends_of_one_moment_have_such_an_order_in_many_trees(
    tree: Supervisor, steps: list[Step]
) -> None:
    compare_at_once(tree, steps)
