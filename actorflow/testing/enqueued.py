"""What waits in a mailbox: for tests of what was sent, before anything has come of it.

await shop.tell(Order("tea"))
assert_enqueued(system, shop, Order("tea"))
await drain(system)
assert_enqueued(system, shop, count=0)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import trio

from actorflow import options
from actorflow.actors.system import ActorSystem
from actorflow.core.envelope import Envelope
from actorflow.errors import ConfigurationError
from actorflow.flows.looking import gathered
from actorflow.flows.run import Run
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.ref import ActorRef

__all__ = ["assert_enqueued", "drain"]

#: Stands for any message.
ANY: Any = object()

#: Messages that an error shows of those that wait.
SHOWN = 5


def assert_enqueued(
    house: ActorSystem | Run[Any, Any],
    where: ActorRef[Any] | str,
    message: Any = ANY,
    *,
    count: int | None = None,
) -> list[Any]:
    """*message* must wait for an actor of a system, or for a stage of a run.

    It waits in the mailbox, in the actor's stash, for a retry, behind another one of its key,
    for its batch, or for the end of its delay. What is being handled does not, nor does the
    tick of a timer that is not due. What a task is about to send it cannot see.

    Args:
        house: The system or the run.
        where: The actor, by its ref, path or name; the stage, by its name.
        message: What must wait, or the class that it must be of; any, if left out.
        count: How many of them, exactly; by default one or more.

    Returns:
        Those that are as wanted, in the order in which they would be handled if nothing waited
        for time.

    Raises:
        AssertionError: There are none, or more or fewer than *count*.
        ConfigurationError: There is no such actor or stage.
    """
    if count is not None:
        options.count("assert_enqueued() count", count, least=0)
    path, waiting = _stage(house, where) if isinstance(house, Run) else _actor(house, where)
    bodies = [each.body for each in waiting]
    found = [body for body in bodies if _is_wanted(body, message)]
    if len(found) == count or (count is None and found):
        return found
    named = f"a {message.__name__}" if isinstance(message, type) else f"{message!r:.200}"
    wanted = "a message" if message is ANY else named
    times = "" if count is None else f" (count={count})"
    shown = ", ".join(f"{body!r:.80}" for body in bodies[:SHOWN])
    more = f" and {len(bodies) - SHOWN} more" if len(bodies) > SHOWN else ""
    there = f"what waits there: {shown}{more}" if bodies else "nothing waits there"
    raise AssertionError(f"{path}: expected {wanted} to wait{times}, found {len(found)}; {there}")


async def drain(system: ActorSystem, *, timeout: float = 5.0) -> None:
    """Let *system* work until no message waits or is handled any more; it goes on afterwards.

    Args:
        system: Retries and delayed messages are waited for, ticks of timers not.
        timeout: Longest wait in seconds, on trio's clock.

    Raises:
        AssertionError: Messages are left after that time.
        ConfigurationError: It is no system.
        NotRunningError: It is not running.
    """
    options.seconds("drain() timeout", timeout)
    if not isinstance(system, ActorSystem):
        wanted = "an ActorSystem; of a run, await run.finish() waits for all items"
        raise ConfigurationError("drain() system", system, wanted)
    kernel = system._running().kernel
    with trio.move_on_after(timeout) as scope:
        await kernel.quiet()
        await trio.lowlevel.checkpoint()
    if scope.cancelled_caught and kernel.held:
        text = f"/{kernel.name}: {kernel.held} messages wait, or are handled, after {timeout:g} s"
        raise AssertionError(f"{text}; system.stats() and system.tree() tell of them")


def _is_wanted(body: Any, message: Any) -> bool:
    if message is ANY:
        return True
    if isinstance(message, type):
        return isinstance(body, message) or body is message
    return bool(body == message)


def _actor(house: Any, where: Any) -> tuple[str, Iterator[Envelope]]:
    """The path of an actor, and the messages that wait for it."""
    if not isinstance(house, ActorSystem):
        wanted = "an ActorSystem, or a run, such as flow.open(...) gives"
        raise ConfigurationError("assert_enqueued() house", house, wanted)
    kernel = house._running().kernel
    path = where.path if isinstance(where, ActorRef) else where
    node: Any = None
    if isinstance(path, str):
        node = kernel.nodes.get(path) or kernel.nodes.get(f"/{kernel.name}/{path}")
    mailbox = getattr(node, "mailbox", None)
    if mailbox is None:
        wanted = f"the ref, name or path of a living actor of {kernel.name!r}"
        raise ConfigurationError("assert_enqueued() where", where, wanted)
    return node.path, chain(mailbox.messages(), node.stash or (), _delayed(kernel, mailbox))


def _delayed(kernel: Any, mailbox: Mailbox) -> Iterator[Envelope]:
    """What comes into *mailbox* at the end of a delay, the next one first."""
    for _, _, action, argument in sorted(kernel.heap.entries(), key=lambda entry: entry[:2]):
        if isinstance(argument, Envelope) and getattr(action, "__self__", None) is mailbox:
            yield argument
        elif isinstance(argument, tuple) and argument[:1] == (mailbox,):  # Of a durable actor.
            yield argument[1]


def _stage(run: Run[Any, Any], where: Any) -> tuple[str, Iterator[Envelope]]:
    """The path of a stage, and the messages that wait for it."""
    if not isinstance(where, str) or where not in run.stages:
        wanted = f"the name of a stage, one of {', '.join(map(repr, run.stages))}"
        raise ConfigurationError("assert_enqueued() where", where, wanted)
    stage = run.stages[where]
    batches = (envelope for envelope, _ in gathered(where, run._wiring.gathers))
    return stage.path, chain(stage.mailbox.messages(), batches)
