"""A state machine over a system: scripts, models, kills, and bugs that it finds."""

from __future__ import annotations

import subprocess
import sys
import unittest
from collections.abc import Callable
from typing import Any, ClassVar, cast

import attrs
import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from actorflow import (
    Actor,
    ActorSystem,
    ConfigurationError,
    Fixed,
    Retry,
    Turn,
    UsageError,
    actor,
    message,
)
from actorflow.testing import Died, SystemMachine, command

AGAIN = {"durable": True, "policies": [Retry(5, backoff=Fixed(0.0))]}


@message(tag="tests.machine.put")
class Put:
    amount: int


@actor("tests.machine.till")
class Till(Actor):
    """Adds up; knows nothing of who has put what."""

    total: int = 0

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, Put):
            await trio.lowlevel.checkpoint()
            self.total += body.amount
        return self.total


@actor("tests.machine.slip")
class Slip(Till):
    """A planted bug: what it writes down for each `Put` is changed in place, so that a failure
    does not take it back."""

    slips: list[int] = attrs.Factory(list)

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, Put):
            self.slips.append(body.amount)
            if ctx.attempt == 1 and body.amount == 3:
                raise OSError("not now")
        return sum(self.slips)


@actor("tests.machine.lazy")
class Lazy(Till):
    """A planted bug: it keeps the sum where no checkpoint finds it."""

    memory: ClassVar[int] = 0

    async def on_start(self, ctx: Turn) -> None:
        Lazy.memory = 0

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, Put):
            Lazy.memory += body.amount
        return Lazy.memory


class Adds(SystemMachine):
    """Whatever is told counts once, whatever happens."""

    actors: ClassVar[dict[str, Any]] = {"till": Till}
    always = ("till",)
    options = AGAIN
    ran: ClassVar[list[int]] = []

    def new_model(self) -> int:
        return 0

    @command(amount=st.integers(1, 9))
    async def put(self, system: ActorSystem, amount: int) -> None:
        """Put something in."""
        await system.ref(Till, "till").tell(Put(amount))
        self.model += amount

    async def check(self, system: ActorSystem) -> None:
        Adds.ran.append(1)
        assert await system.ref(Till, "till").ask("?") == self.model


class AddsSlips(Adds):
    actors: ClassVar[dict[str, Any]] = {"till": Slip}


class AddsLazily(Adds):
    actors: ClassVar[dict[str, Any]] = {"till": Lazy}


FEW = settings(max_examples=15, stateful_step_count=8, deadline=None, derandomize=True)
MANY = settings(
    max_examples=60, stateful_step_count=8, deadline=None, database=None, derandomize=True
)


def test_a_system_that_keeps_its_promise_passes() -> None:
    Adds.ran.clear()

    run_state_machine_as_test(Adds, settings=FEW)

    assert len(Adds.ran) > 100


@pytest.mark.parametrize(
    ("machine", "needs"),
    [
        (AddsLazily, ["state.put(amount=1)", "state.kill(at_once=False)"]),
        pytest.param(AddsSlips, ["state.put(amount=3)"], marks=pytest.mark.slow),
    ],
)
def test_a_planted_bug_is_found_and_shrinks_to_a_readable_script(
    machine: type[Adds], needs: list[str]
) -> None:
    with pytest.raises(AssertionError) as found:
        run_state_machine_as_test(machine, settings=MANY)

    notes = "\n".join(found.value.__notes__)
    lines = [line.strip() for line in notes.splitlines() if "state." in line]
    assert [line for line in lines if line in needs] == needs, notes
    assert len(lines) <= 4, notes


def test_what_it_prints_can_be_run_again() -> None:
    state = AddsLazily()
    state.put(amount=1)
    state.kill(at_once=False)

    with pytest.raises(AssertionError):
        state.teardown()


class Talks(SystemMachine):
    """Uses every rule that there is."""

    actors: ClassVar[dict[str, Any]] = {"a": Till, "b": Till}
    options = AGAIN
    messages = st.builds(Put, st.integers(1, 3))

    def new_model(self) -> dict[str, int]:
        return {}

    async def told(self, system: ActorSystem, name: str, message: Any) -> None:
        self.model[name] = self.model.get(name, 0) + message.amount

    async def answered(self, system: ActorSystem, name: str, message: Any, answer: Any) -> None:
        self.model[name] = self.model.get(name, 0) + message.amount
        assert answer == self.model[name]

    async def refused(self, system: ActorSystem, name: str, message: Any, error: Any) -> None:
        raise error

    async def check(self, system: ActorSystem) -> None:
        for name, total in self.model.items():
            assert await system.ref(Till, name).ask("?") == total


