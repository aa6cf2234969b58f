"""Linearizability: what is, what is not, and what is said of it."""

from __future__ import annotations

import math
from typing import Any, cast

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import Actor, ActorStopped, ActorSystem, AskFailed, AskTimeout, ConfigurationError
from actorflow.testing import (
    Operation,
    Recorder,
    assert_linearizable,
    find_counterexample,
    virtual_run,
)

EXAMPLES = settings(max_examples=100, deadline=None)


def register(state: Any, call: Any) -> tuple[Any, Any]:
    """A register: ``("write", value)`` answers None, ``"read"`` the value."""
    return (state, state) if call == "read" else (call[1], None)


def counter(state: int, call: int) -> tuple[int, int]:
    """A counter: adding answers what is there then."""
    return state + call, state + call


def op(call: Any, invoked: float, returned: float, answer: Any = None, **more: Any) -> Operation:
    return Operation(call=call, invoked=invoked, returned=returned, answer=answer, **more)


def write(value: Any, invoked: float, returned: float, **more: Any) -> Operation:
    return op(("write", value), invoked, returned, **more)


def unknown(call: Any, invoked: float, **more: Any) -> Operation:
    return Operation(call=call, invoked=invoked, outcome="unknown", **more)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [write(1, 0, 1), op("read", 2, 3, 1)],
        [write(1, 0, 5), op("read", 1, 2, 0), op("read", 3, 4, 1)],  # Took effect in between.
        [write(1, 0, 5), write(2, 1, 4), op("read", 2, 3, 1), op("read", 6, 7, 2)],
        [unknown(("write", 1), 0), op("read", 1, 2, 0), op("read", 3, 4, 1)],  # It came late.
        [unknown(("write", 1), 0), op("read", 1, 2, 0), op("read", 3, 4, 0)],  # It never came.
        [op(("write", 1), 0, 1, outcome="failed"), op("read", 2, 3, 0)],
        [write(1, 0, 1, key="x"), op("read", 2, 3, 0, key="y")],
    ],
)
def test_a_register_that_is_one(history: list[Operation]) -> None:
    assert find_counterexample(history, register, 0) is None


@pytest.mark.parametrize(
    "history",
    [
        [op("read", 0, 1, 1)],
        [write(1, 0, 1), op("read", 2, 3, 0)],  # Stale.
        [write(1, 0, 9), op("read", 1, 2, 1), op("read", 3, 4, 0)],  # Once new, then old again.
        [write(1, 0, 1), write(2, 2, 3), op("read", 4, 9, 1)],
        [write(1, 0, 5), write(2, 1, 4), op("read", 6, 7, 1), op("read", 8, 9, 2)],
        [unknown(("write", 1), 4), op("read", 0, 1, 1)],  # Read before it began.
        [op(("write", 1), 0, 1, outcome="failed"), op("read", 2, 3, 1)],
        [write(1, 0, 1, key="x"), op("read", 2, 3, 0, key="x")],
    ],
)
def test_a_register_that_is_none(history: list[Operation]) -> None:
    assert find_counterexample(history, register, 0) is not None
    with pytest.raises(AssertionError, match="is not linearizable"):
        assert_linearizable(history, register, 0)


def test_a_counterexample_is_the_shortest_beginning_and_says_why() -> None:
    history = [
        op(1, 0, 2, 1, client="ann", key="n"),
        op(1, 1, 4, 1, client="bob", key="n"),
        unknown(5, 3, client="cid", key="n"),
        op(1, 5, 6, 3, client="ann", key="n"),
    ]

    found = find_counterexample(history, counter, 0)

    assert found is not None
    assert found.last == history[1]
    assert [each.client for each in found.operations] == ["ann", "bob", "cid"]
    assert str(found).splitlines() == [
        "key 'n' is not linearizable: no order of these calls explains the answer 1 to 1",
        "  ├─┤     ann: 1 -> 1",
        "!  ├──┤   bob: 1 -> 1",
        "     ├──  cid: 5 (unknown)",
        "  for example: after 1 the model answers 2",
    ]


def test_of_a_long_history_the_end_is_shown() -> None:
    history = [op(1, 2 * n, 2 * n + 1, n + 1) for n in range(100)] + [op(1, 200, 201, 100)]

    lines = str(find_counterexample(history, counter, 0)).splitlines()

    assert lines[1] == "  ... after 77 earlier calls"
    assert len(lines) == 24 + 3


