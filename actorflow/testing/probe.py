"""An actor that a test holds in its hands: what was sent to it, in order.

    probe = Probe()
    await system.spawn(probe, name="probe")
    await shop.tell(Order("tea", to=probe.ref))

    await probe.expect(Shipped("tea"))
    probe.expect_nothing()

The `Probe` that a test has and the actor that lives in the system share one list. Waits
are as long as they must be on a real clock, and take no time on a virtual one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator
from typing import Any

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import options
from actorflow.errors import UsageError
from actorflow.runtime.actor import Actor
from actorflow.runtime.ref import ActorRef
from actorflow.runtime.turn import Turn

__all__ = ["Probe"]

#: Messages that an error shows of those that came before.
SHOWN = 5


@attrs.define(eq=False)
class _Inbox:
    """What the actor and the test share."""

    ref: ActorRef[Any] | None = None
    unread: deque[Any] = attrs.Factory(deque)
    read: list[Any] = attrs.Factory(list)
    came: trio.Event = attrs.Factory(trio.Event)


class Probe(Actor):
    """Takes every message, and lets a test look at them one after the other.

    Args:
        answer: What answers an ask: a value, or a plain function of the message.
        watches: Refs whose end it wants to hear of: one `Down` each.
    """

    answer: Any = None
    watches: Collection[ActorRef[Any]] = ()
    inbox: _Inbox = attrs.field(factory=_Inbox, init=False, repr=False)

    # As an actor ------------------------------------------------------------------------

    async def on_start(self, ctx: Turn) -> None:
        """Become known to the test.

        Raises:
            UsageError: It is another living actor already: `ref` and waits are of one.
        """
        other = self.inbox.ref
        if other is not None and other.path != ctx.self.path and other.cell.ended is None:
            text = f"this Probe is the actor {other.path} already; spawn another Probe()"
            raise UsageError(f"{ctx.self.path}: {text}")
        self.inbox.ref = ctx.self
        for ref in self.watches:
            ctx.watch(ref)

    async def receive(self, message: Any, ctx: Turn) -> Any:
        """Keep the message for the test."""
        self.inbox.unread.append(message)
        self.inbox.came.set()
        answer: Callable[[Any], Any] | Any = self.answer
        return answer(message) if callable(answer) else answer

    # For the test -----------------------------------------------------------------------

    @property
    def ref(self) -> ActorRef[Any]:
        """Its ref, once it was spawned.

        Raises:
            UsageError: It was not.
        """
        if self.inbox.ref is None:
            raise UsageError("this Probe is not an actor yet; await system.spawn(probe) first")
        return self.inbox.ref

    @property
    def messages(self) -> tuple[Any, ...]:
        """All that has come so far, read or not."""
        return (*self.inbox.read, *self.inbox.unread)

    async def next(self, *, timeout: float = 5.0) -> Any:
        """The next message that was not read, waiting for it.

        Args:
            timeout: Longest wait in seconds, on trio's clock.

        Raises:
            AssertionError: None came in time.
        """
        return await self._next(timeout, "a message")

    async def expect(self, message: Any, *, timeout: float = 5.0) -> Any:
        """The next message, which must be *message*.

        Args:
            message: What must come, or the class that it must be of.
            timeout: Longest wait in seconds, on trio's clock.

        Raises:
            AssertionError: Another came, or none in time.
        """
        wanted = f"a {message.__name__}" if isinstance(message, type) else repr(message)
        came = await self._next(timeout, wanted)
        if isinstance(message, type) and isinstance(came, message):
            return came
        if came != message:
            raise self._wrong(f"expected {wanted}, got {came!r}", but=1)
        return came

    def expect_nothing(self, seconds: float = 0.0) -> _Silence:
        """There must be no message that was not read; checked at once.

        What is on its way it cannot see. Awaited, it lets the system work until nothing
        happens any more, then *seconds* pass, and checks again:
        ``await probe.expect_nothing(60)``.

        Raises:
            AssertionError: There is one.
        """
        options.seconds("expect_nothing() seconds", seconds)
        self.check_silence()
        return _Silence(self, seconds)

    def check_silence(self) -> None:
        """What `expect_nothing` does at once."""
        waiting = list(self.inbox.unread)
        if self.inbox.ref is not None:
            waiting += [each.body for each in self.inbox.ref.cell.mailbox.messages()]
        if waiting:
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            raise self._wrong(f"expected nothing, got {waiting[0]!r}{more}")

    async def _next(self, timeout: float, wanted: str) -> Any:
        inbox = self.inbox
        options.seconds("Probe timeout", timeout)
        with trio.move_on_after(timeout):
            while not inbox.unread:
                inbox.came = trio.Event()
                await inbox.came.wait()
        if not inbox.unread:
            raise self._wrong(f"expected {wanted} within {timeout:g} s, none came")
        inbox.read.append(inbox.unread.popleft())
        return inbox.read[-1]

    def _wrong(self, problem: str, *, but: int = 0) -> AssertionError:
        """The error about *problem*, with what was read before, without the last *but*."""
        inbox = self.inbox
        where = "probe" if inbox.ref is None else f"probe {inbox.ref.path}"
        read = inbox.read[: len(inbox.read) - but][-SHOWN:]
        before = f"; before it came {', '.join(map(repr, read))}" if read else ""
        return AssertionError(f"{where}: {problem}{before}")


class _Silence:
    """What `expect_nothing` answers; may be awaited."""

    def __init__(self, probe: Probe, seconds: float) -> None:
        self._probe, self._seconds = probe, seconds

    def __await__(self) -> Generator[Any, Any, None]:
        return self._last().__await__()

    async def _last(self) -> None:
        await wait_all_tasks_blocked()
        if self._seconds:
            await trio.sleep(self._seconds)
            await wait_all_tasks_blocked()
        self._probe.check_silence()