def test_all_rules_together() -> None:
    run_state_machine_as_test(Talks, settings=FEW)


def test_it_is_a_test_case_of_unittest() -> None:
    assert issubclass(Talks.TestCase, unittest.TestCase)


def test_a_model_is_of_a_running_script() -> None:
    with pytest.raises(UsageError, match="a model is of a running script"):
        Adds().model += 1


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"actors": [Till]}, r"actors must be a dict by name, such as \{'account': Account\}, got"),
        ({"actors": {"a/b": Till}}, "actors name must be 1 to 200 printable characters"),
        ({"always": "till"}, r"always must be names of actors in a tuple, such as \('account',\)"),
        ({"always": ("zz",)}, "always must be names of its actors, 'till', got 'zz'"),
        ({"faults": Died}, "faults must be some of Died, .*, in a tuple, got <class"),
        ({"faults": ("Died",)}, "faults must be some of Died, .*, in a tuple, got"),
        ({"options": 3}, r"options must be a dict of options of ActorSystem\.spawn"),
        ({"seed": "x"}, "seed must be a whole number, got 'x'"),
        ({"check": lambda self, system: None}, "check must be an async method: write `async def`"),
        ({"told": lambda *args: None}, "told must be an async method: write `async def`"),
    ],
)
def test_what_is_declared_wrongly_is_refused_when_the_class_is_made(
    declared: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"Wrong\.{says}"):
        type("Wrong", (Adds,), declared)


def test_what_a_subclass_may_still_declare_is_looked_at_when_it_is_used() -> None:
    class Base(SystemMachine):
        always: ClassVar[Any] = ("till",)

    class Whole(Base):
        actors: ClassVar[dict[str, Any]] = {"till": Till}

    Whole()
    with pytest.raises(ConfigurationError, match=r"Base\.always must be .* of which it has none"):
        Base()


async def of_an_amount(self: Any, system: ActorSystem, amount: int) -> None:
    raise AssertionError


async def of_nothing(self: Any, system: ActorSystem) -> None:
    self.model += 1


def plain(self: Any, system: ActorSystem) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: command(sum=st.integers())(of_an_amount), r"\(missing a required argument: 'amo"),
        (lambda: command()(of_an_amount), r"\(missing a required argument: 'amount'\), got \[\]"),
        (lambda: command(of_an_amount), r"\(missing a required argument: 'amount'\), got \[\]"),
        (lambda: command(x=st.integers())(of_nothing), "unexpected keyword argument 'x'"),
        (
            lambda: command(cast(Any, plain)),
            "@command plain must be an async method: write `async def`",
        ),
        (
            lambda: command(x=st.integers())(cast(Any, plain)),
            "@command plain must be an async method: write",
        ),
        (lambda: command(cast(Any, st.integers())), "@command must be an async method: write"),
    ],
)
def test_a_command_that_cannot_be_called_is_refused_at_once(
    declare: Callable[[], object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        declare()


def test_a_command_of_nothing_needs_no_parentheses() -> None:
    class Bare(Adds):
        again = command(of_nothing)

        async def check(self, system: ActorSystem) -> None:
            Adds.ran.append(self.model)

    Adds.ran.clear()
    state = Bare()
    state.again()
    state.teardown()

    assert Adds.ran == [0, 1]


def test_a_failure_says_that_the_script_does_it_again() -> None:
    state = AddsLazily()
    state.put(amount=1)
    state.kill(at_once=False)

    with pytest.raises(AssertionError) as failed:
        state.teardown()

    assert failed.value.__notes__ == [
        "again: run the script that Hypothesis prints, up to its teardown()"
    ]


def test_without_hypothesis_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import actorflow.testing as lab\n"
        "for use in (lambda: lab.SystemMachine, lab.flows, lab.fault_plans):\n"
        "    try:\n        use()\n    except ImportError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    hint = "needs hypothesis; install it with: pip install 'actorflow[test]'"
    assert done.stdout.splitlines() == [
        f"SystemMachine {hint}",
        f"flows {hint}",
        f"fault_plans {hint}",
    ], done.stderr
