"""All policies of one stage or actor as one thing to ask.

    deadline ─► rate ─► breaker ─► bulkhead ─► lease ─► run ─► classify ─► retry ─► records
    └──────────────── gate ───────────────┘                    └──── decide ────┘

That order is fixed; the order of the list means nothing. After a failed turn
the first of these that has an opinion answers:

    1. the deadline    its error, or a redelivery that would come due too late: expired
    2. your deciders   all are asked, the gravest answer counts (`GRAVITY`)
    3. `Retry`         and its budget, if it has one
    4. nobody          failed, at once

A chain is made when its stage or actor starts, and checks what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from actorflow import options
from actorflow.errors import ConfigurationError, DeadlineExceeded
from actorflow.policies.cache import Cache
from actorflow.policies.decision import (
    Ack,
    Decision,
    Divert,
    Escalate,
    Quarantine,
    Redeliver,
    Restart,
    Skip,
    Stop,
)
from actorflow.policies.gate import Gate
from actorflow.policies.kinds import check_policies, kind_of, sorted_gates, with_defaults
from actorflow.policies.machine import Decider, Machine
from actorflow.policies.ratelimit import RateLimit, RateLimitMachine
from actorflow.policies.retry import Retry, RetryBudget
from actorflow.policies.roster import Roster, is_per_worker
from actorflow.policies.timeout import Deadline, Timeout

__all__ = ["GRAVITY", "Chain"]

GRAVITY: Final[tuple[type, ...]] = (
    Ack,
    Redeliver,
    Skip,
    Divert,
    Quarantine,
    Restart,
    Stop,
    Escalate,
)
"""Answers from the lightest to the gravest; the gravest of several deciders counts."""

_FAILED: Final = Quarantine("failed")
_EXPIRED: Final = Quarantine("expired")


class Chain:
    """The policies of one stage or actor, and the machines made of them.

    Args:
        policies: What the stage names.
        where: What to call it in errors, such as ``stage 'fetch'``.
        workers: How many workers there are, for policies with `per_worker`.
        defaults: Policies of kinds that *policies* does not name.
        shared: The machines of policies with `shared`, of the whole system; missing ones are
            put in.
        timeout: The stage's own ``timeout=``; the smaller of it and a `Timeout` holds.

    Attributes:
        cache: The `Cache`, or `None`; it is asked around the handler, and before the gate.
        retry: The `Retry`, or `None`.
        timeout: Seconds that one attempt may run; `None`: no limit.
        deadline: Seconds from acceptance to the end; `None`: no limit.
        dated: Some answer depends on *age*; otherwise `decide` may be given 0.
        may_retry: A message may be delivered more than once.
        budgeted: `first_lease` counts something; otherwise it need not be called.
        gate: Asked before each lease; `None` if nothing guards it. With `per_worker`, that of
            the first worker: see `gate_for`.

    Raises:
        ConfigurationError: A policy is wrong, or two contradict.
    """

    __slots__ = (
        "_budget",
        "_deciders",
        "_gates",
        "_guards",
        "_policies",
        "_roster",
        "_where",
        "budgeted",
        "cache",
        "dated",
        "deadline",
        "gate",
        "may_retry",
        "retry",
        "timeout",
    )

    def __init__(
        self,
        policies: Sequence[object],
        *,
        where: str,
        workers: int = 1,
        defaults: Sequence[object] = (),
        shared: dict[str, Machine] | None = None,
        timeout: float | None = None,
    ) -> None:
        options.count(f"{where} workers", workers)
        options.optional(options.seconds, f"{where} timeout", timeout, zero=False)
        named = check_policies(where, policies)
        if timeout is not None:
            named = _with_timeout(named, timeout)
        self._where = where
        self._roster = Roster(where, {} if shared is None else shared)
        self._policies = with_defaults(named, check_policies(f"{where} default", defaults))
        self._guards = sorted_gates(self._policies)
        self._budget = self._make_budget()
        self._gates: list[Gate | None] = []
        self.gate = self.gate_for(0)
        for worker in range(1, workers):
            self.gate_for(worker)
        self._settle()

    def _settle(self) -> None:
        """Work out the plain attributes from the policies."""
        self.retry: Retry | None = self._first(Retry)
        self.cache: Cache | None = self._first(Cache)
        limit, deadline = self._first(Timeout), self._first(Deadline)
        self.timeout: float | None = None if limit is None else limit.seconds
        self.deadline: float | None = None if deadline is None else deadline.seconds
        self._deciders: list[Decider] = [
            each  # type: ignore[misc]  # Checked: it has decide().
            for each in self._policies
            if kind_of(each) is not Retry and callable(getattr(each, "decide", None))
        ]
        retried = self.retry is not None and self.retry.max_attempts > 1
        self.may_retry = retried or bool(self._deciders)
        late = self.retry is not None and self.retry.deadline is not None
        self.dated = late or self.deadline is not None or bool(self._deciders)
        self.budgeted = self._budget is not None

    def _first(self, kind: Any) -> Any:
        return next((each for each in self._policies if isinstance(each, kind)), None)

    def gate_for(self, worker: int) -> Gate | None:
        """The gate of the worker numbered *worker* from 0, made if it is new.

        Without a `per_worker` policy all workers have the same one.
        """
        if self._gates and not any(map(is_per_worker, self._guards.values())):
            return self._gates[0]
        while len(self._gates) <= worker:
            self._gates.append(self._make_gate(len(self._gates)))
        return self._gates[worker]

    def _make_gate(self, worker: int) -> Gate | None:
        members = []
        for label, policy in self._guards.items():
            machine = self._roster.find(policy, label, worker)
            if machine is not None:
                members.append((policy, machine))
        return Gate(members) if members else None

    def _make_budget(self) -> RetryBudget | None:
        retry = self._first(Retry)
        budget = None if retry is None else self._roster.find(retry, "Retry")
        assert budget is None or isinstance(budget, RetryBudget)
        return budget

    def section(self, name: str, rate: RateLimit) -> RateLimitMachine:
        """The machine of a rate that handlers ask for themselves; a snapshot has it too.

        Raises:
            ConfigurationError: Its shared name is used otherwise.
        """
        machine = self._roster.find(rate, f"rates.{name}")
        assert isinstance(machine, RateLimitMachine)
        return machine

    @property
    def keeps(self) -> bool:
        """Whether there is anything for `dump`."""
        return bool(self._roster)

    def first_lease(self) -> None:
        """A message was leased for the first time; only a retry budget counts it."""
        if self._budget is not None:
            self._budget.earn()

    def decide(
        self, attempt: int, error: BaseException, *, crashed: bool, age: float, draw: float
    ) -> Decision:
        """Say what becomes of a message whose *attempt*-th run has just failed.

        Args:
            attempt: Which run failed; 1 is the first.
            error: What it raised.
            crashed: It ended its actor too. Then `Restart` is no answer: that is already so.
            age: Seconds since the stage or actor accepted the message.
            draw: A number from ``[0, 1)`` for the jitter.
        """
        assert attempt >= 1, attempt
        assert 0 <= draw < 1, draw
        if isinstance(error, DeadlineExceeded):
            return _EXPIRED
        opinion = self._asked(attempt, error, crashed=crashed, age=age, draw=draw)
        decision = opinion or _FAILED
        if opinion is None and self.retry is not None:
            decision = self.retry.decide(attempt, error, crashed=crashed, age=age, draw=draw)
        if not isinstance(decision, Redeliver):
            return decision
        if self.deadline is not None and age + decision.delay > self.deadline:
            return _EXPIRED
        if opinion is None and self._budget is not None and not self._budget.spend():
            return _FAILED
        return decision

    def _asked(self, attempt: int, error: BaseException, **facts: Any) -> Decision | None:
        """What the users' deciders say together; `None` if none of them has an opinion."""
        gravest: Decision | None = None
        for decider in self._deciders:
            answer = decider.decide(attempt, error, **facts)
            if answer is None or (facts["crashed"] and isinstance(answer, Restart)):
                continue
            option = f"{self._where} {type(decider).__name__}.decide()"
            if type(answer) not in GRAVITY:
                raise ConfigurationError(option, answer, "a decision such as Skip(), or None")
            if isinstance(answer, Redeliver):  # A NaN would spoil the due heap.
                options.seconds(f"{option}.delay", answer.delay)
            if gravest is None or GRAVITY.index(type(answer)) > GRAVITY.index(type(gravest)):
                gravest = answer
        return gravest

    def change(self, policy: object, now: float) -> None:
        """Put *policy* in the place of the one of its kind, and keep what was counted.

        Raises:
            ConfigurationError: There is not exactly one of its kind, or key or place differ.
        """
        check_policies(self._where, [policy])
        kind = kind_of(policy)
        found = [each for each in self._policies if kind_of(each) is kind]
        if len(found) != 1:
            wanted = f"of a kind that is there once; {kind.__name__} is there {len(found)} times"
            raise ConfigurationError(f"{self._where} policy", policy, wanted)
        for name in ("key", "shared", "per_worker"):
            before = getattr(found[0], name, None)
            if getattr(policy, name, None) != before:
                wanted = f"declared with {name}={before!r} as before"
                raise ConfigurationError(f"{self._where} policy", policy, wanted)
        old = found[0]
        labels = [label for label, each in self._guards.items() if each is old]
        self._roster.change(labels, policy, now)
        self._guards.update(dict.fromkeys(labels, policy))
        self._policies = [policy if each is old else each for each in self._policies]
        if isinstance(policy, Retry):
            self._change_budget(policy, now)
        self._settle()

    def _change_budget(self, retry: Retry, now: float) -> None:
        if self._budget is None or retry.budget is None:
            self._roster.forget("Retry")
            self._budget = self._make_budget()
        else:
            self._budget.change(retry, now)

    def dump(self, now: float) -> dict[str, Any]:
        """The state of every machine, as plain values under their labels."""
        return self._roster.dump(now)

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        """Go on from *state*, dumped *elapsed* seconds ago. What is not there begins anew."""
        self._roster.load(state, now, elapsed)


def _with_timeout(policies: tuple[object, ...], seconds: float) -> tuple[object, ...]:
    """*policies* with ``timeout=`` worked in: the smaller of it and a `Timeout` holds."""
    others = tuple(each for each in policies if not isinstance(each, Timeout))
    named = [each.seconds for each in policies if isinstance(each, Timeout)]
    return (*others, Timeout(min(seconds, *named)) if named else Timeout(seconds))
