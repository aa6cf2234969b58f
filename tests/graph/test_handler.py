"""How a handler is called is seen at the declaration, whatever it is wrapped in."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Optional

import pytest

from actorflow.errors import ConfigurationError
from actorflow.graph import stage

if TYPE_CHECKING:

    class Turn: ...

    class turns:
        class Turn: ...


async def fetch(url: str) -> str:
    return url


def parse(page: str) -> int:
    return len(page)


async def crawl(url: str) -> AsyncIterator[str]:
    yield url


def split(page: str) -> Iterator[str]:
    yield page


class Fetch:
    """A callable object whose call is a coroutine."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    async def __call__(self, url: str) -> str:
        return self.prefix + url

    async def method(self, url: str) -> str:
        return self.prefix + url

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def title(value: object) -> str | None:
    return getattr(value, "__name__", None)


def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The usual decorator: a plain wrapper that passes everything on."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def awaited(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper that is a coroutine function around a plain function."""

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        (fetch, "coroutine"),
        (parse, "function"),
        (crawl, "async_generator"),
        (split, "generator"),
        (functools.partial(fetch), "coroutine"),
        (functools.partial(functools.partial(crawl)), "async_generator"),
        (Fetch(), "coroutine"),
        (Fetch().method, "coroutine"),
        (logged(fetch), "coroutine"),
        (logged(logged(split)), "generator"),
        (functools.partial(logged(crawl)), "async_generator"),
        (logged(Fetch()), "coroutine"),
        (awaited(parse), "coroutine"),
        (lambda page: page, "function"),
        (len, "function"),
        (max, "function"),
        (operator.itemgetter(0), "function"),
        (int, "function"),
        (str.upper, "function"),
        ("".join, "function"),
    ],
    ids=title,
)
def test_the_kind_is_seen_through_partials_wrappers_and_callable_objects(
    fn: Callable[..., Any], kind: str
) -> None:
    assert stage(fn).kind == kind


def named(value: int, ctx: object) -> None: ...
def named_with_default(value: int, ctx: object = None) -> None: ...
def named_last(value: int, factor: int = 2, ctx: object = None) -> None: ...
def named_middle(value: int, ctx: object, factor: int = 2) -> None: ...
def named_by_keyword(value: int, *, factor: int = 2, ctx: object) -> None: ...
def behind_star(value: int, *more: int, ctx: object) -> None: ...
def annotated(value: int, turn: Turn) -> None: ...
def annotated_dotted(value: int, turn: turns.Turn) -> None: ...
def annotated_optional(value: int, turn: Turn | None = None) -> None: ...
def annotated_old_optional(value: int, turn: Optional[Turn] = None) -> None: ...  # noqa: UP045
def annotated_other(value: int, turn: int = 1) -> None: ...
def annotated_list(value: int, turns: list[Turn] = []) -> None: ...  # noqa: B006
def annotated_returns(value: int, make: Callable[[], Turn] | None = None) -> None: ...
def no_turn(value: int, **rest: object) -> None: ...
def star_ctx(value: int, *ctx: object) -> None: ...
def value_called_ctx(ctx: dict[str, int]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "parameter"),
    [
        (named, "ctx"),
        (named_with_default, "ctx"),
        (named_last, "ctx"),
        (named_middle, "ctx"),
        (named_by_keyword, "ctx"),
        (behind_star, "ctx"),
        (annotated, "turn"),
        (annotated_dotted, "turn"),
        (annotated_optional, "turn"),
        (annotated_old_optional, "turn"),
        (annotated_other, None),
        (annotated_list, None),
        (annotated_returns, None),
        (no_turn, None),
        (star_ctx, None),
        (value_called_ctx, None),
        (logged(named), "ctx"),
        (functools.partial(named), "ctx"),
        (functools.partial(annotated_other, turn=5), None),
        (max, None),
    ],
    ids=title,
)
def test_the_turn_goes_to_ctx_or_to_what_is_annotated_turn(
    fn: Callable[..., Any], parameter: str | None
) -> None:
    assert stage(fn).ctx_parameter == parameter


def test_a_live_annotation_counts_as_its_text_does() -> None:
    class Turn: ...

    def plain(value: int, turn: object) -> None: ...
    def optional(value: int, turn: object = None) -> None: ...
    def quoted(value: int, turn: object = None) -> None: ...

    plain.__annotations__["turn"] = Turn
    optional.__annotations__["turn"] = Turn | None
    quoted.__annotations__["turn"] = Optional["Turn"]

    assert [stage(each).ctx_parameter for each in (plain, optional, quoted)] == ["turn"] * 3


