"""CircuitBreaker against the simplest thing that could be right: its own history."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from actorflow.policies import Admit, CircuitBreaker, Wait

RECOVERY = 10.0


class BreakerAgainstHistory(RuleBasedStateMachine):
    """The model keeps the outcomes of the present era, and nothing else but a few names."""

    turns = Bundle("turns")

    @initialize(
        threshold=st.integers(1, 4),
        window=st.none() | st.sampled_from([5.0, 20.0]),
        probes=st.integers(1, 3),
    )
    def make(self, threshold: int, window: float | None, probes: int) -> None:
        self.policy = CircuitBreaker(threshold, RECOVERY, window=window, probes=probes)
        self.machine = self.policy.machine()
        self.now = 100.0
        self.era, self.state, self.opened = 0, "closed", 0.0
        self.history: list[tuple[float, bool]] = []
        self.running = 0

    def may_begin(self) -> bool:
        if self.state == "open":
            return self.now >= self.opened + RECOVERY
        if self.state == "half_open":
            return self.running + len(self.history) < self.policy.probes
        return True

    def enter(self, state: str) -> None:
        self.era, self.state, self.history, self.running = self.era + 1, state, [], 0
        self.opened = self.now

    def too_many(self) -> bool:
        if self.policy.window is None:
            row = [ok for _, ok in self.history[-self.policy.failure_threshold :]]
            return len(row) == self.policy.failure_threshold and not any(row)
        failures = [at for at, ok in self.history if not ok and self.now - at <= self.policy.window]
        return len(failures) >= self.policy.failure_threshold

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, RECOVERY]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=turns)
    def begin(self) -> object:
        answer = self.machine.ready(self.now, None)
        assert isinstance(answer, Admit) is self.may_begin()
        admitted = self.may_begin()
        if admitted and self.state == "open":
            self.enter("half_open")
        if admitted and self.state == "half_open":
            self.running += 1
        return self.machine.take(self.now, None), self.era if admitted else None

    @rule(turn=consumes(turns), outcome=st.sampled_from([True, True, False, False, None]))
    def end(self, turn: tuple[object, int | None], outcome: bool | None) -> None:
        token, era = turn
        self.machine.record(self.now, token, outcome)
        if era != self.era:
            return
        if self.state == "half_open":
            self.running -= 1
            if outcome is False:
                self.enter("open")
            elif outcome:
                self.history.append((self.now, True))
                if len(self.history) == self.policy.probes:
                    self.enter("closed")
        elif outcome is not None:
            self.history.append((self.now, outcome))
            if outcome is False and self.too_many():
                self.enter("open")

    @rule(elapsed=st.sampled_from([0.0, 3.0]))
    def restart(self, elapsed: float) -> None:
        """Kill and restore: time passes, running turns are gone, all else goes on."""
        self.now += elapsed
        state = self.machine.dump(self.now - elapsed)
        self.machine = self.policy.machine()
        self.machine.load(state, self.now, elapsed)
        if self.state == "half_open":
            self.running = 0
        # Tokens of the old life: none of them is recorded on the new machine.
        self.era += 1

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "machine"):
            return
        assert self.machine.state() == self.state
        answer = self.machine.ready(self.now, None)
        if self.may_begin():
            assert answer == Admit()
        elif self.state == "open":
            assert answer == Wait(self.opened + RECOVERY - self.now)
        else:
            assert answer == Wait(None)

    @invariant()
    def calm_means_that_a_good_turn_changes_nothing(self) -> None:
        if not hasattr(self, "machine") or not self.machine.calm:
            return
        before = self.machine.dump(self.now)
        self.machine.record(self.now, self.machine.take(self.now, None), True)
        assert self.machine.dump(self.now) == before
        assert self.machine.calm


TestBreakerAgainstHistory = BreakerAgainstHistory.TestCase
