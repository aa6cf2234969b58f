"""A declaration says everything about a stage, and says at once what is wrong with it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import pytest

from actorflow.errors import ConfigurationError
from actorflow.graph import stage
from actorflow.graph.nodes import Batch
from actorflow.policies import RateLimit, Retry


async def fetch(url: str) -> str:
    """Get one page."""
    return f"page of {url}"


def parse(page: str) -> int:
    return len(page)


async def crawl(url: str) -> AsyncIterator[str]:
    yield url


def split(page: str) -> Iterator[str]:
    yield page


def with_turn(page: str, ctx: object) -> None: ...


class Parser:
    def parse(self, page: str) -> int:
        return len(page)

    @classmethod
    def parse_all(cls, pages: str) -> int:
        return len(pages)

    def __call__(self, page: str) -> int:
        return len(page)


class Patience:
    """A policy of one's own."""

    def machine(self) -> None: ...


def message(declare: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        declare()
    return str(caught.value)


def test_every_option_has_its_promised_default() -> None:
    declared = stage(fetch)

    assert attrs.asdict(declared, recurse=False) == {
        "fn": fetch,
        "kind": "coroutine",
        "ctx_parameter": None,
        "contextual": False,
        "steps": (),
        "name": "fetch",
        "workers": 1,
        "policies": (),
        "timeout": None,
        "runs_in": "loop",
        "capacity": 256,
        "overflow": "block",
        "key": None,
        "unpack": False,
        "skip_if": None,
        "batch": None,
        "reads": None,
        "writes": None,
        "input_schema": None,
        "output_schema": None,
        "isolation": "copy",
        "atomic": False,
        "on_success": None,
        "on_failure": None,
        "on_skip": None,
        "limits": {},
        "rates": {},
        "priorities": True,
        "version": 1,
        "max_waiting": None,
        "crash_on": (AssertionError, MemoryError, RecursionError),
        "effects": False,
    }


def test_every_option_is_kept_as_given() -> None:
    policy = Patience()
    given: dict[str, Any] = {
        "name": "download",
        "workers": 8,
        "policies": (policy,),
        "timeout": 2.5,
        "runs_in": "process",
        "capacity": 0,
        "overflow": "drop_old",
        "key": len,
        "unpack": True,
        "skip_if": fetch,
        "batch": Batch(10),
        "isolation": "share",
        "atomic": True,
        "on_success": print,
        "on_failure": "halt",
        "on_skip": fetch,
        "limits": {"db": 3},
        "rates": {"api": RateLimit(2)},
        "priorities": False,
        "version": 3,
        "max_waiting": 10,
        "crash_on": (OSError,),
    }

    declared = stage(parse, **given)

    assert {option: getattr(declared, option) for option in given} == given


def test_lists_become_tuples_and_times_become_floats() -> None:
    declared = stage(fetch, policies=[], crash_on=[OSError], timeout=10)

    assert declared.policies == ()
    assert declared.crash_on == (OSError,)
    assert type(declared.timeout) is float


def test_help_shows_the_options_with_their_defaults() -> None:
    signature = inspect.signature(stage)

    assert str(signature) == (
        "(fn=None, *, name=None, workers=1, policies=(), timeout=None, runs_in=None, "
        "capacity=256, overflow='block', key=None, unpack=False, skip_if=None, batch=None, "
        "reads=None, writes=None, input_schema=None, output_schema=None, "
        "isolation='copy', atomic=False, on_success=None, on_failure=None, on_skip=None, "
        "limits=None, rates=None, priorities=True, version=1, max_waiting=None, "
        "crash_on=(<class 'AssertionError'>, <class 'MemoryError'>, "
        "<class 'RecursionError'>), effects=False)"
    )


def test_the_three_ways_to_declare_are_one() -> None:
    bare = stage(fetch)
    called = stage()(fetch)
    optioned = stage(workers=4)(fetch)
    given = stage(fetch, workers=4)

    assert (bare.fn, bare.workers) == (called.fn, called.workers) == (fetch, 1)
    assert (optioned.fn, optioned.workers) == (given.fn, given.workers) == (fetch, 4)


async def test_a_stage_is_still_the_plain_function() -> None:
    assert await stage(fetch, timeout=5)("a") == "page of a"
    assert stage(parse)("abc") == 3
    assert list(stage(split)("abc")) == ["abc"]
    assert [page async for page in stage(crawl)(url="abc")] == ["abc"]


def test_a_stage_looks_like_its_function() -> None:
    declared: Any = stage(fetch, name="download")

    assert declared.__name__ == "fetch"
    assert declared.__qualname__ == "fetch"
    assert declared.__doc__ == "Get one page."
    assert declared.__module__ == __name__
    assert inspect.unwrap(declared) is fetch
    assert inspect.signature(declared) == inspect.signature(fetch)
    assert repr(declared) == "<Stage 'download'>"


def test_a_stage_never_changes() -> None:
    declared: Any = stage(fetch)

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        declared.workers = 2


def test_two_declarations_are_two_stages() -> None:
    assert stage(fetch) != stage(fetch)
    assert len({stage(fetch), stage(fetch)}) == 2


def test_a_stage_given_again_keeps_its_options_except_those_named() -> None:
    first = stage(fetch, workers=4, timeout=3)

    second = stage(first, name="fetch-again", workers=2)

    assert (second.fn, second.timeout, second.workers) == (fetch, 3.0, 2)
    assert second.name == "fetch-again"
    assert (first.name, first.workers) == ("fetch", 4)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (fetch, "fetch"),
        (len, "len"),
        (lambda value: value, "lambda"),
        (functools.partial(functools.partial(fetch)), "fetch"),
        (Parser(), "Parser"),
        (Parser().parse, "parse"),
        (int, "int"),
    ],
)
def test_a_stage_is_named_after_its_function(fn: Callable[..., Any], name: str) -> None:
    assert stage(fn).name == name


