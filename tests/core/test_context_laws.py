"""Context against plain dicts: nothing that is done ever changes a version made before."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from actorflow.core.context import Context
from actorflow.errors import MergeConflictError, MissingKey
from actorflow.wire import decode, encode

keys = st.sampled_from([f"key{number}" for number in range(45)])
values = st.recursive(
    st.none() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(st.text("ab", max_size=2), parts, max_size=2)
        | st.tuples(parts, parts)
    ),
    max_leaves=4,
)
tables = st.dictionaries(keys, values, max_size=3) | st.builds(
    lambda value: dict.fromkeys((f"key{number}" for number in range(45)), value), values
)


@attrs.frozen
class Version:
    """A Context and what it must be."""

    context: Context
    model: dict[str, Any]
    name: str = ""
    written: frozenset[str] = frozenset()

    def check(self) -> None:
        context = self.context
        assert repr(context.to_dict()) == repr(dict(sorted(self.model.items())))
        assert context.name == self.name
        assert context.written == self.written
        assert list(context) == sorted(self.model)
        assert len(context) == len(self.model)
        assert context == self.model


def spoil(value: Any) -> None:
    """Change all of *value* that can be changed."""
    for part in value.values() if isinstance(value, dict) else value if _has_parts(value) else ():
        spoil(part)
    if isinstance(value, (list, dict)):
        value.clear()


def _has_parts(value: Any) -> bool:
    return isinstance(value, (list, tuple))


class ContextAgainstDict(RuleBasedStateMachine):
    """All versions are kept, and looked at again at the end."""

    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Version] = []

    def keep(self, version: Version) -> Version:
        self.made.append(version)
        return version

    @rule(target=versions, table=tables)
    def make(self, table: dict[str, Any]) -> Version:
        model = copy.deepcopy(table)
        context = Context(table)
        spoil(table)
        return self.keep(Version(context, model))

    @rule(target=versions, old=versions, key=keys, value=values)
    def set(self, old: Version, key: str, value: Any) -> Version:
        model = {**old.model, key: copy.deepcopy(value)}
        context = old.context.set(key, value)
        spoil(value)
        return self.keep(Version(context, model, old.name, old.written | {key}))

    @rule(target=versions, old=versions, table=tables)
    def update(self, old: Version, table: dict[str, Any]) -> Version:
        new = copy.deepcopy(table)
        context = old.context.update(table)
        spoil(table)
        return self.keep(Version(context, {**old.model, **new}, old.name, old.written | set(new)))

    @rule(target=versions, old=versions, other=versions)
    def update_from_another(self, old: Version, other: Version) -> Version:
        context = old.context.update(other.context)
        model = {**old.model, **other.model}
        return self.keep(Version(context, model, old.name, old.written | set(other.model)))

    @rule(target=versions, old=versions, key=keys)
    def remove(self, old: Version, key: str) -> Version:
        if key not in old.model:
            with pytest.raises(MissingKey):
                old.context.remove(key)
            return old
        model = {each: value for each, value in old.model.items() if each != key}
        written = old.written | {key}
        return self.keep(Version(old.context.remove(key), model, old.name, written))

    @rule(target=versions, old=versions, name=st.sampled_from(["a", "b", ""]))
    def fork(self, old: Version, name: str) -> Version:
        return self.keep(Version(old.context.fork(name), old.model, name))

    @rule(target=versions, base=versions, branches=st.lists(versions, max_size=3))
    def merge(self, base: Version, branches: list[Version]) -> Version:
        written = [key for branch in branches for key in branch.written]
        contexts = [branch.context for branch in branches]
        doubled = {key for key in written if written.count(key) > 1}
        if doubled:
            with pytest.raises(MergeConflictError) as caught:
                base.context.merge(contexts)
            assert caught.value.keys == tuple(sorted(doubled))
            return base
        model = dict(base.model)
        for branch in branches:
            for key in branch.written:
                model.pop(key, None)
                if key in branch.model:
                    model[key] = branch.model[key]
        context = base.context.merge(contexts)
        return self.keep(Version(context, model, base.name, base.written | set(written)))

    @rule(old=versions)
    def spoil_what_is_read(self, old: Version) -> None:
        spoil(old.context.to_dict())
        for key in old.context:
            spoil(old.context[key])
            spoil(old.context.get(key))
        spoil(list(old.context.values()))

    @rule(target=versions, old=versions)
    def send(self, old: Version) -> Version:
        return self.keep(attrs.evolve(old, context=decode(encode(old.context))))

    @rule(target=versions, old=versions)
    def to_another_process(self, old: Version) -> Version:
        return self.keep(attrs.evolve(old, context=pickle.loads(pickle.dumps(old.context))))

    def teardown(self) -> None:
        for version in self.made:
            version.check()


TestContextAgainstDict = ContextAgainstDict.TestCase
TestContextAgainstDict.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)


@given(tables, tables)
def test_contexts_are_equal_as_the_dicts_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (Context(one) == Context(other)) == (one == other)
    assert (Context(one) == other) == (one == other)
    assert (one == Context(other)) == (one == other)
    assert Context(one) == Context(dict(reversed(list(one.items()))))


@given(tables, st.lists(tables, max_size=3))
def test_a_merge_of_forks_is_told_by_what_each_has_written(
    data: dict[str, Any], writes: list[dict[str, Any]]
) -> None:
    base = Context(data)
    branches = [base.fork(str(number)).update(write) for number, write in enumerate(writes)]
    keys = [key for write in writes for key in write]

    if len(keys) == len(set(keys)):
        merged = {**data}
        for write in writes:
            merged |= write
        assert base.merge(branches) == base.merge(reversed(branches)) == merged
    else:
        with pytest.raises(MergeConflictError):
            base.merge(branches)
