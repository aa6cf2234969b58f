"""What can go wrong with what must survive, and with going on from it."""

from __future__ import annotations

from collections.abc import Sequence

from actorflow.errors.base import ActorFlowError, UsageError

__all__ = [
    "CommitFailed",
    "LeaseLost",
    "ResumeError",
    "RunExistsError",
    "RunInUseError",
    "RunNotFoundError",
    "SchemaTooNew",
    "SinkChanged",
    "SourceChanged",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoredError",
    "VersionMismatch",
]


class StoreError(ActorFlowError):
    """What keeps runs cannot do what was asked.

    Attributes:
        url: The store.
        detail: What is wrong.
    """

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(f"store {url}: {detail}")
        self.url = url
        self.detail = detail


class CommitFailed(StoreError):
    """One commit did not happen; it may be tried again.

    Attributes:
        reason: "full" (no space), "readonly", "busy" (somebody else writes for too long), "io",
            "lost" (the connection).
        unknown: Whether it may have happened after all.
    """

    def __init__(self, url: str, detail: str, reason: str, *, unknown: bool = False) -> None:
        super().__init__(url, detail)
        self.reason = reason
        self.unknown = unknown


class StoreUnavailable(StoreError):
    """The store did not take what had to be kept within its deadline; nothing was acknowledged."""


class StoreCorrupt(StoreError):
    """What the store holds cannot be read. Nothing was changed, and no run begins anew."""


class SchemaTooNew(StoreError):
    """The store was written by a later release.

    Attributes:
        found: Its schema's version.
        known: The latest that this release knows.
    """

    def __init__(self, url: str, found: int, known: int) -> None:
        detail = f"its schema has version {found}, this release knows {known}; upgrade actorflow"
        super().__init__(url, detail)
        self.found = found
        self.known = known


class LeaseLost(StoreError):
    """Another process has taken the run over; this one may not write any more.

    Attributes:
        run: Id of the run.
    """

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, f"run {run!r} belongs to another process now")
        self.run = run


class ResumeError(ActorFlowError):
    """A run cannot be gone on with as it is.

    Attributes:
        run: Id of the run.
    """

    def __init__(self, run: str, detail: str) -> None:
        super().__init__(f"run {run!r}: {detail}")
        self.run = run


class RunInUseError(ResumeError):
    """Somebody alive holds the run.

    Attributes:
        owner: Host and process id.
    """

    def __init__(self, run: str, owner: str) -> None:
        super().__init__(run, f"in use by {owner}; wait for it, or give another run_id")
        self.owner = owner


class RunNotFoundError(ResumeError, LookupError):
    """There is no such run."""

    def __init__(self, run: str) -> None:
        super().__init__(run, "there is none; `actorflow runs` lists them")


class RunExistsError(ResumeError):
    """There is such a run already, and it was not to be gone on with."""

    def __init__(self, run: str) -> None:
        super().__init__(run, "there is one already; give another run_id, or resume='auto'")


class VersionMismatch(ResumeError):
    """Another version of the flow began the run.

    Attributes:
        stored: Version of the flow that began it.
        found: Version of the flow that is to go on.
        changes: What differs, as lines that begin with ``-`` or ``+``.
    """

    def __init__(self, run: str, stored: str, found: str, changes: Sequence[str]) -> None:
        lines = "".join(f"\n  {line}" for line in changes)
        super().__init__(
            run,
            f"begun by version {stored} of the flow, this is {found}:{lines}\n"
            f"finish it with the old code, give another run_id, or say migrate={{old: new}}",
        )
        self.stored = stored
        self.found = found
        self.changes = tuple(changes)


class SourceChanged(ResumeError):
    """The input is not what the run has read before.

    Attributes:
        source: Name of the source.
    """

    def __init__(self, run: str, source: str, detail: str) -> None:
        super().__init__(run, f"its input {source} has changed: {detail}; give another run_id")
        self.source = source


class SinkChanged(UsageError):
    """The output is not what the run has written before; nothing was changed.

    Attributes:
        sink: Name of the sink, such as that of its file.
        at: Where the run would go on, in bytes of a file.
    """

    def __init__(self, sink: str, at: int, detail: str) -> None:
        super().__init__(f"{sink}: {detail}; give the file that has them, or begin a new run")
        self.sink = sink
        self.at = at


class StoredError(ActorFlowError):
    """An error of an earlier part of a run, as the store has it.

    Attributes:
        kind: Name of its type.
        text: Its text.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text
