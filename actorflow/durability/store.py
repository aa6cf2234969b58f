"""The contract of a store: what a run's checkpoints, results and dead letters are kept in.

    acquire ──► epoch ──► load ──► commit, commit, ... ──► release
                  └── every commit names it: whoever lost the run cannot write

A store is synchronous, batch-shaped and small. Each lives behind one thread of its own
(`durability.bridge`), which is the only one that calls it. A change set applies whole or
not at all. A commit is a small constant number of driver calls, whatever its size: a
call that gives up the interpreter lock waits for it behind a busy loop.

What a cut means is not the store's business: it keeps bytes in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import attrs

__all__ = [
    "Change",
    "CutRow",
    "DeadQuery",
    "DeadRow",
    "Loaded",
    "Owned",
    "ResultRow",
    "RunRow",
    "RunStatus",
    "Session",
    "Store",
]

#: "running": owned, or its owner died; "parked": ended with work left; the others are final.
RunStatus = Literal["running", "parked", "finished", "failed"]


@attrs.frozen
class Session:
    """Who holds runs: one process, while it has the store open.

    Attributes:
        id: 16 random bytes, new at each start; never a host name or process id.
        host: Name of the machine, for people.
        pid: Process id, for people.
        lease: Seconds after its last renewal for which its runs stay its own.
    """

    id: bytes
    host: str
    pid: int
    lease: float = 30.0


@attrs.frozen
class Owned:
    """A run that `acquire` has made ours.

    Attributes:
        run: Its id.
        epoch: Rises with each owner; names us in every commit.
        number: Of its last cut; 0 before the first.
        status: As it was found; "running" if its last owner did not end it.
        new: Whether the run did not exist before.
        taken_over: Whether its last owner, or one before it since when nobody has taken a cut, was
            not proven dead: it may still be writing files.
        version: Version of the flow that last ran it; "" for a new run.
        identity: What that version was made of, as lines of text.
    """

    run: str
    epoch: int
    number: int
    status: RunStatus
    new: bool
    taken_over: bool
    version: str
    identity: tuple[str, ...]


@attrs.frozen
class DeadRow:
    """A dead letter as it is kept.

    Attributes:
        seq: Its number within its run, from 1, in the order of dying; 0 before it is stored.
        id: Of the message.
        place: Path or name of the stage or actor.
        reason: From the closed list of `core.letters`.
        error: Type name of the error, or "".
        text: Text of the error, or "".
        traceback: Its traceback, or "".
        attempts: Leases begun.
        at: Wall time of death, in seconds since 1970.
        replays: How often it came back before.
        body: The message, packed.
        facts: What a replay needs besides, packed.
    """

    seq: int
    id: str
    place: str
    reason: str
    error: str
    text: str
    traceback: str
    attempts: int
    at: float
    replays: int
    body: bytes
    facts: bytes = b""


@attrs.frozen
class DeadQuery:
    """Which dead letters are meant; what is `None` matches all.

    Attributes:
        run: Of this run.
        place: That died there.
        reason: With this reason.
        error: With an error of this type name.
        id: Of this message.
        seq: With this number.
    """

    run: str | None = None
    place: str | None = None
    reason: str | None = None
    error: str | None = None
    id: str | None = None
    seq: int | None = None


@attrs.frozen
class ResultRow:
    """One stored result.

    Attributes:
        seq: Its number within its run, from 1, in the order of completion.
        id: Of the fed item.
        body: The result, packed.
    """

    seq: int
    id: str
    body: bytes


@attrs.frozen
class RunRow:
    """What is known of a run without restoring it.

    Attributes:
        run: Its id.
        status: See `RunStatus`.
        version: Version of its flow.
        flow: Name of its flow or system.
        epoch: Of its last owner.
        number: Of its last cut.
        owner: Host and process id of who holds it now, or "".
        created: Wall time of its first commit or acquisition.
        updated: Wall time of its last one.
        cuts: How many cuts are kept.
        size: Their bytes together.
        results: Stored results.
        dead: Stored dead letters.
        report: Its packed report, once it is final; else `None`.
    """

    run: str
    status: RunStatus
    version: str
    flow: str
    epoch: int
    number: int
    owner: str
    created: float
    updated: float
    cuts: int
    size: int
    results: int
    dead: int
    report: bytes | None


@attrs.frozen
class CutRow:
    """One cut that is kept.

    Attributes:
        number: Of the cut.
        full: Whether it stands for all before it.
        body: The cut, packed.
    """

    number: int
    full: bool
    body: bytes


@attrs.frozen
class Loaded:
    """What a run left behind: all that going on with it needs, and no cut more.

    Attributes:
        cuts: The last full cut and every one since, in order.
        blame: Unclean ends that each suspect message has seen so far.
        results: Number of stored results.
        dead: Number of stored dead letters.
    """

    cuts: tuple[bytes, ...]
    blame: dict[str, int]
    results: int
    dead: int


@attrs.frozen(kw_only=True)
class Change:
    """What one commit writes: all of it or nothing.

    Attributes:
        run: Id of the run.
        epoch: From `acquire`.
        number: Of the cut, one more than the last; `None` if this is none.
        cut: The cut, packed.
        full: It stands for all cuts before it. Those that none of the last *keep* states needs are
            dropped: the ones before the latest full cut with a number of ``number - keep + 1`` or
            less.
        keep: After a full cut, so many of the last states can be put together again.
        status: The run's new status; `None` leaves it. Any but "running" also gives it free.
        report: Its report, packed, with a final status.
        version: Version of the flow that writes; `None` leaves it.
        identity: What that is made of.
        flow: Name of the flow; `None` leaves it.
        results: Results to add, numbered as they are added.
        dead: Dead letters to add, numbered as they are added.
        blame: New figures of suspect messages.
        cleared: Suspects that are done; their figures go.
        at: Wall time.
    """

    run: str
    epoch: int
    number: int | None = None
    cut: bytes | None = None
    full: bool = False
    keep: int = 1
    status: RunStatus | None = None
    report: bytes | None = None
    version: str | None = None
    identity: tuple[str, ...] | None = None
    flow: str | None = None
    results: Sequence[tuple[str, bytes]] = ()
    dead: Sequence[DeadRow] = ()
    blame: dict[str, int] = attrs.Factory(dict)
    cleared: Sequence[str] = ()
    at: float = 0.0


class Store(Protocol):
    """Where runs are kept. Made cheaply; nothing is touched before `open`.

    Every method may raise `StoreError` and its kinds: `CommitFailed` (with its reason, and
    whether the outcome is unknown), `StoreCorrupt`, `SchemaTooNew`, `StoreUnavailable`.

    Attributes:
        url: As it was given, without secrets.
    """

    url: str

    def open(self, session: Session) -> None:
        """Connect, create or upgrade the schema, and announce *session*."""

    def close(self) -> None:
        """End the session: what it still holds is free at once. Closing twice does nothing."""

    def acquire(
        self, run: str, now: float, *, resume: Literal["auto", "never", "must"] = "auto"
    ) -> Owned:
        """Make *run* ours, creating it if it is new; a final one is only looked at.

        A run whose owner is proven dead is taken over at once; otherwise when the owner's
        lease is over.

        Raises:
            RunInUseError: Somebody alive holds it.
            RunNotFoundError: ``resume="must"``, and there is none; "never", and there is one,
                is a `RunExistsError`.
        """

    def load(self, run: str) -> Loaded:
        """What *run* left behind."""

    def commit(self, change: Change) -> None:
        """Apply *change* whole, durably, or not at all.

        Raises:
            LeaseLost: The epoch is not the run's, or the run is not ours.
            CommitFailed: It was not applied; or, if `unknown`, that cannot be told, and
                `number` will tell once the store answers again.
        """

    def number(self, run: str) -> int:
        """Number of the last cut of *run*; settles a commit whose outcome is unknown."""

    def renew(self, now: float, ticks: int) -> None:
        """Keep the session's lease; *ticks* counts the rounds of its event loop.

        Raises:
            LeaseLost: Another session has taken over one of our runs.
        """

    def release(self, run: str, epoch: int) -> None:
        """Give *run* free as it is; nothing if it is not ours any more."""

    # For tools ------------------------------------------------------------------------

    def runs(self) -> list[RunRow]:
        """Every run, the latest first."""

    def cuts(self, run: str) -> list[CutRow]:
        """Every cut of *run* that is kept, in order: from the first of all or a full one on."""

    def results(self, run: str, after: int = 0, limit: int = 1000) -> list[ResultRow]:
        """Stored results with a `seq` above *after*, in order."""

    def dead(self, query: DeadQuery, after: int = 0, limit: int = 1000) -> list[Any]:
        """``(run, DeadRow)`` pairs that match, by run and `seq`, with a `seq` above *after*."""

    def purge_dead(self, query: DeadQuery) -> int:
        """Delete dead letters that match; answers how many."""

    def delete_run(self, run: str) -> bool:
        """Forget a run that nobody holds; `False` if there is none.

        Raises:
            RunInUseError: Somebody alive holds it.
        """