@pytest.mark.parametrize(
    ("fn", "runs_in"), [(fetch, "loop"), (crawl, "loop"), (parse, "thread"), (split, "thread")]
)
def test_what_waits_runs_in_the_loop_and_what_blocks_in_a_thread(
    fn: Callable[..., Any], runs_in: str
) -> None:
    assert stage(fn).runs_in == runs_in


def test_a_plain_function_may_be_called_in_the_loop() -> None:
    assert stage(parse, runs_in="loop").runs_in == "loop"


@pytest.mark.parametrize(
    "fn", [parse, len, math.sqrt, int, Parser.parse_all, functools.partial(parse)]
)
def test_what_a_worker_process_can_import_runs_there(fn: Callable[..., Any]) -> None:
    assert stage(fn, runs_in="process").runs_in == "process"


def test_a_function_of_the_script_itself_runs_in_a_process() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def work(value): return value", space)

    assert stage(space["work"], runs_in="process").runs_in == "process"


def local() -> Callable[[str], int]:
    def inner(page: str) -> int:
        return len(page)

    return inner


anonymous: Callable[[str], int] = lambda page: len(page)  # noqa: E731

IN_PROCESS: list[tuple[Callable[..., Any], Callable[..., Any] | None, str]] = [
    (anonymous, anonymous, "this is a lambda"),
    (local(), local(), "inner is local to local"),
    (Parser().parse, Parser.parse, "parse is a method of an object"),
    (functools.partial(Parser().parse), None, "parse is a method of an object"),
    (Parser(), None, "this is a callable object"),
]


@pytest.mark.parametrize(("fn", "at", "what"), IN_PROCESS)
def test_what_no_process_can_import_is_an_error_that_names_its_line(
    fn: Callable[..., Any], at: Any, what: str
) -> None:
    line = f"{__file__}:{at.__code__.co_firstlineno}: " if at else ""

    assert message(lambda: stage(fn, name="work", runs_in="process")) == (
        "stage 'work'.runs_in must be used with a function at the top level of a module, "
        f"which a worker process imports by its name ({line}{what}), got 'process'"
    )


def test_a_process_cannot_have_a_turn() -> None:
    assert message(lambda: stage(with_turn, runs_in="process")) == (
        "stage 'with_turn'.runs_in must be 'loop' or 'thread', as a Turn cannot go to another "
        "process (parameter 'ctx'), got 'process'"
    )


@pytest.mark.parametrize("fn", [fetch, crawl])
@pytest.mark.parametrize("runs_in", ["thread", "process"])
def test_a_handler_that_needs_the_loop_stays_there(fn: Callable[..., Any], runs_in: Any) -> None:
    assert message(lambda: stage(fn, runs_in=runs_in, name="work")) == (
        "stage 'work'.runs_in must be 'loop' or left out, as an `async def` handler needs the "
        f"event loop (`def {fn.__name__}` could run in a {runs_in}), got {runs_in!r}"
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, ".name must be 1 to 200 printable characters without '/', got ''"),
    ({"name": "a/b"}, ".name must be 1 to 200 printable characters without '/', got 'a/b'"),
    ({"name": 5}, ".name must be 1 to 200 printable characters without '/', got 5"),
    ({"workers": 0}, ".workers must be a whole number, 1 or more, got 0"),
    ({"workers": True}, ".workers must be a whole number, 1 or more, got True"),
    ({"workers": 2.0}, ".workers must be a whole number, 1 or more, got 2.0"),
    ({"timeout": 0}, ".timeout must be a number of seconds, above 0, got 0"),
    ({"timeout": math.nan}, ".timeout must be a number of seconds, above 0, got nan"),
    ({"timeout": "5"}, ".timeout must be a number of seconds, above 0, got '5'"),
    ({"runs_in": "fiber"}, ".runs_in must be one of 'loop', 'thread', 'process', got 'fiber'"),
    ({"capacity": -1}, ".capacity must be a whole number, 0 or more, got -1"),
    ({"capacity": None}, ".capacity must be a whole number, 0 or more, got None"),
    (
        {"overflow": "drop"},
        ".overflow must be one of 'block', 'fail', 'drop_new', 'drop_old', got 'drop'",
    ),
    ({"key": "host"}, ".key must be a function of the value, got 'host'"),
    ({"unpack": 1}, ".unpack must be True or False, got 1"),
    ({"skip_if": True}, ".skip_if must be a function of the value, got True"),
    ({"isolation": "deep"}, ".isolation must be one of 'copy', 'share', got 'deep'"),
    ({"atomic": "yes"}, ".atomic must be True or False, got 'yes'"),
    ({"on_failure": "stop"}, ".on_failure must be a function or 'halt', got 'stop'"),
    ({"priorities": 0}, ".priorities must be True or False, got 0"),
    ({"version": 0}, ".version must be a whole number, 1 or more, got 0"),
    ({"version": "2"}, ".version must be a whole number, 1 or more, got '2'"),
    ({"max_waiting": 0}, ".max_waiting must be a whole number, 1 or more, got 0"),
    ({"crash_on": None}, ".crash_on must be a tuple of exception types, got None"),
    ({"crash_on": OSError}, f".crash_on must be a tuple of exception types, got {OSError}"),
    ({"crash_on": (5,)}, ".crash_on[0] must be an exception type, got 5"),
    ({"crash_on": [OSError, int]}, f".crash_on[1] must be an exception type, got {int}"),
]


