"""The gate before a lease: may the next turn begin?

    the swift road    calm? ──► swift(now) ──► run ──► ended well at once: nothing to record
                                                   └─► suspended or failed: adopt, later record
    the slow road     ready(now, body) ──► take(now, body) ──► run ──► record(now, token, outcome)

`ready` asks every machine and changes nothing; only if all admit does `take`
take from all. So a message that the breaker holds back costs no place in the
rate limit, and none is lost between one machine's yes and another's no.

What several machines answer becomes one answer. To reject or divert beats to
wait: such a message does not run, so it need not wait for what it will not use.
A wait that concerns everybody beats one of a single key; of two the longer one
counts, and "until somebody records" is the longest.

Nearly every turn finds nothing to decide: the circuit is closed and clean, the
bulkhead has room, and most handlers never suspend. While `calm` says so, a turn
costs one call of `swift`, which pays the rate limits and touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from actorflow.policies.breaker import CircuitBreakerMachine
from actorflow.policies.decision import ADMIT, Admit, Answer, Reject, Wait
from actorflow.policies.machine import BaseMachine, KeyFunction, Machine
from actorflow.policies.ratelimit import KeyedRateLimitMachine, RateLimitMachine

__all__ = ["Gate"]


def _always(now: float) -> bool:
    return True


class Gate:
    """All machines that guard one stage's or actor's leases, in the order they are asked.

    Args:
        members: Pairs of a policy and its machine. The policy's `key`, if it has one, is
            a function of the body; what it raises goes to the caller, who fails the message.

    Attributes:
        calm: `swift` may be used. Kept up to date, also while others use a shared machine.
        keyed: Some machine counts by key; then a `Wait` says in `keyed` whom it concerns.
        swift: ``swift(now) -> bool``; only while `calm`. True: every rate limit admits a turn
            now and has been taken from; a turn that ends well without suspending need not be
            recorded, any other must be adopted. False: nothing has changed; ask `ready`.
        on_wake: Called when some machine may admit again what it made wait, also when that
            is the doing of another gate with which it is shared. Plain and quick.
    """

    __slots__ = (
        "__weakref__",
        "_foreign",
        "_members",
        "_others",
        "_paid",
        "calm",
        "keyed",
        "on_wake",
        "swift",
    )
    swift: Callable[[float], bool]

    def __init__(self, members: Sequence[tuple[object, Machine]]) -> None:
        keyed = [(machine, _key_of(policy)) for policy, machine in members]
        self._members: tuple[tuple[Machine, KeyFunction | None], ...] = tuple(keyed)
        # A rate limit is paid when the turn begins and hears nothing of its end.
        self._paid = [m for m, _ in keyed if isinstance(m, RateLimitMachine)]
        self._others = [pair for pair in keyed if not isinstance(pair[0], RateLimitMachine)]
        # A machine that is not of our making may change `calm` without telling.
        self._foreign = any(not isinstance(m, BaseMachine) for m, _ in keyed)
        self.keyed = any(key is not None for _, key in keyed)
        self.on_wake: Callable[[], None] | None = None
        self.swift = self._swift_road()
        self.calm = False
        self.refresh()
        for machine, _ in keyed:
            if isinstance(machine, BaseMachine):
                machine.watch(self)

    def _swift_road(self) -> Callable[[float], bool]:
        if not self._paid:
            return _always
        # The meter's own method: with one limit no frame of ours stands in between.
        return self._paid[0].swift if len(self._paid) == 1 else self._swift_all

    def _swift_all(self, now: float) -> bool:
        meters = [each.meter for each in self._paid]
        for meter in meters:
            if now < meter.due:
                return False
        for meter in meters:
            meter.take(now)
        return True

    def ready(self, now: float, body: object, *, draining: bool = False) -> Answer:
        """Ask whether a turn with *body* may begin; changes nothing.

        Args:
            now: Monotonic seconds.
            body: The message's, for key functions.
            draining: Nothing may wait for a circuit to recover: hold means reject.
        """
        common: Wait | None = None
        own: Wait | None = None
        for machine, key in self._members:
            answer = machine.ready(now, None if key is None else key(body))
            if isinstance(answer, Admit):
                continue
            if not isinstance(answer, Wait):
                return answer
            held = isinstance(machine, CircuitBreakerMachine) and answer.seconds is not None
            if held and draining:
                return Reject("rejected", answer.seconds or 0.0)
            if key is None:
                common = _longer(common, answer)
            else:
                own = _longer(own, answer)
        if common is not None:
            return common
        return ADMIT if own is None else Wait(own.seconds, keyed=True)

    def take(self, now: float, body: object) -> object:
        """Begin a turn that `ready` has admitted; the token goes to `record`."""
        # All keys first: if a key function raises, nothing has been taken.
        keys = [None if key is None else key(body) for _, key in self._members]
        tokens = []
        for (machine, _), key in zip(self._members, keys, strict=True):
            token = machine.take(now, key)
            if not isinstance(machine, RateLimitMachine):
                tokens.append(token)
        if self._foreign:
            self.refresh()
        return tuple(tokens)

    def adopt(self, now: float) -> object:
        """Begin, for the record, a turn that `swift` admitted and that did not end well at once.

        Takes from all but the rate limits, which have been paid.
        """
        tokens = tuple([machine.take(now, None) for machine, _ in self._others])
        if self._foreign:
            self.refresh()
        return tokens

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        """End the turn of *token*: well, badly, or (`None`) ended by us and no evidence."""
        for (machine, _), each in zip(self._others, token, strict=True):
            machine.record(now, each, outcome)
        if self._foreign:
            self.refresh()

    def give_back(self, now: float, token: Any, body: object) -> None:
        """The turn of *token* was for nothing: it counts for no machine, nor for a rate limit."""
        self.record(now, token, None)
        for machine, key in self._members:
            if isinstance(machine, (RateLimitMachine, KeyedRateLimitMachine)):
                machine.give_back(None if key is None else key(body))

    def refresh(self) -> None:
        """Work out `calm` anew; our own machines call this when theirs has changed."""
        self.calm = all(machine.calm and key is None for machine, key in self._others)

    def awake(self) -> None:
        """A machine of this gate may admit again what it made wait."""
        if self.on_wake is not None:
            self.on_wake()


def _key_of(policy: object) -> KeyFunction | None:
    key: KeyFunction | None = getattr(policy, "key", None)
    return key


def _longer(first: Wait | None, second: Wait) -> Wait:
    if first is None:
        return second
    if first.seconds is None or second.seconds is None:
        return first if first.seconds is None else second
    return first if first.seconds >= second.seconds else second
