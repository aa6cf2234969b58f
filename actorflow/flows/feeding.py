"""Feed a run: from a source into a mailbox, as there is room in the mailbox and the window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import trio

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.errors import ConfigurationError
from actorflow.flows.ledger import Ledger
from actorflow.flows.settings import RunSettings
from actorflow.flows.sources import Malformed
from actorflow.policies.decision import Wait
from actorflow.runtime.mailbox import Mailbox

__all__ = ["Feeder"]

#: Entries pulled from a source at a time at the most.
BLOCK = 256


class Feeder:
    """All feeding of one run; several tasks may feed at once.

    Args:
        ledger: The run's account.
        settings: Where the flow's own rate and deadline are.
    """

    def __init__(self, ledger: Ledger, settings: RunSettings) -> None:
        self._ledger = ledger
        self._rate = settings.rate
        self._deadline = settings.deadline
        self._scopes: set[trio.CancelScope] = set()
        self._stopped = False

    def cancel(self) -> None:
        """Stop reading: every `feed` returns with what has been accepted."""
        self._stopped = True
        for scope in self._scopes:
            scope.cancel()

    async def feed(
        self,
        source: Any,
        mailbox: Mailbox,
        priority: int,
        ids: Any,
        accepted: list[Any] | None,
    ) -> None:
        """Feed *source* to its end, or until the run stops reading.

        Args:
            source: Where the items come from; closed at the end.
            mailbox: The mailbox of the stage that is fed.
            priority: Of the items.
            ids: Ids for the items, or `None` for their numbers.
            accepted: Gets the id of each item that was accepted, if given.
        """
        names = None if ids is None else iter(ids)
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._feed(source, mailbox, priority, names, accepted)
            finally:
                self._scopes.discard(scope)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
                    await source.aclose()

    async def _feed(
        self,
        source: Any,
        mailbox: Mailbox,
        priority: int,
        names: Iterator[Any] | None,
        accepted: list[Any] | None,
    ) -> None:
        ledger = self._ledger
        while not self._stopped and not ledger.closed:
            most = await self._room(mailbox)
            if not most:
                return
            entries = await source.pull(most)
            if not entries:
                return
            now = ledger.kernel.now()
            for entry in entries:
                if type(entry) is Malformed:
                    ledger.malformed(entry.place, entry.text, entry.error)
                    continue
                envelope = Envelope(entry, ledger.fed)
                envelope.born = now
                if self._deadline is not None:
                    envelope.deadline = now + self._deadline
                if priority != DEFAULT_PRIORITY:
                    envelope.priority = priority
                if names is not None:
                    self._name(envelope, names)
                ledger.fed += 1
                mailbox.put(envelope)
                if accepted is not None:
                    accepted.append(ledger.ids.get(envelope.root, envelope.root))

    def _name(self, envelope: Envelope, names: Iterator[Any]) -> None:
        try:
            self._ledger.ids[envelope.root] = next(names)
        except StopIteration:
            raise ConfigurationError("feed() ids", "fewer ids", "as many ids as items") from None

    async def _room(self, mailbox: Mailbox) -> int:
        """Wait until something may be fed; answers how much, 0 if the input was closed."""
        ledger = self._ledger
        while True:
            if ledger.room() <= 0:
                await ledger.wait_for_room()
                if ledger.closed:
                    return 0
                continue
            free = mailbox.free() if mailbox.overflow == "block" else BLOCK
            if mailbox.overflow == "block" and not mailbox.has_room():
                # Woken for every place, the feeder would cost more than the work it brings.
                await mailbox.wait_for_room(max(1, mailbox.capacity // 4))
                if ledger.room() <= 0:
                    mailbox.room_made()
                    continue
                free = max(mailbox.free(), 1)
            if self._rate is not None:
                await self._wait_for_rate()
                return 1
            return max(1, min(free, ledger.room(), BLOCK))

    async def _wait_for_rate(self) -> None:
        """Wait until the flow's rate limits admit one more item, and take it."""
        now = self._ledger.kernel.now
        while True:
            answer = self._rate.ready(now(), None)
            if not isinstance(answer, Wait):
                break
            await trio.sleep(answer.seconds or 0.0)
        self._rate.take(now(), None)
