"""What an annotation says of a value."""

from __future__ import annotations

import collections
import io
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    NotRequired,
    Optional,
    Protocol,
    TypedDict,
)

import pytest
import typing_extensions

from actorflow.core.hints import fits, is_typed_dict, named


class Quacks(Protocol):
    def quack(self) -> None: ...


@typing.runtime_checkable
class Closes(Protocol):
    def close(self) -> None: ...


class Point(TypedDict):
    x: int


class Late(typing_extensions.TypedDict):
    x: int


class Box(list[int]):
    pass


class Alias:
    """What an alias of Python 3.12 looks like from outside."""

    __value__ = int | None


UserId = NewType("UserId", int)
T = typing.TypeVar("T")


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [1, True], ["1", 1.0, None]),
        (float, [1.0, 1, float("nan")], ["1", 1j]),
        (complex, [1j, 1.0, 1], ["1"]),
        (str, ["a"], [b"a"]),
        (None, [None], [0, ""]),
        (type(None), [None], [0]),
        (Any, [1, None, object()], []),
        (object, [1, None], []),
        (T, [1, None], []),
        ("Missing", [1, None], []),
        (int | None, [1, None], ["1"]),
        (Optional[int], [1, None], ["1"]),  # noqa: UP045 - The old way to write it.
        (typing.Union[int, list[str]], [1, ["a"]], ["a", [1]]),  # noqa: UP007
        (Literal["a", 1], ["a", 1], ["b", True, 1.0]),
        (list, [[], [1]], [(), None]),
        (list[int], [[], [1, 2], Box([1])], [[1, "2"], (1,), None]),
        (list[list[int]], [[[1]], [["not looked at"]]], [[1]]),
        (list[int | None], [[1, None]], [["a"]]),
        (set[int], [{1}], [{"a"}, [1]]),
        (frozenset[str], [frozenset("a")], [{"a"}]),
        (collections.deque[int], [collections.deque([1])], [collections.deque("a"), [1]]),
        (Sequence[str], [["a"], ("a",), "abc"], [[1], {"a"}]),
        (tuple[int, ...], [(), (1, 2)], [(1, "2"), [1]]),
        (tuple[int, str], [(1, "a")], [(1,), (1, 2), (1, "a", 2)]),
        (tuple[()], [()], [(1,)]),
        (dict[str, int], [{}, {"a": 1}], [{"a": "1"}, {1: 1}, [("a", 1)]]),
        (Mapping[str, int], [{"a": 1}], [{1: 1}]),
        (Iterator[int], [iter("a")], [[1]]),
        (Callable[[int], str], [len], [1]),
        (type[int], [int, str], [1]),
        (Annotated[int, "money"], [1], ["1"]),
        (Final[int], [1], ["1"]),
        (NotRequired[int], [1], ["1"]),
        (typing_extensions.ReadOnly[int], [1], ["1"]),
        (UserId, [1], ["1"]),
        (list[UserId], [[1]], [["1"]]),
        (Point, [{"x": 1}, {}], [1]),
        (Late, [{"x": 1}], [1]),
        (list[Point], [[{}]], [[1]]),
        (Quacks, [1], []),
        (Closes, [io.StringIO()], [1]),
        (Alias(), [1, None], ["a"]),
    ],
    ids=lambda value: str(value) if isinstance(value, type) else "",
)
def test_a_value_fits_its_annotation_or_does_not(
    hint: Any, good: list[object], bad: list[object]
) -> None:
    assert [value for value in good if not fits(hint, value)] == []
    assert [value for value in bad if fits(hint, value)] == []


def test_what_may_be_gone_through_once_is_not_gone_through() -> None:
    numbers = iter([1, 2])

    assert fits(Iterator[str], numbers)
    assert list(numbers) == [1, 2]


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Point, "Point"),
        (list[int], "list[int]"),
        (int | None, "int | None"),
        (Any, "Any"),
        (Literal["a"], "Literal['a']"),
        (Annotated[list[int], "money"], "list[int]"),
        (NotRequired[Any], "Any"),
    ],
)
def test_an_annotation_is_named_as_one_would_write_it(hint: Any, text: str) -> None:
    assert named(hint) == text


def test_typed_dicts_are_told_from_dicts() -> None:
    assert is_typed_dict(Point)
    assert is_typed_dict(Late)
    assert not is_typed_dict(dict)
    assert not is_typed_dict(dict[str, int])
