"""Every side of every benchmark runs and finds out when the answer is wrong.

The loads are tiny: nothing here looks at a figure, only at whether it is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from actorflow import Actor, Turn
from benchmarks import bench_actors, bench_idle, bench_memory, bench_stages
from benchmarks.catalogue import QUESTIONS
from benchmarks.measure import ask
from benchmarks.question import Question, Side, WrongAnswer
from benchmarks.table import rows_of, to_text

ITEMS = 60  # More than the fifty callers of ask-50.

OURS = [(each, each.ours) for each in QUESTIONS.values() if each.name != "idle"]
PEERS = [
    (each, peer)
    for each in QUESTIONS.values()
    for peer in each.peers
    if each.name != "idle" and peer.present
]


def label(value: object) -> str:
    return str(getattr(value, "name", value))


@pytest.mark.parametrize(("question", "side"), OURS, ids=label)
def test_our_side_answers_with_every_figure_of_its_question(question: Question, side: Side) -> None:
    figures = side.run(ITEMS)

    assert {each.key for each in question.figures} <= set(figures)
    assert all(math.isfinite(each) and each > 0 for each in figures.values())


@pytest.mark.parametrize(("question", "side"), PEERS, ids=label)
def test_a_peer_answers_the_same_question(question: Question, side: Side) -> None:
    """Those written by hand, always; those of the `bench` extra where that is installed."""
    assert side.run(ITEMS)["rate"] > 0


def test_a_peer_that_is_not_installed_is_not_asked_but_named_as_missing() -> None:
    def never(items: int) -> dict[str, float]:
        raise AssertionError("it is not installed")

    absent = Side(name="absent", run=never, needs="a_module_that_nobody_has")
    question = attrs.evolve(QUESTIONS["ask"], peers=(absent,), quick_items=10)

    answer = ask(question, quick=True, rounds=1)

    assert answer.missing == (absent,)
    assert "absent" in to_text(rows_of(answer))


@pytest.mark.parametrize("run", [bench_idle.actorflow_actors, bench_idle.trio_tasks])
def test_idle_ones_are_weighed_before_and_after_they_have_done_something(
    run: Callable[..., Mapping[str, float]],
) -> None:
    figures = run(ITEMS, seconds=0.01)

    assert set(figures) == {each.key for each in QUESTIONS["idle"].figures}


def test_names_of_questions_and_of_their_sides_are_their_own() -> None:
    for question in QUESTIONS.values():
        names = [each.name for each in question.sides]

        assert len(set(names)) == len(names), question.name
        for figure in question.figures:
            assert {each.over for each in figure.targets} <= {None, *names}


# A wrong answer is found out ----------------------------------------------------------------


async def off_by_one(value: int) -> int:
    return value * 2 + 1


async def drops_one(value: int, ctx: Turn) -> int:
    if value == 1:
        ctx.skip()
    return value * 2


@pytest.mark.parametrize("wrong", [off_by_one, drops_one])
def test_a_stage_that_is_wrong_fails_the_benchmark(wrong: Any) -> None:
    handlers = (bench_stages.add_one, wrong, bench_stages.take_one)

    with pytest.raises(WrongAnswer):
        bench_stages.actorflow_stages(ITEMS, handlers)


@pytest.mark.parametrize("side", [bench_stages.trio_channels, bench_stages.asyncio_queues])
def test_a_wrong_stage_written_by_hand_fails_the_benchmark_too(side: Callable[..., Any]) -> None:
    handlers = (bench_stages.add_one, off_by_one, bench_stages.take_one)

    with pytest.raises(WrongAnswer):
        side(ITEMS, handlers)


class AnswersThrice(Actor):
    total: int = 0

    async def receive(self, message: int | None, ctx: Turn) -> int:
        self.total += message or 0
        return self.total if message is None else message * 3


class ForgetsToAdd(Actor):
    total: int = 0

    async def receive(self, message: int | None, ctx: Turn) -> int:
        return self.total if message is None else message * 2


@pytest.mark.parametrize(
    ("side", "wrong"),
    [
        (bench_actors.tell_all, ForgetsToAdd),
        (bench_actors.tell_in_blocks, ForgetsToAdd),
        (bench_actors.ask_all, AnswersThrice),
        (bench_actors.ask_all, ForgetsToAdd),
        (bench_actors.ask_by_fifty, ForgetsToAdd),
    ],
)
def test_an_actor_that_is_wrong_fails_the_benchmark(
    side: Callable[..., Any], wrong: type[Actor]
) -> None:
    with pytest.raises(WrongAnswer):
        side(ITEMS, wrong)


def test_a_wrong_answer_to_one_of_fifty_callers_fails_the_benchmark() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        bench_actors.ask_by_fifty(ITEMS, AnswersThrice)

    assert caught.value.subgroup(WrongAnswer)


async def always_zero(item: dict[str, Any]) -> int:
    return 0


@pytest.mark.parametrize(
    ("side", "wrong"),
    [
        (bench_memory.plain, always_zero),
        (bench_memory.failing, always_zero),
        (bench_memory.failing, bench_memory.take_number),  # Right, but it never fails.
    ],
)
def test_a_long_run_that_is_wrong_fails_the_benchmark(side: Callable[..., Any], wrong: Any) -> None:
    with pytest.raises(WrongAnswer):
        side(ITEMS, wrong)


async def test_results_out_of_order_fail_the_benchmark() -> None:
    tally = bench_memory.Tally(ordered=True)
    await tally.write([0, 1])

    with pytest.raises(WrongAnswer, match=r"^value 2: got 3$"):
        await tally.write([3, 2])


class NeverCounts(Actor):
    async def receive(self, message: int, ctx: Turn) -> int:
        return 0


def test_an_idle_actor_that_misses_its_message_fails_the_benchmark() -> None:
    with pytest.raises(WrongAnswer):
        bench_idle.actorflow_actors(ITEMS, NeverCounts, seconds=0.0)
