"""Which policies may stand in one list, and how a wrong one is told off.

    Deadline, Timeout, CircuitBreaker, Retry,    one of each
    Cache
    RateLimit, Bulkhead                          any number: all of them hold
    a policy of your own                         one of each class

The order of the list means nothing. `sorted_gates` gives the order in which
machines are asked, and in which a snapshot names them, whatever the list's was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from actorflow.errors import ConfigurationError
from actorflow.policies.breaker import CircuitBreaker
from actorflow.policies.bulkhead import Bulkhead
from actorflow.policies.cache import Cache
from actorflow.policies.machine import Declaration
from actorflow.policies.ratelimit import RateLimit
from actorflow.policies.retry import Retry
from actorflow.policies.timeout import Deadline, Timeout

__all__ = ["check_policies", "kind_of", "sorted_gates", "with_defaults"]

#: Ours, and how each is written; the order is that in which gates are asked.
_EXAMPLES: Final[dict[type, str]] = {
    Deadline: "Deadline(300)",
    RateLimit: "RateLimit(50)",
    CircuitBreaker: "CircuitBreaker()",
    Bulkhead: "Bulkhead(8)",
    Timeout: "Timeout(30)",
    Retry: "Retry()",
    Cache: "Cache(300)",
}
_MANY: Final = (RateLimit, Bulkhead)


def kind_of(policy: object) -> type:
    """The class that counts as the policy's kind: ours if it is one of ours, else its own."""
    for kind in _EXAMPLES:
        if isinstance(policy, kind):
            return kind
    return type(policy)


def check_policies(where: str, policies: object) -> tuple[object, ...]:
    """*policies* as a tuple, if they are policies and may stand together.

    Args:
        where: What the list belongs to, as it should stand in an error: ``stage 'fetch'``.
        policies: What the user wrote.

    Raises:
        ConfigurationError: It is no list, holds what is no policy, or two of one kind.
    """
    if isinstance(policies, (str, bytes)) or not isinstance(policies, Sequence):
        wanted = "a list of policies, such as [Retry()]"
        raise ConfigurationError(f"{where} policies", policies, wanted)
    for index, policy in enumerate(policies):
        _check_policy(f"{where} policies[{index}]", policy)
    seen: dict[type, object] = {}
    for policy in policies:
        kind = kind_of(policy)
        if kind in seen and kind not in _MANY:
            wanted = f"a list with one {kind.__name__}"
            raise ConfigurationError(f"{where} policies", [seen[kind], policy], wanted)
        seen[kind] = policy
    return tuple(policies)


def _check_policy(option: str, policy: object) -> None:
    if isinstance(policy, type):
        if issubclass(policy, Declaration) or _acts(policy):
            example = _EXAMPLES.get(policy, f"{policy.__name__}()")
            raise ConfigurationError(option, policy, f"an instance; write {example}")
    elif isinstance(policy, Declaration) or _acts(policy):
        return
    elif callable(getattr(policy, "delay", None)):
        wanted = f"a policy; write Retry(backoff={policy!r})"
        raise ConfigurationError(option, policy, wanted)
    wanted = "a policy such as Retry() or RateLimit(50), or an object with machine() or decide()"
    raise ConfigurationError(option, policy, wanted)


def _acts(policy: Any) -> bool:
    return callable(getattr(policy, "machine", None)) or callable(getattr(policy, "decide", None))


def with_defaults(policies: Sequence[object], defaults: Iterable[object]) -> list[object]:
    """*policies*, and of *defaults* the kinds that they do not name."""
    named = {kind_of(each) for each in policies}
    return [*policies, *(each for each in defaults if kind_of(each) not in named)]


def sorted_gates(policies: Iterable[object]) -> dict[str, object]:
    """Those that guard the lease, by label: rates, breaker, bulkheads, then the users' own.

    A label is the kind and a number, and does not depend on what other kinds there are.
    """
    guards = [
        each
        for each in policies
        if callable(getattr(each, "machine", None)) and kind_of(each) is not Retry
    ]
    labels: dict[str, object] = {}
    for policy in sorted(guards, key=_place):
        kind = kind_of(policy).__name__
        number = sum(label.startswith(f"{kind}.") for label in labels)
        labels[f"{kind}.{number}"] = policy
    return labels


def _place(policy: object) -> tuple[int, float, float, str]:
    kind = kind_of(policy)
    if kind not in _EXAMPLES:
        return len(_EXAMPLES), 0, 0, f"{kind.__module__}.{kind.__qualname__}"
    place = list(_EXAMPLES).index(kind)
    if isinstance(policy, RateLimit):
        return place, policy.rate / policy.per, policy.burst, policy.shared or ""
    if isinstance(policy, Bulkhead):
        return place, policy.limit, 0, policy.shared or ""
    return place, 0, 0, ""
