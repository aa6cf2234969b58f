"""Generated trees of supervisors: legal, of every kind, small when shrunk, printed as Python."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from actorflow import (
    Actor,
    ActorSystem,
    ChildSpec,
    ConfigurationError,
    DynamicSupervisor,
    Exponential,
    Fixed,
    MissingExtra,
    Retry,
    Supervisor,
)
from actorflow.testing import Mortal, supervision_trees, virtual_run

EXAMPLES = settings(max_examples=50, deadline=None)
QUICK = settings(max_examples=500, deadline=None, database=None, derandomize=True)

#: What the text of a tree needs to be Python.
NAMES: dict[str, Any] = {
    "ChildSpec": ChildSpec,
    "DynamicSupervisor": DynamicSupervisor,
    "Exponential": Exponential,
    "Fixed": Fixed,
    "Mortal": Mortal,
    "Retry": Retry,
    "Supervisor": Supervisor,
}


def depth(tree: Supervisor) -> int:
    below = [each.start for each in tree.plan.children if isinstance(each.start, Supervisor)]
    return 1 + max(map(depth, below), default=0)


@given(supervision_trees())
@EXAMPLES
def test_a_tree_prints_as_the_python_that_makes_it_again(tree: Supervisor) -> None:
    again = eval(repr(tree), NAMES)  # The promise of the text.

    assert repr(again) == repr(tree)
    assert attrs_of(again) == attrs_of(tree)


def attrs_of(tree: Supervisor) -> Any:
    """All options of a tree, as plain values."""
    plan = tree.plan
    own = [getattr(plan, name) for name in ("strategy", "max_restarts", "window", "auto_shutdown")]
    return [
        *own,
        plan.on_exhausted,
        plan.backoff,
        [
            (
                each.id,
                attrs_of(each.start) if isinstance(each.start, Supervisor) else each.start,
                *(each.restart, each.significant, each.max_restarts, each.window, each.backoff),
                *(each.shutdown, each.policies, each.options),
            )
            for each in plan.children
        ],
    ]


@given(supervision_trees(depth=2, width=3))
@EXAMPLES
def test_trees_are_no_deeper_and_no_wider_than_they_may_be(tree: Supervisor) -> None:
    assert depth(tree) <= 2
    assert len(tree.plan.children) <= 3


@given(supervision_trees())
@settings(max_examples=20, deadline=None)
def test_every_tree_starts_and_stops(tree: Supervisor) -> None:
    async def main() -> None:
        async with ActorSystem("s") as system:
            await system.spawn(tree, name="top")
            assert system.stats()["actors"] == repr(tree).count("ChildSpec(") + 1

    virtual_run(main)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (lambda tree: True, "Supervisor([ChildSpec('a', Mortal)])"),
        (
            lambda tree: depth(tree) > 1,
            "Supervisor([ChildSpec('a', Supervisor([ChildSpec('a', Mortal)]))])",
        ),
        (
            lambda tree: any(each.significant for each in tree.plan.children),
            "Supervisor([ChildSpec('a', Mortal, restart='transient', significant=True)], "
            "auto_shutdown='any_significant')",
        ),
        (
            lambda tree: tree.plan.strategy == "rest_for_one" and len(tree.plan.children) > 1,
            "Supervisor([ChildSpec('a', Mortal), ChildSpec('b', Mortal)], strategy='rest_for_one')",
        ),
        (
            lambda tree: tree.plan.on_exhausted == "park" and tree.plan.max_restarts == 0,
            "Supervisor([ChildSpec('a', Mortal)], max_restarts=0, on_exhausted='park')",
        ),
        (
            lambda tree: tree.plan.backoff is not None,
            "Supervisor([ChildSpec('a', Mortal)], backoff=Fixed(seconds=0.0))",
        ),
    ],
)
def test_a_tree_shrinks_to_what_matters(wanted: Any, text: str) -> None:
    assert repr(find(supervision_trees(), wanted, settings=QUICK)) == text


def test_workers_are_what_the_caller_says() -> None:
    class Other(Actor):
        pass

    starts = st.sampled_from([Mortal, Other])
    tree = find(
        supervision_trees(start=starts, depth=1, policies=[Retry(2)]),
        lambda tree: any(each.start is Other for each in tree.plan.children),
        settings=QUICK,
    )

    assert [each.start for each in tree.plan.children] == [Other]
    assert all(each.policies == (Retry(2),) for each in tree.plan.children)


def test_a_supervisor_prints_with_all_that_is_not_usual() -> None:
    spec = ChildSpec(
        "w", Mortal, restart="transient", shutdown=1.5, capacity=3, backoff=Fixed(2.0), window=9.0
    )
    text = (
        "ChildSpec('w', Mortal, restart='transient', shutdown=1.5, backoff=Fixed(seconds=2.0), "
        "window=9.0, capacity=3)"
    )
    assert repr(spec) == text
    assert eval(text, NAMES) == spec
    assert repr(DynamicSupervisor(max_children=3)) == "DynamicSupervisor(max_children=3)"
    assert repr(ChildSpec("p", DynamicSupervisor())) == "ChildSpec('p', DynamicSupervisor())"
    assert repr(ChildSpec("m", Mortal())) == "ChildSpec('m', Mortal())"


def test_without_hypothesis_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)

    with pytest.raises(MissingExtra) as missing:
        supervision_trees()

    assert str(missing.value) == (
        "supervision_trees needs hypothesis; install it with: pip install 'actorflow[test]'"
    )


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": 0}, {"width": 27}])
def test_what_cannot_be_is_said(wrong: dict[str, int]) -> None:
    (option,) = wrong
    with pytest.raises(ConfigurationError, match=rf"supervision_trees\(\) {option} must be"):
        supervision_trees(**wrong)  # type: ignore[arg-type]
