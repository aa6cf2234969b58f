"""What can become of a message, an item or an actor."""

from __future__ import annotations

from collections.abc import Sequence

from actorflow.errors.base import ActorFlowError, shown

__all__ = [
    "ActorStopped",
    "AskCycle",
    "AskDiverged",
    "AskError",
    "AskFailed",
    "AskTimeout",
    "CircuitOpenError",
    "DeadlineExceeded",
    "DeliveryError",
    "FutureCancelled",
    "FutureError",
    "FutureTimeout",
    "MailboxFull",
    "MessageFailed",
    "OutboxFull",
    "RestartsExhausted",
    "StageError",
    "StashFull",
    "StrayCancelled",
    "SupervisionError",
    "TooManyFailures",
    "TurnError",
    "TurnTimeout",
    "UncleanEnds",
    "WorkerDied",
]


class DeliveryError(ActorFlowError):
    """A message could not be delivered.

    Attributes:
        path: Path of the actor meant, such as ``/billing/charge``.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path


class MailboxFull(DeliveryError):
    """The mailbox holds as many messages as it may.

    Attributes:
        capacity: Most messages that may wait.
    """

    def __init__(self, path: str, capacity: int) -> None:
        super().__init__(
            path,
            f"mailbox is full ({capacity} of {capacity} messages); "
            "await tell() to wait for room, or raise `capacity`",
        )
        self.capacity = capacity


class ActorStopped(DeliveryError):
    """The actor has ended for good and takes no more messages."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "the actor has stopped; spawn it again, or watch() it to know when")


class OutboxFull(DeliveryError):
    """One turn sent more messages than a turn may.

    Attributes:
        limit: Most messages one turn may send.
    """

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(
            path,
            f"one turn may send {limit} messages; send a message to yourself to go on in another "
            "turn, or yield from a generator",
        )
        self.limit = limit


class StashFull(DeliveryError):
    """The actor holds back as many messages as it may, stashed or waiting for a retry.

    Attributes:
        limit: Most messages it may hold back.
    """

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(
            path,
            f"{limit} messages are held back, and no more may be; unstash_all() earlier, "
            "or raise `capacity`",
        )
        self.limit = limit


class AskError(ActorFlowError):
    """An ask ended without an answer.

    Attributes:
        path: Path of the actor asked.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path


class AskTimeout(AskError, TimeoutError):
    """No answer came in time. The message may still be handled.

    Attributes:
        seconds: How long the caller waited.
    """

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(
            path, f"no answer within {seconds:g} s; raise `timeout` or look at stats()"
        )
        self.seconds = seconds


class AskFailed(AskError):
    """The message was given up; `__cause__` is the handler's own exception, if there is one.

    Attributes:
        reason: Why, in the words of `DeadLetter.reason`.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"the message was given up ({reason})")
        self.reason = reason


class AskCycle(AskError):
    """Actors ask each other in a circle, so none of them could ever answer.

    Attributes:
        circle: Paths of the actors in it, the asking one first.
    """

    def __init__(self, circle: Sequence[str]) -> None:
        super().__init__(
            circle[0],
            f"asks go in a circle: {' -> '.join(circle)}; use tell() for one of them",
        )
        self.circle = tuple(circle)


class AskDiverged(AskError):
    """A turn that is run again asks something else under the id of what it asked before."""

    def __init__(self, path: str, question: str) -> None:
        super().__init__(
            path, f"question {question} was another one before; a turn must ask the same again"
        )
        self.question = question


class UncleanEnds(ActorFlowError):
    """The process ended again and again while this message was being handled.

    Attributes:
        path: Where.
        count: How often.
    """

    def __init__(self, path: str, count: int) -> None:
        super().__init__(f"{path}: the process has ended {count} times while it ran")
        self.path = path
        self.count = count


class TurnError(ActorFlowError):
    """An attempt ended without a value.

    Attributes:
        path: Path of the actor or stage.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path


class TurnTimeout(TurnError, TimeoutError):
    """The attempt ran longer than its timeout.

    Attributes:
        seconds: The timeout.
    """

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(path, f"did not finish within {seconds:g} s")
        self.seconds = seconds


class DeadlineExceeded(TurnError, TimeoutError):
    """The message's deadline passed, or no further attempt could begin before it."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "the deadline of the message has passed")


class CircuitOpenError(TurnError):
    """The circuit breaker is open and its `when_open` says reject.

    Attributes:
        retry_in: Seconds until it lets a probe through.
    """

    def __init__(self, path: str, retry_in: float) -> None:
        super().__init__(path, f"the circuit is open; next probe in {retry_in:.3g} s")
        self.retry_in = retry_in


class StrayCancelled(TurnError):
    """The handler let a `trio.Cancelled` escape that belongs to no scope around it."""

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            "the handler raised a trio.Cancelled of a foreign scope; never store or re-raise one "
            "outside the scope it came from",
        )


class WorkerDied(TurnError):
    """The worker process that ran the message ended under it."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, f"the worker process died: {detail}")


class MessageFailed(TurnError):
    """The handler gave the message up with `ctx.fail()`; it is not tried again."""


class FutureError(ActorFlowError):
    """A future gives no value.

    Attributes:
        path: Path of the executor or run.
        item_id: Id of the call or item.
    """

    def __init__(self, path: str, item_id: object, detail: str) -> None:
        super().__init__(f"{path}, item {item_id!r}: {detail}")
        self.path = path
        self.item_id = item_id


class FutureTimeout(FutureError, TimeoutError):
    """It was not done in time. The work goes on, and may be asked for again.

    Attributes:
        seconds: How long the caller waited.
    """

    def __init__(self, path: str, item_id: object, seconds: float) -> None:
        super().__init__(path, item_id, f"not done within {seconds:g} s; the work goes on")
        self.seconds = seconds


class FutureCancelled(FutureError):
    """It was cancelled, or the end of its run came before its own."""


class StageError(ActorFlowError):
    """An item was given up; `__cause__` is the handler's own exception.

    Attributes:
        stage: Name of the stage.
        item_id: Id of the item that was fed.
        attempts: How often it was tried there.
    """

    def __init__(self, stage: str, item_id: object, attempts: int, detail: str) -> None:
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(f"stage {stage!r}, item {item_id!r}, tried {times}: {detail}")
        self.stage = stage
        self.item_id = item_id
        self.attempts = attempts


class SupervisionError(ActorFlowError):
    """A supervisor gave up.

    Attributes:
        path: Path of the supervisor, stage or actor.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path


class RestartsExhausted(SupervisionError):
    """More restarts than the budget allows; `__cause__` is the last crash.

    Attributes:
        limit: Restarts allowed in the window.
        window: Length of the window in seconds.
    """

    def __init__(self, path: str, limit: int, window: float, last: BaseException | None) -> None:
        super().__init__(
            path, f"more than {limit} restarts in {window:g} s; last error: {shown(last)}"
        )
        self.limit = limit
        self.window = window


class TooManyFailures(SupervisionError):
    """More messages were given up than dead letters may be kept.

    Attributes:
        limit: Most dead letters kept.
    """

    def __init__(self, path: str, limit: int, last: BaseException | None) -> None:
        super().__init__(
            path,
            f"more than {limit} dead letters; mend the cause or raise `max_dead`. "
            f"Last error: {shown(last)}",
        )
        self.limit = limit
