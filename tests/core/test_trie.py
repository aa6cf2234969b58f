"""The trie against the simplest thing that could be right: a dict that is copied."""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from actorflow.core.trie import EMPTY, LEAF, WIDTH, Node, drop, find, flat, put, put_all, size


class Fated(str):
    """A text whose hash is chosen, so that many of them meet."""

    fate = 0

    def __hash__(self) -> int:
        return self.fate


def fated(name: str, fate: int) -> Fated:
    key = Fated(name)
    key.fate = fate
    return key


plain = [f"key{number}" for number in range(200)]
meeting = [fated(f"fated{n}", (0, 1 << 40, -1)[n % 3]) for n in range(120)]  # 40 of each.
keys = st.sampled_from([*plain, *meeting])
tables = st.dictionaries(keys, st.integers(), max_size=4) | st.sampled_from(
    [dict.fromkeys(plain, 0), dict.fromkeys(meeting, 1), dict.fromkeys(plain[:LEAF], 2)]
)


def check(node: Node, levels: int = 0) -> None:
    """Counts are right, and no part is larger or smaller than it need be."""
    if isinstance(node, dict):
        assert len(node) <= LEAF or levels == 16
        return
    assert len(node) == WIDTH + 1
    assert LEAF // 2 < node[WIDTH] == sum(map(size, node[:WIDTH]))
    for part in node[:WIDTH]:
        check(part, levels + 1)


class TrieAgainstDict(RuleBasedStateMachine):
    """All versions are kept, and looked at again after every step."""

    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Node, dict[str, Any]]] = [(EMPTY, {})]

    def keep(self, node: Node, model: dict[str, Any]) -> int:
        self.made.append((node, model))
        return len(self.made) - 1

    @rule(target=versions)
    def begin(self) -> int:
        return 0

    @rule(target=versions, version=versions, key=keys, value=st.integers())
    def put(self, version: int, key: str, value: int) -> int:
        node, model = self.made[version]
        return self.keep(put(node, key, value), {**model, key: value})

    @rule(target=versions, version=versions, table=tables)
    def put_all(self, version: int, table: dict[str, int]) -> int:
        node, model = self.made[version]
        return self.keep(put_all(node, table), {**model, **table})

    @rule(target=versions, version=versions, left=st.sampled_from([0, LEAF // 2, LEAF, 100]))
    def drop(self, version: int, left: int) -> int:
        node, model = self.made[version]
        model = dict(model)
        for key in list(model)[left:]:
            node = drop(node, key)
            del model[key]
        return self.keep(node, model)

    def teardown(self) -> None:
        for node, model in self.made:
            check(node)
            assert flat(node) == model
            assert size(node) == len(model)
            for key in (*plain[:3], *meeting[:9]):
                assert find(node, key, None) == model.get(key)


TestTrieAgainstDict = TrieAgainstDict.TestCase
TestTrieAgainstDict.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_a_changed_copy_shares_all_parts_but_those_on_the_way() -> None:
    before = put_all(EMPTY, {f"key{n}": n for n in range(10_000)})

    after = put(before, "key7", "new")
    shorter = drop(before, "key7")

    assert isinstance(before, tuple)
    for changed in (after, shorter):
        assert isinstance(changed, tuple)
        shared = [old is new for old, new in zip(before[:WIDTH], changed[:WIDTH], strict=True)]
        assert sorted(shared) == [False] + [True] * 15


def test_what_it_holds_is_seen_by_the_garbage_collector() -> None:
    assert gc.is_tracked(put_all(EMPTY, {"a": []}))
