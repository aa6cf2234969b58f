"""What is true of every story of actors, on both roads. The laws are those of docs/guarantees.md.

The books are looked at after every step of every task; see `tests/runtime/world.py`.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.core.letters import REASONS
from tests.runtime.world import Plan, people, plans, play

EXAMPLES = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=500, deadline=None)

roads = pytest.mark.parametrize("fast", [True, False], ids=["fast", "full"])

#: Nobody ends, nothing is put aside or dropped: every message must be handled in the end.
PATIENT = {"stashes": False, "unstashes": False, "stops": False, "fails": 0}


def conservation(plan: Plan, fast: bool) -> None:
    story = play(plan, fast=fast)

    assert story.problems == []
    dead = story.dead()
    for number in story.sent():
        assert story.handled[number] + dead[number] == 1, number


@roads
@given(plan=plans())
@EXAMPLES
def test_conservation(plan: Plan, fast: bool) -> None:
    conservation(plan, fast)


@pytest.mark.slow
@roads
@given(plan=plans(most=40))
@MANY
def test_conservation_in_many_long_stories(plan: Plan, fast: bool) -> None:
    conservation(plan, fast)


@roads
@given(plan=plans(sleeps=1.0, stops=False))
@EXAMPLES
def test_one_turn(plan: Plan, fast: bool) -> None:
    assert play(plan, fast=fast).problems == []


@roads
@given(plan=plans())
@EXAMPLES
def test_atomic_turn(plan: Plan, fast: bool) -> None:
    """What a turn sends is accepted if and only if the turn happened."""
    story = play(plan, fast=fast)

    dead = story.dead()
    for number, message in enumerate(plan.messages):
        if message.parent is not None and not story.handled[message.parent]:
            assert not story.attempts.get(number)
            assert not dead[number]


@roads
@given(
    plan=plans(
        person=people(overflow="block", position="head", delay=0.0),
        stashes=False,
        unstashes=False,
        stops=False,
        delay=0.0,
        priority=100,
    )
)
@EXAMPLES
def test_order(plan: Plan, fast: bool) -> None:
    """First in, first out per sender and receiver, over failures, crashes and restarts."""
    story = play(plan, fast=fast)

    seen: dict[tuple[object, int], list[int]] = defaultdict(list)
    turns = [number for _, number in story.order]
    for actor, number in story.order:
        parent = plan.messages[number].parent
        sender: object = plan.messages[parent].target if parent is not None else None
        if sender is None:  # Two tasks tell from outside, each its own half.
            outside = plan.children(None)
            seen["outside", outside.index(number) % 2, actor].append(number)  # type: ignore[index]
        else:
            assert parent is not None
            seen[sender, actor].append(turns.index(parent) * 1000 + number)
    for received in seen.values():
        assert received == sorted(received)


@roads
@given(plan=plans())
@EXAMPLES
def test_attempts(plan: Plan, fast: bool) -> None:
    """They count the leases from 1, and are never more than the policy allows."""
    story = play(plan, fast=fast)

    for number, attempts in story.attempts.items():
        message = plan.messages[number]
        assert attempts == list(range(1, len(attempts) + 1))
        if not message.stashes:
            assert len(attempts) <= plan.people[message.target].attempts
    for letter in story.letters:
        assert letter.attempts == len(story.attempts.get(letter.body, []))


@roads
@given(plan=plans())
@EXAMPLES
def test_no_silent_drop(plan: Plan, fast: bool) -> None:
    story = play(plan, fast=fast)

    for number in story.sent():
        assert story.handled[number] or story.dead()[number], number
    for letter in story.letters:
        assert letter.reason in REASONS
        assert (letter.error is not None) == (letter.reason == "failed")
        assert bool(letter.traceback) == (letter.error is not None)


@roads
@given(plan=plans(sleeps=0.0))
@EXAMPLES
def test_no_orphan(plan: Plan, fast: bool) -> None:
    """No task, actor or message is left when the block has ended."""
    assert play(plan, fast=fast).problems == []


def any_end(plan: Plan, fast: bool, strategy: str | None, ending: tuple[str, float]) -> None:
    story = play(plan, fast=fast, strategy=strategy, ending=ending)

    assert story.problems == []
    dead = story.dead()
    for number in story.sent():
        assert story.handled[number] + dead[number] == 1, number
    assert set(story.handled) <= story.sent()


ways = st.sampled_from(["return", "drain", "stop", "cancel", "error", "outside"])
strategies = st.sampled_from([None, "one_for_one", "one_for_all", "rest_for_one"])
endings = st.tuples(ways, st.sampled_from([0.0, 0.5, 1.0, 2.5, 6.0]))


@roads
@given(plan=plans(), strategy=strategies, ending=endings)
@EXAMPLES
def test_conservation_whatever_ends_the_turns_and_the_block(
    plan: Plan, fast: bool, strategy: str | None, ending: tuple[str, float]
) -> None:
    any_end(plan, fast, strategy, ending)


@pytest.mark.slow
@roads
@given(plan=plans(most=40), strategy=strategies, ending=endings)
@MANY
def test_conservation_at_many_ends(
    plan: Plan, fast: bool, strategy: str | None, ending: tuple[str, float]
) -> None:
    any_end(plan, fast, strategy, ending)


@roads
@given(plan=plans(asked=st.booleans()), strategy=strategies, ending=endings)
@EXAMPLES
def test_asks_in_any_direction_neither_hang_nor_lose_a_message(
    plan: Plan, fast: bool, strategy: str | None, ending: tuple[str, float]
) -> None:
    assert play(plan, fast=fast, strategy=strategy, ending=ending).problems == []


@pytest.mark.slow
@roads
@given(plan=plans(asked=st.booleans(), most=40), strategy=strategies, ending=endings)
@MANY
def test_many_asks_in_any_direction(
    plan: Plan, fast: bool, strategy: str | None, ending: tuple[str, float]
) -> None:
    assert play(plan, fast=fast, strategy=strategy, ending=ending).problems == []


def deadlock(plan: Plan, fast: bool) -> None:
    story = play(plan, fast=fast)

    assert story.problems == []
    assert story.letters == ()
    assert story.handled == dict.fromkeys(range(len(plan.messages)), 1)


blocking = people(overflow="block", attempts=1).map(
    lambda person: person if person.capacity < 3 else type(person)(capacity=0)
)


@roads
@given(plan=plans(person=blocking, most=25, **PATIENT))
@EXAMPLES
def test_no_deadlock_and_no_loss_in_any_topology_of_small_mailboxes(plan: Plan, fast: bool) -> None:
    deadlock(plan, fast)


@pytest.mark.slow
@roads
@given(plan=plans(person=blocking, most=60, **PATIENT))
@MANY
def test_no_deadlock_and_no_loss_in_many_topologies(plan: Plan, fast: bool) -> None:
    deadlock(plan, fast)


@given(plan=plans(person=people(overflow="block"), stops=False, stashes=False))
@EXAMPLES
def test_both_roads_tell_the_same_story_of_who_is_done_and_who_is_dead(plan: Plan) -> None:
    first, second = play(plan, fast=True), play(plan, fast=False)

    assert first.problems == second.problems == []
    assert first.handled == second.handled
    assert first.dead() == second.dead()
