"""State per key: bounded, the least recently taken forgotten first."""

import enum
import uuid

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actorflow.policies.keyed import LOOK, Keyed, restored_key, storable_key


def never(state: list[int], now: float) -> bool:
    return False


def empty(state: list[int], now: float) -> bool:
    return not state


class KeyedAgainstList(RuleBasedStateMachine):
    """Keyed against a list of keys, youngest last; no state is ever quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.keyed: Keyed[list[int]] = Keyed(3, list, never)
        self.model: list[int] = []

    @rule(key=st.integers(0, 6))
    def take(self, key: int) -> None:
        self.keyed.take(key, 0.0).append(key)
        if key in self.model:
            self.model.remove(key)
        self.model = [*self.model, key][-3:]

    @rule(key=st.integers(0, 6))
    def peek(self, key: int) -> None:
        assert (self.keyed.peek(key) is not None) is (key in self.model)

    @invariant()
    def holds_the_youngest_in_order(self) -> None:
        assert [key for key, _ in self.keyed.items()] == self.model


TestKeyedAgainstList = KeyedAgainstList.TestCase


def test_a_state_as_good_as_new_is_forgotten_before_an_older_one_that_counts() -> None:
    keyed: Keyed[list[int]] = Keyed(3, list, empty)
    keyed.take("old and busy", 0.0).append(1)
    keyed.take("quiet", 0.0)
    keyed.take("busy", 0.0).append(1)

    keyed.take("new", 0.0)

    assert [key for key, _ in keyed.items()] == ["old and busy", "busy", "new"]


def test_only_the_oldest_few_are_looked_at() -> None:
    keyed: Keyed[list[int]] = Keyed(LOOK + 1, list, empty)
    for number in range(LOOK):
        keyed.take(number, 0.0).append(1)
    keyed.take("quiet but young", 0.0)

    keyed.take("new", 0.0)

    assert keyed.peek(0) is None
    assert keyed.peek("quiet but young") is not None


def test_a_smaller_bound_forgets_at_once() -> None:
    keyed: Keyed[list[int]] = Keyed(5, list, never)
    for number in range(5):
        keyed.take(number, 0.0)

    keyed.resize(2, 0.0)

    assert [key for key, _ in keyed.items()] == [3, 4]


plain_keys = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda keys: st.lists(keys, max_size=3).map(tuple),
    max_leaves=5,
)


@given(plain_keys)
def test_a_storable_key_comes_back_through_msgpack_as_itself(key: object) -> None:
    assert storable_key(key)

    packed = msgpack.packb(key)

    assert restored_key(msgpack.unpackb(packed, strict_map_key=False)) == key


class Color(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "key", [2**64, -(2**63) - 1, "\ud800", Color.RED, uuid.UUID(int=1), frozenset(), (1, Color.RED)]
)
def test_what_would_break_a_snapshot_or_come_back_as_another_is_not_storable(key: object) -> None:
    assert not storable_key(key)