def test_states_are_hashable() -> None:
    with pytest.raises(ConfigurationError, match="a state of the model must be hashable"):
        find_counterexample([op(1, 0, 1)], lambda state, call: (state, None), cast(Any, []))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"outcome": "ok"}, "outcome must be one of 'returned', 'failed', 'unknown', got 'ok'"),
        ({"invoked": 5}, "returned must be 5 or more, as it was invoked then, got 1"),
        ({"invoked": "x"}, "invoked must be a number, got 'x'"),
        ({"returned": math.nan}, "returned must be a number, got nan"),
        ({"outcome": "unknown"}, "returned must be left out with outcome='unknown', which has no"),
    ],
)
def test_an_operation_that_cannot_have_been_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Operation {says}"):
        Operation(**{"call": 1, "invoked": 0, "returned": 1, **given})


@pytest.mark.parametrize("found", [5, "ab", (1, 2, 3), None])
def test_a_model_returns_a_pair(found: Any) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        assert_linearizable([op(1, 0, 1)], lambda state, call: found, 0)
    assert str(wrong.value) == (
        f"what the model returns must be a pair (state, answer), after 1, got {found!r}"
    )


def test_a_history_is_of_operations_and_a_model_of_state_and_call() -> None:
    for wrong in (3, [1]):
        with pytest.raises(ConfigurationError, match=r"history must be .*Operation"):
            find_counterexample(cast(Any, wrong), counter, 0)
    with pytest.raises(ConfigurationError, match=r"step, the model, must be a function of \(sta"):
        find_counterexample([], cast(Any, 3), 0)


def test_three_hundred_operations_of_one_key_are_quick() -> None:
    """Ten clients at a time, which is what a bounded test of an actor has."""
    history = [
        op(1, n - n % 10 + n % 10 / 20, n - n % 10 + 9 - n % 10 / 20, n + 1) for n in range(300)
    ]

    assert find_counterexample(history, counter, 0) is None
    broken = [*history[:-1], attrs.evolve(history[-1], answer=299)]
    found = find_counterexample(broken, counter, 0)
    assert found is not None
    assert found.last.answer == 299


@st.composite
def overlapping(draw: st.DrawFn, calls: st.SearchStrategy[Any], step: Any, state: Any) -> Any:
    """A real order of calls, each stretched around its moment; some of unknown outcome."""
    history = []
    for moment, call in enumerate(draw(st.lists(calls, max_size=12))):
        begin = moment - draw(st.floats(0, 4)) - moment / 1000
        end = moment + draw(st.floats(0, 4)) + moment / 1000
        state, answer = step(state, call)
        key = draw(st.sampled_from("x")) if moment else "x"
        if draw(st.integers(0, 5)) == 5:
            history.append(unknown(call, begin, key=key))
        else:
            history.append(op(call, begin, end, answer, key=key))
    return draw(st.permutations(history))


registers = overlapping(
    st.just("read") | st.tuples(st.just("write"), st.integers(0, 3)), register, 0
)
counters = overlapping(st.integers(1, 2), counter, 0)


@given(registers)
@EXAMPLES
def test_a_real_order_with_overlaps_is_linearizable(history: list[Operation]) -> None:
    assert find_counterexample(history, register, 0) is None


@given(counters)
@EXAMPLES
def test_a_real_count_with_overlaps_is_linearizable(history: list[Operation]) -> None:
    assert find_counterexample(history, counter, 0) is None


def brute(history: list[Operation], step: Any, initial: Any) -> bool:
    """Whether there is an order, by trying all."""

    def search(left: list[Operation], state: Any) -> bool:
        if all(each.outcome != "returned" for each in left):
            return True
        for each in left:
            if any(other.returned < each.invoked for other in left):
                continue
            after, answer = step(state, each.call)
            if each.outcome == "unknown" or answer == each.answer:
                rest = [other for other in left if other is not each]
                if search(rest, after):
                    return True
        return False

    return search(history, initial)