@pytest.mark.parametrize(("given", "text"), WRONG, ids=[str(given) for given, _ in WRONG])
def test_a_wrong_option_is_named_with_its_stage_its_value_and_the_rule(
    given: dict[str, Any], text: str
) -> None:
    assert message(lambda: stage(fetch, **given)) == f"stage 'fetch'{text}"


@pytest.mark.parametrize(
    ("policies", "option"),
    [
        (5, "stage 'fetch' policies"),
        (Retry(), "stage 'fetch' policies"),
        ([Retry(), Retry()], "stage 'fetch' policies"),
        ([Retry(), 3], "stage 'fetch' policies[1]"),
        ([Retry], "stage 'fetch' policies[0]"),
    ],
)
def test_policies_that_cannot_stand_together_are_an_error_at_the_declaration(
    policies: Any, option: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        stage(fetch, policies=policies)

    assert caught.value.option == option


def test_a_key_is_never_waited_for() -> None:
    assert message(lambda: stage(parse, key=fetch)).startswith(
        "stage 'parse'.key must be a plain function, as it is called before the message is "
        "leased, got <function fetch"
    )


def test_an_unknown_option_is_an_error_that_lists_the_known_ones() -> None:
    declare: Any = stage

    assert message(lambda: declare(name="download", worker=3)(fetch)) == (
        "stage 'download' option must be one of 'name', 'workers', 'policies', 'timeout', "
        "'runs_in', 'capacity', 'overflow', 'key', 'unpack', 'skip_if', 'batch', "
        "'reads', 'writes', 'input_schema', 'output_schema', 'isolation', "
        "'atomic', 'on_success', 'on_failure', 'on_skip', 'limits', 'rates', 'priorities', "
        "'version', 'max_waiting', 'crash_on', 'effects' "
        "(did you mean 'workers'?), got 'worker'"
    )


@pytest.mark.parametrize("value", [5, "fetch", [fetch], b""])
def test_what_is_no_function_cannot_be_a_stage(value: Any) -> None:
    assert message(lambda: stage(value)) == (
        f"stage() must be given a function, such as stage(fetch), got {value!r}"
    )


@pytest.mark.parametrize("fn", [fetch, crawl, split])
def test_a_call_in_place_of_a_function_is_an_error_that_shows_the_function(
    fn: Callable[..., Any],
) -> None:
    called = fn("a")

    assert message(lambda: stage(called)) == (
        f"stage() must be given the function itself: write {fn.__name__}, "
        f"not {fn.__name__}(...), got {called!r}"
    )


def test_a_class_of_callable_objects_in_place_of_an_object_is_an_error() -> None:
    declare: Any = stage

    assert message(lambda: declare(Parser)) == (
        f"stage() must be given an instance: write Parser(), not Parser, got {Parser!r}"
    )


@pytest.mark.parametrize("option", ["key", "skip_if", "on_success", "on_skip", "on_failure"])
def test_a_function_that_cannot_be_called_so_is_told_at_once(option: str) -> None:
    given: dict[str, Any] = {option: lambda one, two: None}
    found = message(lambda: stage(fetch, **given))

    assert found.startswith(f"stage 'fetch'.{option} must be a function of the ")
    assert "(missing a required argument: 'two')" in found


def test_a_wrapper_is_asked_what_it_takes_itself_and_not_what_it_wraps() -> None:
    @functools.wraps(fetch)
    def injected(value: Any) -> Any:
        return value

    def two(db: Any, value: Any) -> Any:
        return value

    vars(injected)["__wrapped__"] = two

    assert stage(fetch, key=injected).key is injected
