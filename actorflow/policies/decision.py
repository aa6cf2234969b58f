"""What a policy can answer: before a message is leased, and after its turn.

    before the lease    Gate.ready()    ──► Admit | Wait | Reject | Divert
    after the turn      Chain.decide()  ──► Ack | Redeliver | Quarantine | Skip | Divert
                                            | Restart | Stop | Escalate

Answers are frozen values. A policy answers and the runtime acts, so an answer
can be compared, recorded, replayed and tested without anything having happened.

Durations are seconds (float).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

from actorflow.core.letters import REASONS, Reason

__all__ = [
    "ADMIT",
    "REASONS",
    "Ack",
    "Admit",
    "Answer",
    "Decision",
    "Divert",
    "Escalate",
    "Position",
    "Quarantine",
    "Reason",
    "Redeliver",
    "Reject",
    "Restart",
    "Skip",
    "Stop",
    "Wait",
]

Position: TypeAlias = Literal["tail", "head"]
"""Where a redelivered message stands among those that are due."""


@attrs.frozen
class Ack:
    """The message is done."""


@attrs.frozen
class Redeliver:
    """Deliver the message again after *delay* seconds, at *position* among what is due then."""

    delay: float
    position: Position = "tail"


@attrs.frozen
class Quarantine:
    """Make the message a dead letter with this *reason*."""

    reason: Reason


@attrs.frozen
class Skip:
    """Leave the message out: neither done nor a dead letter, and counted as skipped."""


@attrs.frozen
class Divert:
    """Send the message to *to* instead: a ref, a stage, or the name of one."""

    to: object


@attrs.frozen
class Restart:
    """Treat the turn as a crash: a new actor, and `decide` is asked again about the message."""


@attrs.frozen
class Stop:
    """End the actor for good; its mail becomes dead letters (`stopped`).

    Of a stage it is this worker that ends. The others go on; with the last one the stage has
    stopped, and its mail and what comes later become dead letters.
    """


@attrs.frozen
class Escalate:
    """Let the actor's supervisor fail in its place; the supervisor's parent decides."""


Decision: TypeAlias = Ack | Redeliver | Quarantine | Skip | Divert | Restart | Stop | Escalate
"""What becomes of a message, or of its actor, after a turn."""


@attrs.frozen
class Admit:
    """Nothing stands in the way of a lease."""


@attrs.frozen
class Wait:
    """Ask again after *seconds*; `None` means as soon as some turn has been recorded.

    With *keyed* the wait is that of one key: it concerns this message, and others may pass.
    """

    seconds: float | None
    keyed: bool = False


@attrs.frozen
class Reject:
    """Do not run the message; the next one may be admitted in *retry_in* seconds."""

    reason: Reason
    retry_in: float


Answer: TypeAlias = Admit | Wait | Reject | Divert
"""What a gate says about the next lease."""

ADMIT: Final = Admit()
"""The one `Admit` that our machines return, so that admitting allocates nothing."""