@st.composite
def any_history(draw: st.DrawFn) -> list[Operation]:
    """Up to six calls with any answers."""
    count = draw(st.integers(0, 6))
    moments = draw(st.permutations(range(2 * count)))
    history = []
    for number in range(count):
        begin, end = sorted(moments[2 * number : 2 * number + 2])
        call, answer = draw(st.sampled_from([("read", 0), ("read", 1), (("write", 1), None)]))
        if draw(st.integers(0, 4)) == 4:
            history.append(unknown(call, begin))
        else:
            history.append(op(call, begin, end, answer))
    return history


@given(any_history())
@settings(max_examples=300, deadline=None)
def test_the_search_agrees_with_trying_all_orders(history: list[Operation]) -> None:
    found = find_counterexample(history, register, 0)

    assert (found is None) == brute(history, register, 0)
    if found is not None:  # Its beginning is not linearizable, and without its last event it is.
        before = [
            attrs.evolve(each, returned=math.inf, outcome="unknown", answer=None)
            if each == found.last
            else each
            for each in found.operations
        ]
        assert not brute(list(found.operations), register, 0)
        assert brute(before, register, 0)


# Real actors -----------------------------------------------------------------------------


class Account(Actor):
    """Adds, and answers what is there then."""

    balance: int = 0

    async def receive(self, message: int, ctx: Any) -> int:
        await trio.sleep(0.1)
        self.balance += message
        return self.balance


class Careless(Actor):
    """Shares its state with others, and writes what it has read before it waited.

    One actor by itself could do so: it handles one message at a time.
    """

    shared: dict[str, int]

    async def receive(self, message: int, ctx: Any) -> int:
        before = self.shared.get("balance", 0)
        await trio.sleep(0.1)
        self.shared["balance"] = before + message
        return before + message


async def ask_from_all_sides(refs: list[Any], seed: int) -> Recorder:
    recorder = Recorder()

    async def client(number: int) -> None:
        for turn in range(5):
            await trio.sleep((seed * 7 + number * 3 + turn) % 5 / 8)
            ref = refs[number % len(refs)]
            await recorder.ask(ref, number + 1, key="account", client=f"c{number}", timeout=60)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(client, number)
    return recorder


@pytest.mark.parametrize("seed", range(5))
def test_an_actor_asked_from_all_sides_is_linearizable(seed: int) -> None:
    async def main() -> Recorder:
        async with ActorSystem("s") as system:
            return await ask_from_all_sides([await system.spawn(Account)], seed)

    recorder = virtual_run(main)

    assert len(recorder.operations) == 20
    assert_linearizable(recorder, counter, 0)


def test_two_actors_that_write_what_they_read_before_an_await_are_found() -> None:
    async def main() -> Recorder:
        shared: dict[str, int] = {}
        async with ActorSystem("s") as system:
            refs = [await system.spawn(Careless(shared=shared)) for _ in range(2)]
            return await ask_from_all_sides(refs, 0)

    found = find_counterexample(virtual_run(main), counter, 0)

    assert found is not None
    assert len(found.operations) < 10
    assert "no order of these calls explains the answer" in str(found)


@pytest.mark.usefixtures("autojump_clock")
async def test_a_recorder_says_what_became_of_each_ask() -> None:
    class Moody(Actor):
        async def receive(self, message: str, ctx: Any) -> str:
            match message:
                case "fail":
                    raise ValueError
                case "hang":
                    await trio.sleep(60)
                case "stop":
                    ctx.stop()
            return message

    recorder = Recorder()
    async with ActorSystem("s") as system:
        ref = await system.spawn(Moody, name="m")
        assert await recorder.ask(ref, "say") == "say"
        with pytest.raises(AskFailed):
            await recorder.ask(ref, "fail")
        with pytest.raises(AskTimeout):
            await recorder.ask(ref, "hang", timeout=1)
        with trio.move_on_after(1):
            await recorder.ask(ref, "hang", key="other")
        assert await recorder.ask(ref, "stop", timeout=100) == "stop"
        with pytest.raises(ActorStopped):
            await recorder.ask(ref, "gone", client="late")

    assert [(each.call, each.outcome, each.key) for each in recorder] == [
        ("say", "returned", "/s/m"),
        ("fail", "failed", "/s/m"),
        ("hang", "unknown", "/s/m"),
        ("hang", "unknown", "other"),
        ("stop", "returned", "/s/m"),
        ("gone", "unknown", "/s/m"),
    ]
    assert all((each.returned == math.inf) == (each.outcome == "unknown") for each in recorder)