def test_a_wrapper_that_names_its_parameters_is_taken_at_its_word() -> None:
    def save(database: str, value: int) -> None: ...

    @functools.wraps(save)
    def saved(value: int) -> None:
        save("memory", value)

    assert stage(saved).ctx_parameter is None


def nothing() -> None: ...
async def nothing_async() -> None: ...
def only_names(*, value: int) -> None: ...
def only_names_with_defaults(*, value: int = 1) -> None: ...
def only_ctx(ctx) -> None: ...  # type: ignore[no-untyped-def]
def only_turn(turn: Turn) -> None: ...
def ctx_first(ctx, value) -> None: ...  # type: ignore[no-untyped-def]
def two(database: str, page: int) -> None: ...
def two_and_ctx(page: int, ctx: object, database: str) -> None: ...
def needs_name(page: int, *, database: str) -> None: ...


@pytest.mark.parametrize(
    ("fn", "right", "wrong"),
    [
        (nothing, "def nothing(value)", "def nothing() -> 'None'"),
        (nothing_async, "async def nothing_async(value)", "async def nothing_async() -> 'None'"),
        (only_names, "def only_names(value)", "def only_names(*, value: 'int') -> 'None'"),
        (
            only_names_with_defaults,
            "def only_names_with_defaults(value)",
            "def only_names_with_defaults(*, value: 'int' = 1) -> 'None'",
        ),
        (only_ctx, "def only_ctx(value)", "def only_ctx(ctx) -> 'None'"),
        (only_turn, "def only_turn(value)", "def only_turn(turn: 'Turn') -> 'None'"),
        (ctx_first, "def ctx_first(value)", "def ctx_first(ctx, value) -> 'None'"),
        (two, "def two(database)", "def two(database: 'str', page: 'int') -> 'None'"),
        (
            two_and_ctx,
            "def two_and_ctx(page)",
            "def two_and_ctx(page: 'int', ctx: 'object', database: 'str') -> 'None'",
        ),
        (
            needs_name,
            "def needs_name(page)",
            "def needs_name(page: 'int', *, database: 'str') -> 'None'",
        ),
        (functools.partial(parse, "x"), "def parse(value)", "def parse() -> 'int'"),
        (logged(two), "def two(database)", "def two(database: 'str', page: 'int') -> 'None'"),
        (Fetch.method, "async def method(self)", "async def method(self, url: 'str') -> 'str'"),
    ],
    ids=title,
)
def test_a_handler_that_one_value_cannot_call_is_shown_beside_the_right_one(
    fn: Callable[..., Any], right: str, wrong: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        stage(fn, name="work")

    assert str(caught.value) == (
        f"stage 'work' must be a function of one value, `{right}` or `{right[:-1]}, ctx)` (bind "
        "other parameters with functools.partial, or spread a tuple or dict with unpack=True), "
        f"got {wrong!r}"
    )


def unpack_last(a: int, b: int, ctx: object) -> None: ...
def unpack_by_name(*, a: int, ctx: object) -> None: ...
def unpack_turn_first(*, ctx: object, a: int) -> None: ...
def unpack_star(*values: int, ctx: object) -> None: ...
def unpack_middle(a: int, ctx: object, b: int) -> None: ...
def unpack_before_star(a: int, ctx: object, *rest: int) -> None: ...


@pytest.mark.parametrize("fn", [unpack_last, unpack_by_name, unpack_turn_first, unpack_star])
def test_unpacking_takes_any_parameters_and_the_turn_behind_them(fn: Callable[..., Any]) -> None:
    assert stage(fn, unpack=True).ctx_parameter == "ctx"


@pytest.mark.parametrize(
    ("fn", "behind"), [(unpack_middle, "b"), (unpack_before_star, "rest")], ids=title
)
def test_unpacking_never_fills_the_parameter_of_the_turn(
    fn: Callable[..., Any], behind: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        stage(fn, unpack=True, name="work")

    assert str(caught.value) == (
        "stage 'work' parameter 'ctx' must be behind all that unpack=True fills, "
        f"or behind a bare *, got 'before {behind}'"
    )


def test_unpacking_into_no_parameter_at_all_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"got \"def nothing\(\) -> 'None'\""):
        stage(nothing, unpack=True)


def test_a_turn_that_cannot_be_passed_by_name_is_an_error() -> None:
    def work(value: int, ctx: object, /) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        stage(work)

    assert str(caught.value) == (
        "stage 'work' parameter 'ctx' must be one that can be passed by name, got 'positional-only'"
    )
