"""What is true of every policy that users write: a value, checked when made, with a place."""

from collections.abc import Callable

import attrs
import pytest

from actorflow.errors import ConfigurationError
from actorflow.policies import (
    REASONS,
    Bulkhead,
    CircuitBreaker,
    Deadline,
    Declaration,
    RateLimit,
    Retry,
    Timeout,
)

MAKERS: list[Callable[..., Declaration]] = [
    Retry,
    CircuitBreaker,
    lambda **place: RateLimit(5, **place),
    lambda **place: Bulkhead(5, **place),
    lambda **place: Timeout(5, **place),
    lambda **place: Deadline(5, **place),
]
every = pytest.mark.parametrize("make", MAKERS)


@every
def test_policies_declared_alike_are_equal_and_hash_alike(make: Callable[..., Declaration]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != make(shared="api")


@every
def test_a_policy_cannot_be_changed_once_declared(make: Callable[..., Declaration]) -> None:
    policy = make()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.shared = "api"  # type: ignore[misc]


@every
def test_state_is_the_stages_own_unless_said_otherwise(make: Callable[..., Declaration]) -> None:
    policy = make()

    assert (policy.shared, policy.per_worker, policy.scope) == (None, False, "system")


@every
def test_scope_store_needs_a_store_backed_system(make: Callable[..., Declaration]) -> None:
    kind = type(make()).__name__

    with pytest.raises(ConfigurationError) as caught:
        make(scope="store")

    assert str(caught.value) == (
        f"{kind}.scope must be 'system' ('store' needs a store-backed system), got 'store'"
    )


@every
def test_an_unknown_scope_is_refused(make: Callable[..., Declaration]) -> None:
    with pytest.raises(ConfigurationError, match="scope must be one of 'system', 'store', got 'w"):
        make(scope="world")


@every
def test_shared_and_per_worker_contradict(make: Callable[..., Declaration]) -> None:
    kind = type(make()).__name__

    with pytest.raises(ConfigurationError) as caught:
        make(shared="api", per_worker=True)

    assert str(caught.value) == (
        f"{kind}.per_worker must be False where shared='api' is given, got True"
    )


@every
@pytest.mark.parametrize("wrong", [{"shared": ""}, {"shared": "a/b"}, {"per_worker": "yes"}])
def test_a_wrong_place_is_refused(
    make: Callable[..., Declaration], wrong: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} must be"):
        make(**wrong)


@pytest.mark.parametrize("kind", [Timeout, Deadline])
@pytest.mark.parametrize("seconds", [0, -1, float("inf"), "30", True, None])
def test_a_limit_in_time_is_above_0(kind: type, seconds: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(seconds)

    assert str(caught.value) == (
        f"{kind.__name__}.seconds must be a number of seconds, above 0, got {seconds!r}"
    )


def test_the_list_of_reasons_is_closed() -> None:
    assert REASONS == (
        "failed",
        "expired",
        "rejected",
        "overflow",
        "stopped",
        "poison",
        "unknown_schema",
        "late_reply",
        "sibling_failed",
    )
