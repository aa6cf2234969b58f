"""Feed a run: from a source into a mailbox, as there is room in the mailbox and the window.

    source ──► pull(as many as there is room for) ──► in hand ──► accept ──► mailbox

A source is asked only when there is room, and for no more than that. Where several
tasks feed at once the room may be gone when the source answers: then its entries stay
in hand until there is room again. What is in hand when the run stops reading is
accepted all the same, so that nothing that was read is lost.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeAlias

import trio

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.core.letters import Unreadable
from actorflow.errors import ConfigurationError, DecodeError, EncodeError, MailboxFull, shown
from actorflow.flows.ledger import Ledger
from actorflow.flows.progress import Progress
from actorflow.flows.settings import RunSettings
from actorflow.flows.sources import IterableSource, Malformed
from actorflow.policies.decision import Wait
from actorflow.runtime.bodies import FROZEN, as_given, put_as_fed
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.telling import tell_accepted
from actorflow.wire.codec import encode

__all__ = ["Feeder", "Noted", "check_ids"]

#: Is told of a message.
Noted: TypeAlias = Callable[[Envelope], None]

#: Entries pulled from a source at a time at the most.
BLOCK = 256

#: Seconds a source has to close.
CLOSE_SECONDS = 5.0


class Feeder:
    """All feeding of one run; several tasks may feed at once.

    Args:
        ledger: The run's account.
        settings: Where the flow's own rate and deadline are.
    """

    def __init__(self, ledger: Ledger, settings: RunSettings) -> None:
        self._ledger = ledger
        self._rate: Any = None if settings.rate is None else settings.rate.gate
        self._deadline = settings.deadline
        self._feedings: dict[_Feeding, trio.CancelScope] = {}
        self._stopped = False

    def cancel(self) -> bool:
        """Stop reading: every `feed` accepts what it has in hand and returns.

        Answers whether one was cut short of which nobody keeps how far it has come.
        """
        if self._stopped:
            return False
        self._stopped = True
        unkept = any(each.accepted is not None for each in self._feedings)
        for feeding, scope in self._feedings.items():
            # Fewer ids than items, or one that cannot be kept: no more items.
            with contextlib.suppress(ConfigurationError, EncodeError):
                feeding.accept(len(feeding.in_hand))
            scope.cancel()
        return unkept

    def feed_at_once(
        self, items: Any, mailbox: Mailbox, priority: int, ids: Any, noted: Noted | None = None
    ) -> list[Any] | None:
        """Accept a few *items* without waiting for anybody; `None` if that cannot be done.

        Most calls that feed an item or two need neither a source nor a scope.
        """
        if type(items) not in (list, tuple) or self._stopped or self._rate is not None:
            return None
        names = None if ids is None else iter(ids)
        accepted: list[Any] = []
        feeding = _Feeding(self._ledger, mailbox, priority, self._deadline, names, accepted)
        if mailbox.overflow != "block" or feeding.room() < len(items):
            return None
        feeding.noted = noted
        feeding.in_hand.extend(items)
        feeding.accept(len(items))
        return accepted

    async def feed(
        self,
        source: Any,
        mailbox: Mailbox,
        priority: int,
        ids: Any,
        accepted: list[Any] | None,
        keep: Callable[[Progress], Any] | None = None,
        noted: Noted | None = None,
    ) -> bool:
        """Feed *source*; answers whether that was to its end, or the run stopped reading.

        Args:
            source: Where the items come from; closed at the end.
            mailbox: The mailbox of the stage that is fed.
            priority: Of the items.
            ids: Ids for the items, or `None` for their numbers.
            accepted: Gets the id of each item that was accepted, if given.
            keep: Of a durable run: takes what tells how far the source was read, and gives what
                that told in an earlier part of the run, or `None`.
            noted: Told of each message right before it is accepted.

        Raises:
            ConfigurationError: There are fewer ids than items.
            EncodeError: An item cannot be kept, and *accepted* is given.
            MailboxFull: The mailbox is full and its stage says ``overflow="fail"``.
            Exception: What the source raised.
        """
        names = None if ids is None else iter(ids)
        feeding = _Feeding(self._ledger, mailbox, priority, self._deadline, names, accepted)
        feeding.noted = noted
        if isinstance(source, IterableSource):
            source.taken = None if self._ledger.kernel.nodes[mailbox.path].shares else as_given
        progress = None if keep is None else Progress(source, feeding.in_hand)
        with trio.CancelScope() as scope:
            self._feedings[feeding] = scope
            try:
                if progress is None or keep is None:
                    return await self._feed(source, feeding)
                if not await progress.resume(keep(progress), self._ledger.run_id):
                    return True
                return await self._feed(progress, feeding)
            finally:
                del self._feedings[feeding]
                try:
                    if progress is not None:
                        progress.close()
                finally:
                    with trio.move_on_after(CLOSE_SECONDS, shield=True):
                        await source.aclose()
        return False

    async def _feed(self, source: Any, feeding: _Feeding) -> bool:
        in_hand, pulled, total = feeding.in_hand, 0, getattr(source, "total", None)
        while in_hand and not self._stopped:  # Of an earlier part of the run.
            feeding.accept(min(await self._room(feeding, promised=True), len(in_hand)))
        while not self._stopped:
            if pulled == total and (self._rate is not None or feeding.room() <= 0):
                return True  # Its end is known; who feeds need not wait to hear of it.
            most = await self._room(feeding)
            if self._rate is not None:
                await self._wait_for_rate()
            entries = await source.pull(most if self._rate is None else 1)
            if not entries:
                return True
            in_hand.extend(entries)
            pulled += len(entries)
            while in_hand:
                if self._rate is not None:
                    await self._wait_for_rate()
                    self._rate.take(self._ledger.kernel.now(), None)
                room = feeding.room()
                if room <= 0:
                    room = await self._room(feeding, promised=True)
                feeding.accept(min(room, len(in_hand)))
        return False

    async def _room(self, feeding: _Feeding, *, promised: bool = False) -> int:
        """Wait until something may be fed; answers how much.

        Args:
            promised: Entries are in hand and accepted before the next await, so a place that the
                mailbox has promised is kept.
        """
        mailbox, ledger = feeding.mailbox, self._ledger
        while True:
            if ledger.room() <= 0:
                await ledger.wait_for_room()
                if ledger.closed:
                    await trio.sleep_forever()  # The run stops reading in this very moment.
            room = feeding.room()
            if room > 0:
                return room
            if ledger.room() > 0:
                # Woken for every place, the feeder would cost more than the work it brings.
                await mailbox.wait_for_room(max(1, mailbox.capacity // 4))
                room = min(ledger.room(), max(mailbox.free(), 1), BLOCK)
                if not promised or room <= 0:
                    mailbox.room_made()  # Others may wait for it.
                if room > 0:
                    return room

    async def _wait_for_rate(self) -> None:
        """Wait until the flow's rate limits admit one more item."""
        while True:
            answer = self._rate.ready(self._ledger.kernel.now(), None)
            if not isinstance(answer, Wait):
                return
            await trio.sleep(answer.seconds or 0.0)


