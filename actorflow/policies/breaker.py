"""Stop calling what is failing; try it now and then; call it again when it works.

    state       event      ──► state
    ─────       ─────          ─────
    closed      tripped        open         failures reached their limit
    open        recovered      half_open    the recovery time is over, a turn is taken
    half_open   proved         closed       every probe ended well
    half_open   relapsed       open         a probe failed

The table is `MOVES`, and nothing else moves a circuit. Each move begins a new
*era*. A turn's token names the era it began in, and an outcome from an earlier
era changes nothing: a call that was already on its way when the circuit opened
can neither open it again nor, ending well by luck, close it.

Half-open admits exactly *probes* turns. One that we end ourselves (outcome
`None`) has proved nothing and frees its place, so no circuit can stay half-open
because a probe was cancelled. Opening spends no attempt of any message.

`ready` changes nothing: an open circuit becomes half-open when a turn is taken.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, Literal, TypeAlias

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.decision import ADMIT, Answer, Divert, Reject, Wait
from actorflow.policies.keyed import Keyed, restored_key, storable_key
from actorflow.policies.machine import BaseMachine, Declaration, KeyFunction, check_key
from actorflow.policies.tally import Recent, Share, Streak, Tally

__all__ = ["MOVES", "Circuit", "CircuitBreaker", "CircuitBreakerMachine", "Event", "State"]

State: TypeAlias = Literal["closed", "open", "half_open"]
Event: TypeAlias = Literal["tripped", "recovered", "proved", "relapsed"]

MOVES: Final[dict[tuple[State, Event], State]] = {
    ("closed", "tripped"): "open",
    ("open", "recovered"): "half_open",
    ("half_open", "proved"): "closed",
    ("half_open", "relapsed"): "open",
}
"""Every move a circuit can make; another one is a bug and raises `KeyError`."""

#: The era of a turn that began while the circuit was open: no circuit is ever in it.
_NO_ERA: Final = -1


@attrs.frozen
class CircuitBreaker(Declaration):
    """After too many failures hold messages back for a while, then let probes through.

    Every attempt that fails counts, also one that will be retried.

    Args:
        failure_threshold: Failures in a row that open the circuit; with *window*, failures within
            it; with *failure_rate*, calls within it before the rate counts. 1 or more.
        recovery_timeout: Seconds from opening to the first probe; 0 or more.
        window: Seconds over which failures are counted; `None`: in a row.
        failure_rate: Share of failed calls within *window* that opens the circuit, above 0 up to 1.
        probes: Turns let through at once after the recovery time; all must end well. 1 or more.
        when_open: `"hold"`: messages wait in the mailbox. `"reject"`: they become dead letters
            (`rejected`). `Divert(to)`: they go there.
        key: A function of the message body; each key it answers has a circuit of its own.
        max_keys: Most keys remembered; the least recently used is forgotten first.

    Raises:
        ConfigurationError: An option is out of range, or two contradict.
    """

    failure_threshold: int = attrs.field(default=5)
    recovery_timeout: float = attrs.field(default=30.0)
    window: float | None = attrs.field(default=None, kw_only=True)
    failure_rate: float | None = attrs.field(default=None, kw_only=True)
    probes: int = attrs.field(default=1, kw_only=True)
    when_open: Literal["hold", "reject"] | Divert = attrs.field(default="hold", kw_only=True)
    key: KeyFunction | None = attrs.field(default=None, kw_only=True)
    max_keys: int = attrs.field(default=10_000, kw_only=True)

    def __attrs_post_init__(self) -> None:
        options.count("CircuitBreaker.failure_threshold", self.failure_threshold)
        options.seconds("CircuitBreaker.recovery_timeout", self.recovery_timeout)
        options.optional(options.seconds, "CircuitBreaker.window", self.window, zero=False)
        options.optional(options.positive, "CircuitBreaker.failure_rate", self.failure_rate)
        if self.failure_rate is not None and self.failure_rate > 1:
            wanted = "a share of calls, up to 1 (0.5 is half)"
            raise ConfigurationError("CircuitBreaker.failure_rate", self.failure_rate, wanted)
        if self.failure_rate is not None and self.window is None:
            wanted = f"given where failure_rate={self.failure_rate!r} is"
            raise ConfigurationError("CircuitBreaker.window", None, wanted)
        options.count("CircuitBreaker.probes", self.probes)
        if not isinstance(self.when_open, Divert) and self.when_open not in ("hold", "reject"):
            wanted = "'hold', 'reject' or Divert(to)"
            raise ConfigurationError("CircuitBreaker.when_open", self.when_open, wanted)
        check_key("CircuitBreaker.key", self.key)
        options.count("CircuitBreaker.max_keys", self.max_keys)
        self.check_placement()

    def machine(self) -> CircuitBreakerMachine:
        return CircuitBreakerMachine(self)

    def tally(self) -> Tally:
        """A new count of the kind that the options ask for."""
        if self.window is None:
            return Streak(self.failure_threshold)
        if self.failure_rate is None:
            return Recent(self.failure_threshold, self.window)
        return Share(self.failure_threshold, self.window, self.failure_rate)


class Circuit:
    """One circuit: of the whole stage, or of one key.

    Attributes:
        state: As of the last turn taken or recorded.
        era: Rises with every move.
        opens_at: When an open circuit lets probes through.
        running: Probes that have begun and not ended.
        proved: Probes that have ended well in this era.
    """

    __slots__ = ("era", "opens_at", "proved", "running", "state", "tally")
    state: State

    def __init__(self, tally: Tally) -> None:
        self.state = "closed"
        self.era = 0
        self.opens_at = 0.0
        self.running = self.proved = 0
        self.tally = tally

    def move(self, event: Event) -> None:
        self.state = MOVES[self.state, event]
        self.era += 1
        self.running = self.proved = 0
        self.tally.clear()

    def quiet(self, now: float) -> bool:
        return self.state == "closed" and self.tally.quiet(now)


class CircuitBreakerMachine(BaseMachine):
    """The circuits of one declaration: a single one, or one per key."""

    __slots__ = ("_circuits", "_options", "_single")

    def __init__(self, policy: CircuitBreaker) -> None:
        self._options = policy
        self._circuits: Keyed[Circuit] = Keyed(policy.max_keys, self._circuit, Circuit.quiet)
        self._single = self._circuit() if policy.key is None else None
        super().__init__(policy, calm=self._is_calm())

    def __len__(self) -> int:
        return len(self._circuits)

    def state(self, key: Hashable = None) -> State:
        """The state of the circuit (of *key*), as of the last turn taken or recorded."""
        circuit = self._peek(key)
        return "closed" if circuit is None else circuit.state

    def ready(self, now: float, key: Hashable) -> Answer:
        circuit = self._peek(key)
        if circuit is None or circuit.state == "closed":
            return ADMIT
        if circuit.state == "open":
            return ADMIT if now >= circuit.opens_at else self._refuse(circuit.opens_at - now)
        if circuit.running + circuit.proved < self._options.probes:
            return ADMIT
        return self._refuse(None)

    def take(self, now: float, key: Hashable) -> object:
        circuit = self._single if self._single is not None else self._circuits.take(key, now)
        if circuit.state == "open":
            if now < circuit.opens_at:
                return circuit, _NO_ERA  # Not admitted, so not a probe: its outcome proves nothing.
            circuit.move("recovered")
        if circuit.state == "half_open":
            if circuit.running + circuit.proved >= self._options.probes:
                return circuit, _NO_ERA
            circuit.running += 1
        self.settle(self._is_calm())
        return circuit, circuit.era

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        circuit, era = token
        if era != circuit.era:
            return
        if circuit.state == "closed":
            if outcome is not None and circuit.tally.count(now, outcome):
                self._open(circuit, "tripped", now)
            self.settle(self._is_calm())
            return
        if outcome is False:
            self._open(circuit, "relapsed", now)
        else:
            circuit.running -= 1
            circuit.proved += outcome is True
            if circuit.proved >= self._options.probes:
                circuit.move("proved")
        self.settle(self._is_calm())
        self.wake()  # Who waited for this probe now runs, or learns for how long it waits.

    def dump(self, now: float) -> dict[str, Any]:
        """Each circuit that is not as good as new: key, state, time left, probes proved, tally."""
        found = self._circuits.items() if self._single is None else [(None, self._single)]
        circuits = [
            [key, each.state, max(0.0, each.opens_at - now), each.proved, each.tally.dump(now)]
            for key, each in found
            if storable_key(key) and not each.quiet(now)
        ]
        return {"circuits": circuits}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        """Go on from *state*. Turns of the old life are over: their probes' places are free."""
        elapsed = max(0.0, elapsed)
        self._circuits.clear()
        if self._single is not None:
            self._single = self._circuit()
        for stored, phase, remaining, proved, tally in state["circuits"]:
            circuit = self._single or self._circuits.take(restored_key(stored), now)
            circuit.state = phase
            circuit.opens_at = now + max(0.0, remaining - elapsed)
            circuit.proved = min(proved, self._options.probes - 1)
            circuit.tally.load(tally, now, elapsed)
        self.settle(self._is_calm())

    def change(self, policy: CircuitBreaker, now: float) -> None:
        """Take the new options: counts start anew, an open circuit recovers by the sooner time."""
        super().change(policy, now)
        self._options = policy
        self._circuits.resize(policy.max_keys, now)
        for circuit in self._circuits.states() if self._single is None else [self._single]:
            circuit.tally = policy.tally()
            circuit.opens_at = min(circuit.opens_at, now + policy.recovery_timeout)
            circuit.proved = min(circuit.proved, policy.probes - 1)
        self.settle(self._is_calm())
        self.wake()

    def _peek(self, key: Hashable) -> Circuit | None:
        return self._single if self._single is not None else self._circuits.peek(key)

    def _circuit(self) -> Circuit:
        return Circuit(self._options.tally())

    def _open(self, circuit: Circuit, event: Event, now: float) -> None:
        circuit.move(event)
        circuit.opens_at = now + self._options.recovery_timeout

    def _refuse(self, seconds: float | None) -> Answer:
        """Hold, reject or divert; *seconds* until a probe, `None`: until one has ended."""
        when_open = self._options.when_open
        if when_open == "hold":
            return Wait(seconds, keyed=self._single is None)
        if when_open == "reject":
            return Reject("rejected", seconds or 0.0)
        assert isinstance(when_open, Divert)
        return when_open

    def _is_calm(self) -> bool:
        single = self._single
        return (
            single is not None
            and single.state == "closed"
            and type(single.tally) is Streak
            and single.tally.failures == 0
        )
