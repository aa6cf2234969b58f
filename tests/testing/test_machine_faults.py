"""Faults that a state machine plans between its commands: what dies in the middle of one."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from actorflow import Actor, ActorSystem, ConfigurationError, Turn, actor, message
from actorflow.testing import (
    CommitFails,
    CommitRepeated,
    CommitTorn,
    CommitUnreported,
    Died,
    HandlerCancelled,
    HandlerCrashes,
    MainCancelled,
    SuffixLost,
    SystemMachine,
    command,
)


@message(tag="tests.machine.payment")
class Payment:
    number: int
    amount: int


@actor("tests.machine.purse")
class Purse(Actor):
    """Adds up payments; knows those it has had."""

    total: int = 0
    had: tuple[int, ...] = ()

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, Payment) and body.number not in self.had:
            self.total += body.amount
            self.had = (*self.had, body.number)
        return self.total


@actor("tests.machine.sieve")
class Sieve(Purse):
    """A planted bug: it forgets what it had."""

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, Payment):
            self.total += body.amount
        return self.total


class Pays(SystemMachine):
    """What is paid counts once, whatever happens while it is paid."""

    actors: ClassVar[dict[str, Any]] = {"purse": Purse}
    always = ("purse",)
    faults: ClassVar[Any] = (
        Died,
        MainCancelled,
        CommitFails,
        CommitTorn,
        CommitUnreported,
        CommitRepeated,
        HandlerCrashes,
        HandlerCancelled,
    )
    lives: ClassVar[set[int]] = set()

    def new_model(self) -> int:
        return 0

    @command(amount=st.integers(1, 9))
    async def pay(self, system: ActorSystem, amount: int) -> None:
        """Pay something in."""
        await system.ref(Purse, "purse").tell(Payment(self.number, amount))
        self.model += amount

    async def check(self, system: ActorSystem) -> None:
        self.lives.add(self._life.number)
        assert await system.ref(Purse, "purse").ask("?") == self.model


class PaysIntoSieve(Pays):
    actors: ClassVar[dict[str, Any]] = {"purse": Sieve}
    faults = (Died,)


MANY = settings(
    max_examples=200,
    stateful_step_count=6,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
)


def test_a_system_that_keeps_its_promise_passes_under_all_of_them() -> None:
    Pays.lives.clear()

    run_state_machine_as_test(Pays, settings=settings(MANY, max_examples=40))

    assert max(Pays.lives) > 2


def test_a_planted_bug_shrinks_to_a_fault_and_the_command_that_it_strikes() -> None:
    with pytest.raises(AssertionError) as found:
        run_state_machine_as_test(PaysIntoSieve, settings=MANY)

    notes = "\n".join(found.value.__notes__)
    script = [line.strip() for line in notes.splitlines() if "state." in line]
    assert len(script) == 3, notes
    assert re.fullmatch(
        r"state\.fault\(fault=Died\((step=\d+|commit=1, when='after')\)\)", script[0]
    )
    assert script[1:] == ["state.pay(amount=1)", "state.teardown()"]


def test_what_it_prints_can_be_run_again() -> None:
    state = PaysIntoSieve()
    state.fault(fault=Died(commit=1, when="after"))
    state.pay(amount=1)

    with pytest.raises(AssertionError):
        state.teardown()


class Looks(Pays):
    """Notes which command is run in which life."""

    faults = (Died,)
    ran: ClassVar[list[tuple[int, int]]] = []

    @command(amount=st.integers(1, 9))
    async def pay(self, system: ActorSystem, amount: int) -> None:
        """Pay something in."""
        self.ran.append((self._life.number, self.number))
        await system.ref(Purse, "purse").tell(Payment(self.number, amount))
        self.model += amount


@pytest.mark.parametrize("fault", [Died(commit=1), Died(commit=1, when="after"), Died(step=4)])
def test_a_fault_counts_from_where_it_is_planned_and_its_command_is_begun_again(fault: Any) -> None:
    Looks.ran.clear()
    state = Looks()
    state.pay(amount=1)
    state.pay(amount=2)
    state.fault(fault=fault)
    state.pay(amount=3)
    state.pay(amount=4)
    state.teardown()

    assert Looks.ran == [(1, 1), (1, 2), (1, 4), (2, 4), (2, 5)]


def test_a_machine_may_look_itself_what_became_of_an_interrupted_command() -> None:
    class Asks(Looks):
        actors: ClassVar[dict[str, Any]] = {"purse": Sieve}

        async def interrupted(self, system: ActorSystem, line: Any) -> None:
            assert line.args == {"amount": 3}
            self.model = await system.ref(Purse, "purse").ask("?")

    Looks.ran.clear()
    state = Asks()
    state.pay(amount=1)
    state.fault(fault=Died(commit=1, when="after"))
    state.pay(amount=3)
    state.pay(amount=5)
    state.teardown()

    assert Looks.ran == [(1, 1), (1, 3), (2, 4)]


def test_a_fault_that_no_system_gets_over_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Wrong\.faults must be some of Died, "):

        class Wrong(Pays):
            faults: ClassVar[Any] = (Died, SuffixLost)