class _Feeding:
    """One source on its way into one mailbox.

    Attributes:
        in_hand: What has been read and not been accepted yet.
        noted: Told of each message right before it is accepted, if given.
        strict: Whether what cannot be kept is refused: somebody is there who can be told. What a
            source has of it becomes a dead letter, as a line that cannot be read does.
    """

    __slots__ = (
        "accepted",
        "deadline",
        "in_hand",
        "ledger",
        "mailbox",
        "names",
        "noted",
        "priority",
        "put",
        "strict",
    )

    def __init__(
        self,
        ledger: Ledger,
        mailbox: Mailbox,
        priority: int,
        deadline: float | None,
        names: Iterator[Any] | None,
        accepted: list[Any] | None,
    ) -> None:
        self.ledger = ledger
        self.mailbox = mailbox
        self.put = ledger.entrances.get(mailbox.path, mailbox).put
        self.priority = priority
        self.deadline = deadline
        self.names = names
        self.accepted = accepted
        self.strict = accepted is not None and mailbox.journal is not None
        self.noted: Noted | None = None
        self.in_hand: deque[Any] = deque()

    def room(self) -> int:
        """How many entries may be accepted now.

        Raises:
            MailboxFull: There is an entry, and the mailbox refuses it.
        """
        mailbox = self.mailbox
        room = min(self.ledger.room(), BLOCK)
        if mailbox.overflow == "block":
            return min(room, 0 if mailbox.writers else mailbox.free())
        if mailbox.overflow == "fail":
            if self.in_hand and mailbox.free() <= 0:
                raise MailboxFull(mailbox.path, mailbox.capacity)
            return min(room, max(mailbox.free(), 1))
        return room

    def accept(self, count: int) -> None:
        """Let the first *count* entries in hand into the run."""
        ledger, in_hand, accepted = self.ledger, self.in_hand, self.accepted
        watched, packs = ledger.kernel.watched, self.mailbox.packs
        now, inside = ledger.kernel.now(), self.mailbox.accepted - self.mailbox.outside
        for _ in range(count):
            if not in_hand:  # A dead letter has ended the run, and so all was accepted.
                break
            entry = in_hand.popleft()
            if self.strict:
                self._check(entry)
            name = None if self.names is None else self._next_name()
            number = ledger.fed
            if self.names is not None:
                ledger.name(number, name)
            if type(entry) is Malformed:
                ledger.malformed(entry.place, entry.text, entry.error)
                continue
            envelope = Envelope(entry, number)
            envelope.born = now
            if watched:
                tell_accepted(ledger, envelope, self.mailbox.path)
            if type(entry) is Unreadable:  # In hand in an earlier part of the run.
                ledger.fed += 1
                envelope.packed = entry.packed
                self.mailbox.accepted += 1
                self.mailbox.failed += 1
                fault = DecodeError(entry.why)
                ledger.give_up(envelope, "unknown_schema", fault, self.mailbox.path)
                continue
            if self.deadline is not None:
                envelope.deadline = now + self.deadline
            if self.priority != DEFAULT_PRIORITY:
                envelope.priority = self.priority
            ledger.fed += 1
            if self.noted is not None:
                self.noted(envelope)
            if packs and type(entry) not in FROZEN:
                put_as_fed(self.put, self.mailbox, envelope)
            else:
                self.put(envelope)
            if accepted is not None:
                accepted.append(number if self.names is None else name)
        self.mailbox.outside = self.mailbox.accepted - inside

    def _check(self, entry: Any) -> None:
        """See that *entry* can be kept, in a run that keeps it."""
        kind = type(entry)
        if kind in FROZEN and (kind is not str or entry.isascii()):
            return
        if kind in (Malformed, Unreadable):
            return
        try:
            encode(entry)
        except Exception as error:  # EncodeError, or whatever a type of the user's own raises.
            where = error.where if isinstance(error, EncodeError) else "body"
            detail = str(error).removeprefix(f"{where}: ")
            raise EncodeError(f"{detail}; accepted before it: {self._taken()}", where) from error

    def _taken(self) -> str:
        """What was accepted, for who is told that the rest was not."""
        taken = self.accepted or []
        return f"{len(taken)}, {shown(taken)}" if taken else "none"

    def _next_name(self) -> Any:
        assert self.names is not None
        try:
            return next(self.names)
        except StopIteration:
            taken = self.accepted or []
            wanted = f"as many ids as items; {len(taken)} are accepted, with those there are"
            raise ConfigurationError("feed() ids", taken, wanted) from None


def check_ids(items: Any, ids: Any) -> None:
    """See that *ids* fit *items*, as far as that can be told before one is read.

    Raises:
        ConfigurationError: They do not.
    """
    if ids is None:
        return
    if not isinstance(ids, Iterable):
        raise ConfigurationError("feed() ids", ids, "an iterable of ids")
    if isinstance(items, Sized) and isinstance(ids, Sized) and len(items) != len(ids):
        wanted = f"as many ids as items, {len(items)}, and not {len(ids)}"
        raise ConfigurationError("feed() ids", ids, wanted)
