"""Restart strategies for messages and actors. Policies decide; the runtime acts.

Everything here is pure: time and chance come in as arguments, answers go out
as frozen values. What a user writes is a declaration (`Retry(5)`); what keeps
state is a machine made from it.
"""

from actorflow.policies.backoff import Backoff, Exponential, Fixed
from actorflow.policies.breaker import CircuitBreaker, CircuitBreakerMachine
from actorflow.policies.bulkhead import Bulkhead, BulkheadMachine
from actorflow.policies.cache import Cache
from actorflow.policies.chain import Chain
from actorflow.policies.decision import (
    REASONS,
    Ack,
    Admit,
    Answer,
    Decision,
    Divert,
    Escalate,
    Position,
    Quarantine,
    Reason,
    Redeliver,
    Reject,
    Restart,
    Skip,
    Stop,
    Wait,
)
from actorflow.policies.gate import Gate
from actorflow.policies.machine import (
    BaseMachine,
    Decider,
    Declaration,
    KeyFunction,
    Machine,
    Policy,
)
from actorflow.policies.ratelimit import KeyedRateLimitMachine, RateLimit, RateLimitMachine
from actorflow.policies.retry import Retry, RetryBudget
from actorflow.policies.supervision import (
    AutoShutdown,
    ChildSpec,
    OnExhausted,
    RestartBudget,
    RestartDelay,
    RestartType,
    Strategy,
    affected,
    auto_shutdown,
    restart_wanted,
)
from actorflow.policies.timeout import Deadline, Timeout

__all__ = [
    "REASONS",
    "Ack",
    "Admit",
    "Answer",
    "AutoShutdown",
    "Backoff",
    "BaseMachine",
    "Bulkhead",
    "BulkheadMachine",
    "Cache",
    "Chain",
    "ChildSpec",
    "CircuitBreaker",
    "CircuitBreakerMachine",
    "Deadline",
    "Decider",
    "Decision",
    "Declaration",
    "Divert",
    "Escalate",
    "Exponential",
    "Fixed",
    "Gate",
    "KeyFunction",
    "KeyedRateLimitMachine",
    "Machine",
    "OnExhausted",
    "Policy",
    "Position",
    "Quarantine",
    "RateLimit",
    "RateLimitMachine",
    "Reason",
    "Redeliver",
    "Reject",
    "Restart",
    "RestartBudget",
    "RestartDelay",
    "RestartType",
    "Retry",
    "RetryBudget",
    "Skip",
    "Stop",
    "Strategy",
    "Timeout",
    "Wait",
    "affected",
    "auto_shutdown",
    "restart_wanted",
]
