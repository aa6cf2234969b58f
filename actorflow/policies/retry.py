"""Whether a failed message is delivered again, and when.

    failed attempt ──► Retry.decide() ──► Redeliver(delay, position)
                                          Quarantine("failed")     not worth it, or tried enough
                                          Quarantine("expired")    would come due too late

The answer depends on the arguments alone. The one thing with a memory is the
retry *budget*: while a service is down, every message wants its retries at the
same time, and offered load rises just when capacity falls. A budget bounds the
retries of all messages together by a share of the first attempts.

Durations are seconds (float). Attempts count from 1.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.backoff import Backoff, Exponential, check_backoff
from actorflow.policies.decision import Decision, Position, Quarantine, Redeliver
from actorflow.policies.machine import BaseMachine, Declaration

__all__ = ["RESERVE", "Errors", "Retry", "RetryBudget"]

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
"""An exception class or a tuple of them, as in an `except` clause."""

#: Retries that a budget has in hand after a quiet time. Enough that a few unlucky messages of
#: a slow stage are retried; a service that is down is not hit by more. Finagle allows ten a second.
RESERVE: Final = 10.0

#: A tenth added ten times is a hair below one; a retry is not refused for that.
_ROUNDING: Final = 1e-9


def _as_tuple(errors: Errors) -> tuple[type[BaseException], ...]:
    return errors if isinstance(errors, tuple) else (errors,)


@attrs.frozen
class Retry(Declaration):
    """Deliver a failed message again, up to *max_attempts* runs in all.

    A waiting retry holds no worker and no place in the mailbox. A crash of the actor is
    always worth a retry, whatever *retry_on* says: it need not have been the message's fault.

    Args:
        max_attempts: Most runs of one message, the first included; 1 or more.
        backoff: How long to wait before each further run.
        retry_on: Errors worth another run: a class or a tuple of classes.
        never_on: Errors that are not, though *retry_on* names them, and though it was a crash.
        deadline: Seconds since acceptance after which no retry may come due; `None`: no limit.
        position: Where a retry that is due stands: `"tail"` behind, `"head"` before the others.
        budget: Most retries as a share of first attempts, above 0 and up to 1, over all
            messages, plus `RESERVE` (10) in hand. `None`: each message has its attempts.

    Raises:
        ConfigurationError: An option is out of range, or two contradict.
    """

    max_attempts: int = 3
    backoff: Backoff = attrs.field(factory=Exponential, kw_only=True)
    retry_on: tuple[type[BaseException], ...] = attrs.field(
        default=(Exception,), kw_only=True, converter=_as_tuple
    )
    never_on: tuple[type[BaseException], ...] = attrs.field(
        default=(), kw_only=True, converter=_as_tuple
    )
    deadline: float | None = attrs.field(default=None, kw_only=True)
    position: Position = attrs.field(default="tail", kw_only=True)
    budget: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        options.count("Retry.max_attempts", self.max_attempts)
        check_backoff("Retry.backoff", self.backoff)
        _check_errors("Retry.retry_on", self.retry_on)
        _check_errors("Retry.never_on", self.never_on)
        options.optional(options.seconds, "Retry.deadline", self.deadline, zero=False)
        options.choice("Retry.position", self.position, ("tail", "head"))
        if self.budget is not None and options.positive("Retry.budget", self.budget) > 1:
            wanted = "a share of first attempts, up to 1 (0.1 is 10 %)"
            raise ConfigurationError("Retry.budget", self.budget, wanted)
        self.check_placement()
        if self.per_worker and self.budget is not None:
            wanted = "False with a budget, which is one for all workers"
            raise ConfigurationError("Retry.per_worker", True, wanted)

    def decide(
        self, attempt: int, error: BaseException, *, crashed: bool, age: float, draw: float
    ) -> Decision:
        """Answer for the *attempt*-th run, which just failed with *error*.

        Args:
            attempt: Which run failed; 1 is the first.
            error: What it raised.
            crashed: It ended its actor too.
            age: Seconds since the stage or actor accepted the message.
            draw: A number from ``[0, 1)`` that picks the point in the jitter.
        """
        if attempt >= self.max_attempts or not self._worth_it(error, crashed):
            return Quarantine("failed")
        # Checked again, because a backoff may be the user's: a NaN would spoil the due heap.
        delay = options.seconds("Retry.backoff.delay()", self.backoff.delay(attempt, draw))
        if self.deadline is not None and age + delay > self.deadline:
            return Quarantine("expired")
        return Redeliver(delay, self.position)

    def _worth_it(self, error: BaseException, crashed: bool) -> bool:
        if isinstance(error, self.never_on):
            return False
        return crashed or isinstance(error, self.retry_on)

    def machine(self) -> RetryBudget | None:
        """The budget's state; `None` without one."""
        return None if self.budget is None else RetryBudget(self)


class RetryBudget(BaseMachine):
    """Tokens: a first attempt earns a share of one, a retry spends one.

    Guards no lease, so it admits everything and is always calm.

    Attributes:
        tokens: Retries in hand, from 0 to `RESERVE`.
    """

    __slots__ = ("ratio", "tokens")

    def __init__(self, policy: Retry) -> None:
        assert policy.budget is not None
        super().__init__(policy, calm=True)
        self.ratio = float(policy.budget)
        self.tokens = RESERVE

    def earn(self) -> None:
        """A message was leased for the first time."""
        self.tokens = min(RESERVE, self.tokens + self.ratio)

    def spend(self) -> bool:
        """Pay for one retry, and say whether there was enough."""
        if self.tokens < 1.0 - _ROUNDING:
            return False
        self.tokens = max(0.0, self.tokens - 1.0)
        return True

    def dump(self, now: float) -> dict[str, Any]:
        return {"tokens": self.tokens}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        self.tokens = min(RESERVE, max(0.0, float(state["tokens"])))

    def change(self, policy: Retry, now: float) -> None:
        assert policy.budget is not None
        super().change(policy, now)
        self.ratio = float(policy.budget)


def _check_errors(option: str, given: tuple[object, ...]) -> None:
    for each in given:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            wanted = "an exception class or a tuple of them"
            raise ConfigurationError(option, each, wanted)
