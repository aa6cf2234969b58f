"""The Context, promise by promise. What holds for every one is in test_context_laws."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import pickle
import sys
import threading
from typing import Any

import pytest

import actorflow
from actorflow.core.context import Context
from actorflow.errors import ActorFlowError, MergeConflictError, MissingKey
from actorflow.wire import message


@message(tag="context.Order")
class Order:
    id: int
    lines: tuple[str, ...] = ()


class Key(enum.StrEnum):
    USER = "user"


def test_it_is_what_users_import() -> None:
    assert actorflow.Context is Context
    assert actorflow.MergeConflictError is MergeConflictError


def test_reading_is_that_of_a_mapping() -> None:
    context = Context({"user": "ada", "age": 36})

    assert context["user"] == context.get("user") == "ada"
    assert context.get("town") is None
    assert context.get("town", "London") == "London"
    assert "user" in context
    assert "town" not in context
    assert len(context) == 2
    assert list(context) == ["age", "user"]
    assert dict(context) == {**context} == {"age": 36, "user": "ada"}
    match context:
        case {"age": age}:
            assert age == 36


def test_an_empty_one_needs_no_mapping() -> None:
    assert Context() == {} == Context({})
    assert not Context()


def test_writing_gives_another_and_leaves_the_first() -> None:
    first = Context({"a": 1, "b": 2})

    assert first.set("a", 9) == {"a": 9, "b": 2}
    assert first.update({"b": 9, "c": 3}) == {"a": 1, "b": 9, "c": 3}
    assert first.remove("a") == {"b": 2}
    assert first == {"a": 1, "b": 2}


def test_a_value_none_is_a_value() -> None:
    context = Context({"a": None})

    assert "a" in context
    assert context["a"] is None
    assert context.get("a", 1) is None
    assert "a" not in context.remove("a")


# What is in it cannot be spoilt -----------------------------------------------------------


def test_who_reads_a_list_gets_a_copy_each_time() -> None:
    context = Context({"rows": [1, [2]]})

    context["rows"][1].append(3)
    context.get("rows").clear()
    next(iter(context.values())).clear()
    context.to_dict()["rows"].clear()

    assert context["rows"] == [1, [2]]
    assert context["rows"] is not context["rows"]


def test_a_list_changed_after_it_was_set_is_not_changed_inside() -> None:
    rows = [1]
    given = {"rows": rows}
    contexts = [Context(given), Context().set("rows", rows), Context().update(given)]

    rows.append(2)
    given["more"] = [3]

    assert contexts == [Context({"rows": [1]})] * 3


def test_a_sibling_branch_sees_nothing_of_what_another_does_to_a_value() -> None:
    base = Context({"rows": [1]})
    left, right = base.fork("left"), base.fork("right")

    left["rows"].append(2)

    assert right["rows"] == base["rows"] == [1]


def test_a_frozen_value_is_kept_as_it_is() -> None:
    order = Order(1, ("a",))
    frozen = ("a", order, frozenset({1}), datetime.date(2024, 1, 1))
    context = Context({"order": order}).set("all", frozen)

    assert context["order"] is order
    assert context["all"] is frozen


def test_a_copy_is_of_the_same_types() -> None:
    value = {"t": (1, [2]), "s": {decimal.Decimal("1.50")}, 3: [Order(1)], None: b"x"}

    assert repr(Context({"v": value})["v"]) == repr(value)


def test_what_has_no_bytes_is_shared() -> None:
    lock, holder = threading.Lock(), [threading.Lock()]
    context = Context({"lock": lock}).set("holder", holder).set("raw", bytearray(b"a"))

    assert context["lock"] is lock
    assert context["holder"] is holder
    assert context.to_dict()["holder"] is holder
    assert context["raw"] == bytearray(b"a")


def test_nothing_can_be_put_into_it() -> None:
    context: Any = Context({"a": 1}).fork("b")

    with pytest.raises(TypeError, match="does not support item assignment"):
        context["a"] = 2
    with pytest.raises(TypeError, match="does not support item deletion"):
        del context["a"]
    for name in ("name", "written", "more"):
        with pytest.raises(AttributeError):
            setattr(context, name, "x")
    assert isinstance(context.written, frozenset)
    context.__init__({"a": 2})
    assert context == {"a": 1}


def test_to_dict_is_plain_down_through_contexts() -> None:
    inner = Context({"rows": [1]})
    made = Context({"inner": inner, "n": 1}).to_dict()

    assert made == {"inner": {"rows": [1]}, "n": 1}
    assert [type(made), type(made["inner"])] == [dict, dict]
    made["inner"]["rows"].append(2)
    assert inner["rows"] == [1]


# Keys -------------------------------------------------------------------------------------


def test_a_missing_key_is_told_with_those_there_are_and_near_misses_first() -> None:
    context = Context({"amount": 1, "total": 2, "user_name": 3, "username": 4})

    with pytest.raises(KeyError) as caught:
        context["usrname"]

    assert str(caught.value) == (
        "the Context has no key 'usrname'; it has 'username', 'user_name', 'amount', 'total'"
    )
    assert isinstance(caught.value, ActorFlowError)
    assert isinstance(caught.value, MissingKey)
    assert caught.value.key == "usrname"
    assert caught.value.known == ("amount", "total", "user_name", "username")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ({}, "the Context has no key 'a'; it is empty"),
        (
            {f"k{number:02}": 1 for number in range(12)},
            "the Context has no key 'a'; it has 'k00', 'k01', 'k02', 'k03', 'k04', 'k05', 'k06', "
            "'k07', 'k08', 'k09', and 2 more",
        ),
    ],
)
def test_the_keys_told_are_few(known: dict[str, int], text: str) -> None:
    with pytest.raises(MissingKey) as caught:
        Context(known).remove("a")

    assert str(caught.value) == text


def test_only_texts_are_keys() -> None:
    wrong: Any = {1: "a"}

    for use in (Context, Context().update, lambda table: Context().set(next(iter(table)), 1)):
        with pytest.raises(TypeError, match=r"^a Context has texts for keys and names, got 1$"):
            use(wrong)
    with pytest.raises(TypeError, match="names, got None"):
        Context().fork(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^a Context takes a mapping, got list$"):
        Context([("a", 1)])  # type: ignore[arg-type]


def test_a_member_of_a_str_enum_is_the_text_it_stands_for() -> None:
    context = Context({Key.USER: 1}).set(Key.USER, 2)

    assert [type(key) for key in (*context, *context.written)] == [str, str]
    assert context[Key.USER] == context["user"] == 2
    assert context.remove(Key.USER).written == {"user"}


# Forks and merges -------------------------------------------------------------------------


def test_a_fork_has_the_same_data_and_nothing_written() -> None:
    base = Context({"a": 1}).set("b", 2)
    fork = base.fork("left")

    assert fork == base
    assert (base.name, fork.name) == ("", "left")
    assert base.written == {"b"}
    assert fork.written == frozenset()
    assert fork.set("a", 1).remove("b").written == {"a", "b"}


def test_a_fork_copies_nothing() -> None:
    base = Context({f"key{number}": number for number in range(1_000)})

    assert base.fork("a")._root is base._root


def test_what_it_is_made_of_does_not_count_as_written() -> None:
    written = Context({"a": 1}).set("b", 2)

    assert Context({"a": 1}).written == frozenset()
    assert Context(written).written == frozenset()
    assert Context(written) == written


def test_a_merge_takes_from_each_branch_what_it_has_written() -> None:
    base = Context({"a": 1, "b": 2, "c": 3})
    left = base.fork("left").set("a", 10).set("new", [1])
    right = base.fork("right").remove("b")

    merged = Context.merge(base, [left, right])

    assert merged == base.merge([left, right]) == {"a": 10, "c": 3, "new": [1]}
    assert merged.written == {"a", "b", "new"}
    assert merged.name == ""


def test_a_merge_within_a_branch_counts_as_its_writing() -> None:
    base = Context({"a": 1})
    outer = base.fork("outer").set("x", 1)
    inner = outer.merge([outer.fork("i").set("y", 2), outer.fork("j").set("z", 3)])

    assert inner.name == "outer"
    assert inner.written == {"x", "y", "z"}
    assert base.merge([inner]) == {"a": 1, "x": 1, "y": 2, "z": 3}


def test_what_two_branches_have_written_is_refused_even_if_it_is_the_same() -> None:
    base = Context({"a": 1, "gone": 1})
    price = base.fork("price").set("total", 1).set("tax", 1).remove("gone")
    stock = base.fork("stock").set("total", 1).remove("gone")
    audit = base.fork("audit").set("tax", 2).set("own", 1)

    with pytest.raises(MergeConflictError) as caught:
        base.merge([price, stock, audit])

    error = caught.value
    assert error.keys == ("gone", "tax", "total")
    assert error.branches == ("price", "stock", "audit")
    assert error.conflicts["tax"] == ("price", "audit")
    assert str(error) == (
        "branches wrote the same keys: 'gone' by price, stock; 'tax' by price, audit; "
        "'total' by price, stock; give each a key of its own, and let a stage after the join "
        "make one of them"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_branches_without_a_name_are_told_by_their_number() -> None:
    branch = Context().set("a", 1)

    with pytest.raises(MergeConflictError) as caught:
        Context().merge([branch, branch])

    assert caught.value.branches == ("branch 1", "branch 2")


# Being a value ----------------------------------------------------------------------------


def test_equal_is_what_has_equal_values_whatever_is_written_and_how() -> None:
    one = Context({"rows": [{"a": 1, "b": 2}], "n": 1}).fork("x")

    assert one == Context({"n": True}).set("rows", [{"b": 2, "a": 1.0}])
    assert one == {"rows": [{"b": 2, "a": 1}], "n": 1}
    assert one != Context({"rows": [], "n": 1})
    assert one != Context({"rows": [{"a": 1, "b": 2}], "m": 1})
    assert one != one.remove("n")
    assert one != [("n", 1)]


def test_it_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'Context'"):
        hash(Context())


def test_copies_are_the_context_itself() -> None:
    context = Context({"lock": threading.Lock(), "rows": [1]})

    assert copy.copy(context) is context
    assert copy.deepcopy(context) is context


def test_its_repr_is_short_and_opens_nothing_large() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert repr(Context()) == "Context({})"
    assert repr(Context({"b": [1], "a": "x"})) == "Context({'a': 'x', 'b': [1]})"
    assert repr(Context({"a": list(range(1000))})) == "Context({'a': <2619 bytes>})"
    assert repr(Context({"a": Rude()})).startswith("Context({'a': <Rude instance at 0x")
    assert repr(Context({"a": 7**100_000})) == "Context({'a': <int>})"
    assert repr(Context({f"k{n:02}": n for n in range(20)})).endswith("'k07': 7, ... 12 more})")


def test_its_repr_stays_short_however_it_is_nested() -> None:
    context = Context({"text": "x" * 1000, "lock": threading.Lock()})
    for number in range(300):
        context = Context({f"{'k' * 100}{n}": context for n in range(9)}).set("n", number)

    assert len(repr(context)) < 5_000


def test_a_chain_of_contexts_ends_without_harm() -> None:
    context = Context()
    for _ in range(100_000):
        context = Context({"inner": context})

    assert len(repr(context)) < 100
    del context


def test_setting_a_small_value_calls_few_functions() -> None:
    context = Context({f"key{number}": number for number in range(20)}).fork("a")
    calls: list[str] = []

    def watch(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(watch)
    try:
        context.set("key1", 5)
        context.get("key1")
    finally:
        sys.setprofile(None)

    assert calls == ["set", "_made", "get"]
