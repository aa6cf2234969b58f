"""At most so many turns per second, smoothly and without drift.

GCRA (the generic cell rate algorithm): each take moves a theoretical arrival
time on by one interval, ``per / rate``. A take is admitted while that time is
less than *burst* intervals ahead of the clock.

    law:   no window of length w admits more than  burst + w * rate / per
    law:   who comes steadily at the full rate is never turned away

Both must hold for fractional rates and after a million takes, so the time is
never summed up: a meter keeps when its busy spell began and how many takes it
has seen since, and works the next time out afresh, ``base + n * per / rate``.

The clock's own rounding is a nanosecond; to be early by less counts as being on
time. That slack is used at most once in any window, since it moves no base.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, Final

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.decision import ADMIT, Answer, Wait
from actorflow.policies.keyed import Keyed, restored_key, storable_key
from actorflow.policies.machine import BaseMachine, Declaration, KeyFunction, check_key

__all__ = ["SLACK", "KeyedRateLimitMachine", "Meter", "RateLimit", "RateLimitMachine"]

#: Seconds. Clocks tick in nanoseconds and a float of 10**6 s resolves a tenth of one.
SLACK: Final = 1e-9


@attrs.frozen
class RateLimit(Declaration):
    """At most *rate* turns every *per* seconds, with up to *burst* at once.

    Attempts count, retries included. Where the limit is reached, the mailbox waits.

    Args:
        rate: Turns per *per* seconds, also fractional; above 0.
        per: The unit of *rate* in seconds; above 0.
        burst: Turns that may begin at once after a quiet spell; 1 or more.
        key: A function of the message body; each key it answers has a limit of its own.
        max_keys: Most keys remembered; the least recently used is forgotten first.

    Raises:
        ConfigurationError: An option is out of range, or two contradict.
    """

    rate: float = attrs.field()
    per: float = attrs.field(default=1.0, kw_only=True)
    burst: int = attrs.field(default=1, kw_only=True)
    key: KeyFunction | None = attrs.field(default=None, kw_only=True)
    max_keys: int = attrs.field(default=10_000, kw_only=True)

    def __attrs_post_init__(self) -> None:
        options.positive("RateLimit.rate", self.rate)
        options.seconds("RateLimit.per", self.per, zero=False)
        options.count("RateLimit.burst", self.burst)
        check_key("RateLimit.key", self.key)
        options.count("RateLimit.max_keys", self.max_keys)
        self.check_placement()
        if not math.isfinite(self.burst * self.per / self.rate):
            wanted = f"large enough for a finite interval at per={self.per:g} s"
            raise ConfigurationError("RateLimit.rate", self.rate, wanted)

    def machine(self) -> RateLimitMachine | KeyedRateLimitMachine:
        return RateLimitMachine(self) if self.key is None else KeyedRateLimitMachine(self)


class Meter:
    """One limit's takes: when the next is due, and how that was worked out.

    Attributes:
        due: A take is admitted from here on; the slack is already taken off.
    """

    __slots__ = ("_base", "_burst", "_fresh", "_full", "_per", "_rate", "_step", "due")

    def __init__(self, policy: RateLimit) -> None:
        self._base = self.due = -math.inf
        self._step = 0
        self._use(policy)

    def _use(self, policy: RateLimit) -> None:
        self._rate, self._per = float(policy.rate), float(policy.per)
        self._burst = policy.burst
        # From `due` on, after this long the whole burst has come back.
        self._full = (policy.burst - 1) * self._per / self._rate + SLACK
        # From the first take of a busy spell to the `due` after it.
        self._fresh = (2 - policy.burst) * self._per / self._rate - SLACK

    def swift(self, now: float) -> bool:
        """Take if a take is admitted, and say whether. The hottest code of this floor."""
        due = self.due
        if now < due:
            return False
        if now - due > self._full:
            self._base = now
            self._step = 2 - self._burst
            self.due = now + self._fresh
        else:
            self._step = step = self._step + 1
            self.due = self._base + step * self._per / self._rate - SLACK
        return True

    def take(self, now: float) -> None:
        """Take without asking: beyond the limit it delays those that ask after it."""
        if not self.swift(now):
            self._step += 1
            self.due = self._base + self._step * self._per / self._rate - SLACK

    def give_back(self) -> None:
        """Undo one take: what it was for did not happen."""
        self._step -= 1
        self.due = self._base + self._step * self._per / self._rate - SLACK

    def admits(self, now: float, takes: int) -> bool:
        """Whether so many *takes* are admitted at once."""
        return takes <= self._burst and now >= self.due + (takes - 1) * self._per / self._rate

    def wait(self, now: float) -> float:
        """Seconds until a take is admitted; 0 if it is."""
        return 0.0 if now >= self.due else self.due + SLACK - now

    def quiet(self, now: float) -> bool:
        """Whether the whole burst is there, as in a new meter."""
        return now - self.due > self._full

    def remaining(self, now: float) -> float:
        """Seconds until the whole burst is there; 0 if it is."""
        return max(0.0, self.due + self._full - now)

    def restore(self, remaining: float, now: float) -> None:
        """Let the whole burst be there in *remaining* seconds."""
        self._base = now + remaining
        self._step = 1 - self._burst
        self.due = self._base + self._step * self._per / self._rate - SLACK

    def change(self, policy: RateLimit, now: float) -> None:
        """Go on under *policy*. What is owed stays owed in turns, up to the new burst.

        Owed time would be wrong: after a change from one an hour to a thousand a second,
        the next turn would still wait the hour.
        """
        owed = self.remaining(now) * self._rate / self._per
        self._use(policy)
        self.restore(min(owed, self._burst) * self._per / self._rate, now)


class RateLimitMachine(BaseMachine):
    """One meter for every message. Never calm: each turn moves it on.

    Attributes:
        swift: `Meter.swift`, for the gate to call without a step in between.
    """

    __slots__ = ("meter", "swift")
    swift: Callable[[float], bool]

    def __init__(self, policy: RateLimit) -> None:
        super().__init__(policy, calm=False)
        self.meter = Meter(policy)
        self.swift = self.meter.swift

    def ready(self, now: float, key: Hashable) -> Answer:
        wait = self.meter.wait(now)
        return Wait(wait) if wait else ADMIT

    def take(self, now: float, key: Hashable) -> object:
        self.meter.take(now)
        return None

    def give_back(self, key: Hashable) -> None:
        """Undo one take: it was for nothing."""
        self.meter.give_back()
        self.wake()

    def dump(self, now: float) -> dict[str, Any]:
        return {"remaining": self.meter.remaining(now)}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        self.meter.restore(max(0.0, state["remaining"] - max(0.0, elapsed)), now)

    def change(self, policy: RateLimit, now: float) -> None:
        super().change(policy, now)
        self.meter.change(policy, now)
        self.wake()


class KeyedRateLimitMachine(BaseMachine):
    """A meter per key, at most `max_keys` of them. Never calm."""

    __slots__ = ("_meters", "_policy")

    def __init__(self, policy: RateLimit) -> None:
        super().__init__(policy, calm=False)
        self._policy = policy
        self._meters: Keyed[Meter] = Keyed(policy.max_keys, self._meter, Meter.quiet)

    def _meter(self) -> Meter:
        return Meter(self._policy)

    def __len__(self) -> int:
        return len(self._meters)

    def ready(self, now: float, key: Hashable) -> Answer:
        meter = self._meters.peek(key)
        wait = meter.wait(now) if meter is not None else 0.0
        return Wait(wait, keyed=True) if wait else ADMIT

    def take(self, now: float, key: Hashable) -> object:
        self._meters.take(key, now).take(now)
        return None

    def give_back(self, key: Hashable) -> None:
        """Undo one take of *key*: it was for nothing."""
        meter = self._meters.peek(key)
        if meter is not None:
            meter.give_back()
            self.wake()

    def dump(self, now: float) -> dict[str, Any]:
        keys = [
            [key, remaining]
            for key, meter in self._meters.items()
            if storable_key(key) and (remaining := meter.remaining(now)) > 0
        ]
        return {"keys": keys}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        self._meters.clear()
        for stored, remaining in state["keys"]:
            left = remaining - max(0.0, elapsed)
            if left > 0:
                self._meters.take(restored_key(stored), now).restore(left, now)

    def change(self, policy: RateLimit, now: float) -> None:
        super().change(policy, now)
        self._policy = policy
        self._meters.resize(policy.max_keys, now)
        for meter in self._meters.states():
            meter.change(policy, now)
        self.wake()
