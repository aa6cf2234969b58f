"""A state machine for a system of yours: commands, a model, and what must be true after each.

    class Bank(SystemMachine):
        actors = {"account": Account}
        always = ("account",)

        def new_model(self):
            return 0

        @command(amount=st.integers(1, 9))
        async def deposit(self, system, amount):
            await system.ref(Account, "account").tell(Deposit(amount))
            self.model += amount

        async def check(self, system):
            assert await system.ref(Account, "account").ask("balance") == self.model

    TestBank = Bank.TestCase

Rules only write a script; when it is complete one simulation runs it, in virtual time. So a
machine needs no event loop of its own, and what Hypothesis shrinks and prints is the script.
After each command the system becomes quiet and `check` is called, unless a ``kill(at_once=True)``
follows, which takes down whatever is still on its way; what `crash` and `fault` plan strikes the
command after them. With `faults` the process also dies in the middle of a command, which then is
begun again, as by a client that got no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, overload

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow.actors.seen import TreeNode
from actorflow.actors.system import ActorSystem
from actorflow.errors import ActorFlowError, MissingExtra, UsageError
from actorflow.policies.backoff import Fixed
from actorflow.policies.retry import Retry
from actorflow.runtime.actor import Actor
from actorflow.runtime.ref import ActorRef
from actorflow.testing.draws import strategy_of
from actorflow.testing.fault_strategies import Range, draw_fault
from actorflow.testing.faults import Fault, HandlerCrashes
from actorflow.testing.machine_script import (
    Body,
    Command,
    Progress,
    check_arguments,
    check_async,
    check_declared,
    plannable,
)
from actorflow.testing.simulate import simulate
from actorflow.testing.world import World

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
except ImportError as error:
    raise MissingExtra("SystemMachine", "hypothesis", "test") from error

__all__ = ["LASTING", "SystemMachine", "command"]

#: Durable, and no crash is the end of a message.
LASTING: Mapping[str, Any] = {"durable": True, "policies": (Retry(5, backoff=Fixed(0.0)),)}

#: Most steps of a script's simulation.
MAX_STEPS = 1_000_000

#: Most moments, and the seconds of each, that a system is waited for which has mail: some of it may
#: be kept for later.
MOMENTS = 20
MOMENT = 0.01

#: How far from where it is planned something goes wrong.
REACH = Range(max_step=20, max_commit=2, max_turn=2)


#: Methods that are awaited.
AWAITED = ("check", "told", "answered", "refused", "interrupted")


@overload
def command(body: Body, /) -> Any: ...
@overload
def command(**strategies: Any) -> Callable[[Body], Any]: ...
def command(body: Body | None = None, /, **strategies: Any) -> Any:
    """A rule of a `SystemMachine`: an async method of ``(self, system, ...)``, which is called when
    the script is run.

    Args:
        body: The method, of a command that takes nothing else: ``@command`` alone.
        **strategies: Of its other arguments.

    Raises:
        ConfigurationError: The method is not async, or its arguments are others.
    """

    def declare(body: Body) -> Any:
        name = f"@command {getattr(body, '__qualname__', '')}".rstrip()
        check_async(name, body)
        check_arguments(name, body, strategies)

        def write(self: SystemMachine, **args: Any) -> None:
            self.script.append(Command(body, args))

        write.__name__, write.__doc__ = body.__name__, body.__doc__
        declared: Any = rule(**strategies)
        return declared(write)

    return declare if body is None else declare(body)


def _say_again(error: BaseException) -> None:
    """What does it again is the script, which Hypothesis prints, and no call of `simulate`."""
    notes = getattr(error, "__notes__", [])
    if notes and notes[-1].startswith("again: simulate("):
        notes[-1] = "again: run the script that Hypothesis prints, up to its teardown()"


def _of(choices: Callable[[Any], Any]) -> Any:
    """A strategy that is a function of the machine."""
    return st.runner().flatmap(choices)


async def _quiet(system: ActorSystem) -> None:
    """Wait until nothing moves any more, and all that has moved is on the disk."""
    for _ in range(MOMENTS):
        await wait_all_tasks_blocked()
        await system.settled()
        if not _waiting(system.tree()):
            return
        await trio.sleep(MOMENT)


def _waiting(node: TreeNode) -> bool:
    return node.waiting > 0 or any(map(_waiting, node.children))


class SystemMachine(RuleBasedStateMachine):
    """A state machine of Hypothesis over an `ActorSystem` on a disk that outlives its process.

    It has the rules `spawn`, `tell`, `ask`, `crash`, `fault`, `advance` and `kill`; add your own
    with `command`. ``Bank.TestCase`` is a test, and `run_state_machine_as_test` runs it by itself.
    What is declared wrongly is a `ConfigurationError` when the class is made.

    Attributes:
        actors: What there may be, by name: what `ActorSystem.spawn` takes.
        always: Names of those that are there from the beginning; the others come by `spawn`.
        options: For `ActorSystem.spawn`; `LASTING` by default.
        messages: Strategy of what `tell` and `ask` send; without it they are not used.
        faults: Kinds of faults that `fault` plans; without any it is not used. Those of handlers
            need a policy that retries.
        seed: Of the simulation.
        script: The commands.
    """

    actors: ClassVar[Mapping[str, Any]] = {}
    always: ClassVar[Collection[str]] = ()
    options: ClassVar[Mapping[str, Any]] = LASTING
    messages: ClassVar[Any] = None
    faults: ClassVar[Collection[type[Fault]]] = ()
    seed: ClassVar[int] = 0

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        check_declared(cls.__name__, cls, whole=False)
        for name in AWAITED:
            check_async(f"{cls.__name__}.{name}", getattr(cls, name))

    def __init__(self) -> None:
        super().__init__()
        check_declared(type(self).__name__, self, whole=True)
        self.script: list[Command] = []
        self._names = sorted(self.always)
        self._progress: Progress | None = None
        self._life: Any = None
        self._faults = plannable(type(self).__name__, self.faults)

    # For you --------------------------------------------------------------------------

    def new_model(self) -> Any:
        """What `model` is at first."""
        return None

    async def check(self, system: ActorSystem) -> None:
        """What must be true after each command, when nothing moves any more."""

    async def told(self, system: ActorSystem, name: str, message: Any) -> None:
        """`tell` has returned: *message* is accepted."""

    async def answered(self, system: ActorSystem, name: str, message: Any, answer: Any) -> None:
        """`ask` has returned."""

    async def refused(
        self, system: ActorSystem, name: str, message: Any, error: ActorFlowError
    ) -> None:
        """`tell` or `ask` has raised *error*: *message* may have been handled or not."""

    async def interrupted(self, system: ActorSystem, line: Command) -> None:
        """The process has died during the command *line*, before it came to its end: whatever it
        does may be done or not. It is begun again, with the same `number`."""
        assert line.body is not None
        await line.body(self, system, **line.args)

    @property
    def number(self) -> int:
        """Of the command that runs, from 1; the same when it is begun again. A message that has it
        can be known again."""
        return self._running().done

    @property
    def model(self) -> Any:
        """What you believe of the system; survives every kill, and must be a value that can be
        copied."""
        return self._running().model

    @model.setter
    def model(self, value: Any) -> None:
        self._running().model = value

    # Rules ----------------------------------------------------------------------------

    @precondition(lambda self: len(self._names) < len(self.actors))
    @rule(name=_of(lambda machine: st.sampled_from(machine._missing())))
    def spawn(self, name: str) -> None:
        """Spawn one of `actors`."""
        self._names.append(name)
        self._add(SystemMachine._spawned, name=name)

    @precondition(lambda self: self._names and self.messages is not None)
    @rule(
        name=_of(lambda machine: st.sampled_from(machine._names)),
        message=_of(lambda machine: machine.messages),
    )
    def tell(self, name: str, message: Any) -> None:
        """Tell an actor something."""
        self._add(SystemMachine._tell, name=name, message=message)

    @precondition(lambda self: self._names and self.messages is not None)
    @rule(
        name=_of(lambda machine: st.sampled_from(machine._names)),
        message=_of(lambda machine: machine.messages),
    )
    def ask(self, name: str, message: Any) -> None:
        """Ask an actor something."""
        self._add(SystemMachine._ask, name=name, message=message)

    @precondition(lambda self: self._names)
    @rule(name=_of(lambda machine: st.sampled_from(machine._names)), resume=st.integers(0, 3))
    def crash(self, name: str, resume: int) -> None:
        """The next turn of an actor crashes: before it begins, or where it goes on after its
        *resume*-th wait."""
        self._add(SystemMachine._crash, name=name, resume=resume)

    @precondition(lambda self: self._faults)
    @rule(fault=_of(lambda machine: machine._next_faults()))
    def fault(self, fault: Fault) -> None:
        """Something goes wrong soon, in this life of the process. It is counted from here on:
        ``Died(commit=1)`` is at the next commit, ``HandlerCrashes(path, 1)`` in the next turn."""
        self._add(SystemMachine._plan, fault=fault)

    @rule(seconds=st.sampled_from([1, 30, 300]))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._add(SystemMachine._advance, seconds=seconds)

    @rule(at_once=st.booleans())
    def kill(self, at_once: bool) -> None:
        """The process dies as by ``kill -9``, and begins anew on what the disk has: when the system
        is quiet, or at once, with whatever is still on its way."""
        self._add(None, at_once=at_once)

    def teardown(self) -> None:
        """Run the script."""
        try:
            simulate(self._main, seed=self.seed, max_steps=MAX_STEPS)
        except BaseException as error:
            _say_again(error)
            raise

    # Running it -----------------------------------------------------------------------

    def _next_faults(self) -> Any:
        reach = attrs.evolve(REACH, paths=tuple(f"/system/{name}" for name in sorted(self.actors)))
        return strategy_of("fault", lambda draws: draw_fault(draws, self._faults, reach))

    def _missing(self) -> list[str]:
        return sorted(set(self.actors) - set(self._names))

    def _add(self, body: Body | None, **args: Any) -> None:
        self.script.append(Command(body, args))

    def _goes_on_at_once(self, number: int) -> bool:
        """Whether nobody looks before this line of the script: it kills the process at once, or the
        one before has only planned what is to strike it."""
        if number == len(self.script):
            return False
        before, line = self.script[number - 1], self.script[number]
        at_once = line.body is None and bool(line.args["at_once"])
        return at_once or before.body in (SystemMachine._crash, SystemMachine._plan)

    def _running(self) -> Progress:
        if self._progress is None:
            raise UsageError("a model is of a running script; use it in commands and in check()")
        return self._progress

    async def _main(self, world: World) -> None:
        kept: Any = vars(world)
        if "machine" not in kept:
            kept["machine"] = Progress(0, sorted(self.always), self.new_model())
        self._progress = progress = kept["machine"]
        self._life = world._life
        self._life.handlers.watch(f"/system/{name}" for name in self.actors)
        async with ActorSystem("system", store=world.store) as system:
            for name in progress.spawned:
                await system.spawn(self.actors[name], name=name, **self.options)
            if progress.interrupted:
                await self.interrupted(system, self.script[progress.done - 1])
                progress.interrupted = False
            await self._look(system)
            while progress.done < len(self.script):
                line = self.script[progress.done]
                progress.done += 1
                if line.body is None:
                    world.crash()
                progress.interrupted = True
                await line.body(self, system, **line.args)
                progress.interrupted = False
                if not self._goes_on_at_once(progress.done):
                    await self._look(system)

    async def _look(self, system: ActorSystem) -> None:
        await _quiet(system)
        await self.check(system)
        if self._faults:
            await _quiet(system)  # What a check has sent is not what a fault is to strike.

    # Commands -------------------------------------------------------------------------

    async def _spawned(self, system: ActorSystem, name: str) -> None:
        await system.spawn(self.actors[name], name=name, **self.options)
        self._running().spawned.append(name)

    async def _tell(self, system: ActorSystem, name: str, message: Any) -> None:
        try:
            await self._ref(system, name).tell(message)
        except ActorFlowError as error:
            await self.refused(system, name, message, error)
        else:
            await self.told(system, name, message)

    async def _ask(self, system: ActorSystem, name: str, message: Any) -> None:
        try:
            answer = await self._ref(system, name).ask(message)
        except ActorFlowError as error:
            await self.refused(system, name, message, error)
        else:
            await self.answered(system, name, message, answer)

    async def _crash(self, system: ActorSystem, name: str, resume: int) -> None:
        self._life.plan(HandlerCrashes(f"/system/{name}", 1, resume=resume))

    async def _plan(self, system: ActorSystem, fault: Fault) -> None:
        self._life.plan(fault)

    async def _advance(self, system: ActorSystem, seconds: float) -> None:
        await trio.sleep(seconds)

    @staticmethod
    def _ref(system: ActorSystem, name: str) -> ActorRef[Any]:
        return system.ref(Actor, name)
