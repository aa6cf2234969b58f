"""How long to wait before the next attempt.

    Exponential:  cap(n) = min(max, initial * factor ** (n - 1))
                  jitter="full": even over [0, cap)      jitter="none": exactly cap
    Fixed:        always the same

Jitter is on by default: callers that failed together come back apart. The
caller brings the chance (*draw*), so a replay waits as long as the first run.

Durations are seconds (float). Attempts count from 1.
"""

from __future__ import annotations

from typing import Literal, Protocol

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError

__all__ = ["Backoff", "Exponential", "Fixed", "check_backoff"]


class Backoff(Protocol):
    """A rule for waiting; one of your own needs this method and nothing else."""

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after the *attempt*-th run failed; finite and not negative.

        Args:
            attempt: Which run failed; 1 is the first.
            draw: A number from ``[0, 1)`` that picks the point in the jitter.
        """


@attrs.frozen
class Exponential:
    """Waits that grow by a factor, up to a limit.

    Args:
        initial: Cap on the first wait, in seconds; above 0.
        factor: Growth of the cap per attempt; 1 or more.
        max: Cap on every wait, in seconds; not below *initial*.
        jitter: `"full"` draws evenly below the cap, `"none"` waits exactly the cap.

    Raises:
        ConfigurationError: An option is out of range, or two contradict.

    Source: Brooker, "Exponential Backoff and Jitter" (AWS, 2015), full jitter.
    """

    initial: float = 0.1
    factor: float = attrs.field(default=2.0, kw_only=True)
    max: float = attrs.field(default=30.0, kw_only=True)
    jitter: Literal["full", "none"] = attrs.field(default="full", kw_only=True)

    def __attrs_post_init__(self) -> None:
        options.seconds("Exponential.initial", self.initial, zero=False)
        if options.positive("Exponential.factor", self.factor) < 1:
            raise ConfigurationError("Exponential.factor", self.factor, "1 or more")
        if options.seconds("Exponential.max", self.max) < self.initial:
            wanted = f"at least initial ({self.initial:g} s)"
            raise ConfigurationError("Exponential.max", self.max, wanted)
        options.choice("Exponential.jitter", self.jitter, ("full", "none"))

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after the *attempt*-th run failed."""
        assert attempt >= 1, attempt
        assert 0 <= draw < 1, draw
        cap = self._cap(attempt)
        return cap * draw if self.jitter == "full" else cap

    def _cap(self, attempt: int) -> float:
        try:
            cap = self.initial * float(self.factor) ** (attempt - 1)
        except OverflowError:  # A float power past 1e308 is past any limit.
            return float(self.max)
        return float(min(self.max, cap))


@attrs.frozen
class Fixed:
    """The same wait after every attempt.

    Args:
        seconds: How long to wait; 0 or more.

    Raises:
        ConfigurationError: *seconds* is out of range.
    """

    seconds: float

    def __attrs_post_init__(self) -> None:
        options.seconds("Fixed.seconds", self.seconds)

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait, whichever run failed."""
        assert attempt >= 1, attempt
        return float(self.seconds)


def check_backoff(option: str, value: object) -> None:
    """A backoff, and not the bare number or the class that is easily written for one."""
    if isinstance(value, type) or not callable(getattr(value, "delay", None)):
        wanted = "a backoff such as Exponential() or Fixed(5)"
        raise ConfigurationError(option, value, wanted)
