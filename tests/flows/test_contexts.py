"""Flows of contexts: what a stage sees, what it may write, and how branches are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, TypedDict

import attrs
import pytest
import trio

from actorflow import (
    CompilationError,
    ConfigurationError,
    Context,
    Fixed,
    ItemResult,
    MergeConflictError,
    MissingKey,
    Parallel,
    Pipeline,
    Retry,
    SchemaError,
    Send,
    StageError,
    Steps,
    Turn,
    UndeclaredKey,
    stage,
)
from tests.flows.flowing import Boom, counted, outcomes, pipeline

pytestmark = pytest.mark.usefixtures("autojump_clock")


def writes(name: str, **options: Any) -> Any:
    """A stage that writes, under its name, what it saw."""

    async def work(context: Context) -> dict[str, Any]:
        return {name: sorted(context)}

    return stage(work, name=name, **options)


async def one(nodes: list[Any], item: Mapping[str, Any], **options: Any) -> ItemResult[Any]:
    (result,) = await outcomes(pipeline(nodes, **options), [item])
    return result


async def final(nodes: list[Any], item: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    result = await one(nodes, item, **options)
    assert result.ok, result.error
    assert type(result.value) is Context
    return result.value.to_dict()


# What a stage sees and writes -------------------------------------------------------------


async def test_a_mapping_that_is_fed_becomes_a_context_and_a_returned_mapping_is_a_patch() -> None:
    assert await final([writes("a"), writes("b")], {"id": 1}) == {
        "id": 1,
        "a": ["id"],
        "b": ["a", "id"],
    }


async def test_a_returned_context_goes_on_with_what_was_set_and_removed() -> None:
    async def change(context: Context) -> Context:
        return context.set("new", 2).remove("old")

    assert await final([change], {"id": 1, "old": 0}) == {"id": 1, "new": 2}


async def test_a_stage_is_one_of_contexts_by_annotation_or_by_what_it_declares() -> None:
    async def declared(context: Any) -> dict[str, Any]:
        return {"kind": type(context).__name__}

    def plain(context: Context, ctx: Turn) -> dict[str, Any]:
        return {"kind": type(context).__name__}

    handlers = [
        stage(declared, reads=[]),
        stage(declared, writes=["kind"]),
        stage(plain, runs_in="loop"),
    ]
    for handler in handlers:
        assert await final([handler], {}) == {"kind": "Context"}


async def test_a_handler_sees_what_it_reads_and_writes_and_nothing_else() -> None:
    work = writes("a", reads=["id"], writes=["a", "total"])

    assert (await final([work], {"id": 1, "total": 2, "secret": 3}))["a"] == ["id", "total"]


async def test_what_it_does_not_see_goes_past_it() -> None:
    assert await final([writes("a", reads=[])], {"id": 1}) == {"id": 1, "a": []}


async def test_asking_with_a_default_for_what_is_not_declared_is_an_error_too() -> None:
    async def work(context: Context) -> dict[str, Any]:
        changed = context.set("b", 1).remove("b").update({"b": 2}).fork("mine")
        return {"b": [changed.get("b"), changed.get("none", 0), changed.get("secret", 0)]}

    declared = stage(work, reads=["id"], writes=["b"])

    result = await one([declared], {"id": 1, "secret": 2})
    assert isinstance(result.error, UndeclaredKey)
    assert (result.error.stage, result.error.key) == ("work", "secret")
    assert await final([declared], {"id": 1}) == {"id": 1, "b": [2, 0, 0]}


def test_a_generator_writes_one_key() -> None:
    async def words(context: Context) -> AsyncIterator[str]:
        yield "a"

    with pytest.raises(ConfigurationError) as caught:
        stage(words, writes=["p", "q"])

    assert str(caught.value) == (
        "stage 'words'.writes must be one key, under which all that the generator yields will "
        "stand, got ('p', 'q')"
    )
    for writing in ([], ["p"]):
        assert stage(words, writes=writing).contextual


async def test_a_generator_that_skips_ends_there_and_its_item_too() -> None:
    went_on: list[str] = []

    async def words(context: Context, ctx: Turn) -> AsyncIterator[str]:
        yield "a"
        ctx.skip()
        yield "b"
        went_on.append("too far")

    result = await one([words, writes("last")], {"id": 1})

    assert (result.status, went_on) == ("skipped", [])


async def test_steps_whose_first_takes_a_context_work_on_one() -> None:
    async def first(context: Context) -> Context:
        return context.set("first", 1)

    async def second(context: Context, ctx: Turn) -> dict[str, Any]:
        if ctx.attempt < 2:
            raise Boom("second")
        return {"second": context["first"] + 1}

    async def third(context: Context) -> Send:
        return Send("x", {"third": context["second"] + 1})

    steps = stage(Steps(first, second), policies=[Retry(2, backoff=Fixed(1))])

    assert steps.contextual
    assert await final([steps, writes("last")], {"id": 1}) == {
        "id": 1,
        "first": 1,
        "second": 2,
        "last": ["first", "id", "second"],
    }
    sends = stage(Steps(first, second, third), policies=[Retry(2, backoff=Fixed(1))])
    assert await final([sends, {"x": writes("last")}], {"id": 1}) == {
        "id": 1,
        "first": 1,
        "second": 2,
        "third": 3,
        "last": ["first", "id", "second", "third"],
    }


async def test_reading_what_is_there_and_not_declared_says_so() -> None:
    async def work(context: Context) -> dict[str, Any]:
        return {"a": context["secret"]}

    result = await one([stage(work, reads=["id"])], {"id": 1, "secret": 2})

    assert type(result.error) is UndeclaredKey
    assert str(result.error) == (
        "stage 'work' reads 'secret', which it does not declare; reads= has 'id'"
    )


async def test_reading_what_is_not_there_at_all_is_a_missing_key() -> None:
    async def work(context: Context) -> dict[str, Any]:
        return {"a": context["secret"]}

    for handler in (work, stage(work, reads=["id"])):
        assert type((await one([handler], {"id": 1})).error) is MissingKey


async def test_writing_what_is_not_declared_fails() -> None:
    result = await one([writes("a", writes=["b", "c"])], {})

    assert type(result.error) is UndeclaredKey
    assert str(result.error) == (
        "stage 'a' writes 'a', which it does not declare; writes= has 'b', 'c'"
    )


async def test_removing_is_writing() -> None:
    async def work(context: Context) -> Context:
        return context.remove("id")

    assert type((await one([stage(work, writes=[])], {"id": 1})).error) is UndeclaredKey


async def test_values_are_never_shared_with_a_handler_that_changes_them() -> None:
    async def spoils(context: Context, ctx: Turn) -> dict[str, Any]:
        context["rows"].append(ctx.attempt)
        if ctx.attempt < 3:
            raise Boom
        return {"seen": context["rows"]}

    nodes = [stage(spoils, policies=[Retry(3)])]
    assert await final(nodes, {"rows": [0]}) == {"rows": [0], "seen": [0]}


@pytest.mark.parametrize("joined", [True, False])
async def test_a_mapping_that_can_be_no_context_fails_its_item(joined: bool) -> None:
    nodes = [Parallel([writes("a"), writes("b")])] if joined else [writes("a")]
    result = await one(nodes, {5: "is no text"})  # type: ignore[dict-item]

    assert str(result.error) == "a Context has texts for keys and names, got 5"


@pytest.mark.parametrize("given", [5, [1], None, "text"])
async def test_what_is_no_mapping_cannot_go_in(given: Any) -> None:
    (result,) = await outcomes(pipeline([writes("a")]), [given])

    assert str(result.error) == (
        "what stage 'a' gets must be a mapping or a Context, as the stage works on one, "
        f"got {given!r}"
    )


@pytest.mark.parametrize("given", [5, [1], None])
async def test_what_is_no_mapping_cannot_come_out(given: Any) -> None:
    async def work(context: Context) -> Any:
        return given

    assert str((await one([work], {})).error) == (
        "what stage 'work' returns must be a Context, a mapping with what is new, or Send, "
        f"got {given!r}"
    )


async def test_skipping_needs_no_value() -> None:
    async def work(context: Context, ctx: Turn) -> None:
        ctx.skip()

    assert (await one([work], {})).status == "skipped"


# Schemas ----------------------------------------------------------------------------------


@attrs.define
class Order:
    count: int = attrs.field(converter=int)
    note: str = "none"


class Priced(TypedDict):
    cents: int


async def test_a_handler_gets_what_its_input_schema_promises() -> None:
    async def work(context: Context) -> dict[str, Any]:
        return {"twice": context["count"] * 2, "says": context["note"]}

    nodes = [stage(work, input_schema=Order)]

    assert await final(nodes, {"count": "21"}) == {"count": "21", "twice": 42, "says": "none"}


@pytest.mark.parametrize("contextual", [True, False])
async def test_data_that_does_not_fit_fails_the_item_before_the_handler(contextual: bool) -> None:
    async def plain(order: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError

    async def work(context: Context) -> dict[str, Any]:
        raise AssertionError

    order = stage(work if contextual else plain, input_schema=Order, policies=[Retry(3)])
    result = await one([order], {"count": "x"})

    assert type(result.error) is SchemaError
    assert result.attempts == 1  # No retry makes it fit.
    assert (result.error.side, result.error.schema) == ("input", "Order")


@pytest.mark.parametrize("contextual", [True, False])
async def test_a_value_that_breaks_its_promise_fails_the_item(contextual: bool) -> None:
    async def plain(order: dict[str, Any]) -> dict[str, Any]:
        return {"cents": "many"}

    async def work(context: Context) -> dict[str, Any]:
        return {"cents": "many"}

    result = await one([stage(work if contextual else plain, output_schema=Priced)], {})

    assert type(result.error) is SchemaError
    assert (result.error.side, result.stage) == ("output", "work" if contextual else "plain")


async def test_schemas_of_plain_stages_need_mappings() -> None:
    async def work(value: Any) -> Any:
        return value

    (result,) = await outcomes(pipeline([stage(work, input_schema=Order)]), [5])
    assert str(result.error) == (
        "what stage 'work' gets must be a mapping, as input_schema looks at one, got 5"
    )


# Branches ---------------------------------------------------------------------------------


async def test_any_mapping_can_be_forked() -> None:
    branches = [Parallel([writes("a"), writes("b")])]

    assert sorted(await final(branches, MappingProxyType({"id": 1}))) == ["a", "b", "id"]


async def test_what_branches_wrote_is_put_together() -> None:
    branches = Parallel([writes("a"), [writes("b"), writes("c")]])

    assert await final([branches, writes("d")], {"id": 1}) == {
        "id": 1,
        "a": ["id"],
        "b": ["id"],
        "c": ["b", "id"],
        "d": ["a", "b", "c", "id"],
    }


async def test_nested_branches_and_branches_that_begin_with_branches_too() -> None:
    inner = Parallel([writes("a"), writes("b")])

    assert sorted(await final([Parallel([[inner, writes("c")], writes("d")])], {"id": 1})) == [
        "a",
        "b",
        "c",
        "d",
        "id",
    ]


async def test_branches_of_stages_that_run_side_by_side_on_their_own_are_contexts() -> None:
    a, b, c, d = (writes(name, reads=["id"], writes=[name]) for name in "abcd")

    assert sorted(await final([Parallel([[a, b], [c, d]])], {"id": 1})) == [*"abcd", "id"]


async def test_a_branch_that_nobody_waits_for_gets_the_mapping_as_it_was() -> None:
    seen: list[Any] = []

    async def watch(value: Any) -> None:
        seen.append(value)

    async def begin(value: Any) -> dict[str, Any]:
        return {"id": value}

    nodes = [begin, Parallel([watch], join=False), Parallel([writes("a"), writes("b")])]
    (result,) = await outcomes(pipeline(nodes), [1])

    assert result.value == {"id": 1, "a": ["id"], "b": ["id"]}
    assert [(type(each), each) for each in seen] == [(dict, {"id": 1})]


async def test_two_branches_that_wrote_one_key_fail_the_item_with_both_names() -> None:
    async def right(context: Context) -> dict[str, Any]:
        return {"left": 0, "b": 1}

    async def also(context: Context) -> dict[str, Any]:
        return {"b": 1}

    result = await one([Parallel({"x": writes("left"), "y": [right, also]}, name="both")], {})

    error = result.error
    assert type(error) is MergeConflictError
    assert (error.keys, error.branches, result.stage) == (("left",), ("x", "y"), "both")
    assert str(error) == (
        "branches wrote the same keys: 'left' by x, y; give each a key of its own, and let a stage "
        "after the join make one of them"
    )


def test_what_both_declare_to_write_is_seen_when_the_flow_is_made() -> None:
    with pytest.raises(CompilationError) as caught:
        Pipeline([Parallel([writes("a", writes=["x"]), writes("b", writes=["x", "y"])])])

    assert str(caught.value) == (
        "flow 'pipeline': nodes[0]: 'a' and 'b' both write 'x'; let each write a key of its own"
    )


async def test_a_branch_that_skipped_has_written_nothing() -> None:
    async def late_skip(context: Context, ctx: Turn) -> None:
        ctx.skip()

    nodes = [Parallel([[writes("a"), late_skip], writes("b")])]

    assert await final(nodes, {"id": 1}) == {"id": 1, "b": ["id"]}


async def test_if_all_skipped_the_context_goes_on_as_it_was() -> None:
    async def skip(context: Context, ctx: Turn) -> None:
        ctx.skip()

    assert await final([Parallel([skip, stage(skip, name="other")])], {"id": 1}) == {"id": 1}


async def test_a_branch_with_a_plain_value_is_joined_as_a_list() -> None:
    async def count(context: dict[str, Any]) -> int:
        return len(context)

    result = await one([Parallel([writes("a"), count])], {"id": 1})

    assert [type(each) for each in result.value or ()] == [Context, int]


# Side by side on their own ----------------------------------------------------------------


def slow(name: str, *reads: str) -> Any:
    async def work(context: Context) -> dict[str, Any]:
        await trio.sleep(10)
        return {name: sorted(context)}

    return stage(work, name=name, reads=reads, writes=[name])


async def test_stages_that_need_nothing_of_each_other_take_the_time_of_one() -> None:
    nodes = [slow("a", "id"), slow("b", "id"), slow("c", "id"), slow("d", "a", "b")]
    expected = {"id": 1, "a": ["id"], "b": ["id"], "c": ["id"], "d": ["a", "b"]}

    assert await final(nodes, {"id": 1}) == expected
    assert trio.current_time() == 20
    assert await final(nodes, {"id": 1}, auto_parallel=False) == expected
    assert trio.current_time() == 60


@pytest.mark.parametrize("auto_parallel", [True, False])
async def test_an_item_that_one_of_them_skips_is_skipped_as_in_a_row(auto_parallel: bool) -> None:
    async def skip(context: Context, ctx: Turn) -> None:
        ctx.skip()

    nodes = [slow("a", "id"), stage(skip, reads=["id"], writes=["x"]), slow("z", "id")]

    report = await pipeline(nodes, auto_parallel=auto_parallel).run([{"id": 1}, {"id": 2}])

    assert report.counts == counted(fed=2, skipped=2)


async def test_one_of_them_that_fails_fails_the_item() -> None:
    async def fail(context: Context) -> None:
        raise Boom

    nodes = [slow("a", "id"), stage(fail, reads=["id"], writes=["x"])]

    assert (await pipeline(nodes).run([{"id": 1}])).counts == counted(fed=1, dead=1)
    assert trio.current_time() == 0  # The other was called off.


async def test_what_a_stage_of_contexts_emits_is_what_it_might_have_returned() -> None:
    @stage(reads=["id"], writes=["n"])
    async def several(context: Context, ctx: Turn) -> dict[str, int]:
        ctx.emit({"n": 1})
        ctx.emit(context.set("n", 2))
        return {"n": 3}

    tape: list[Any] = []
    await pipeline([several]).run([{"id": 1, "big": 9}], sink=tape.append)

    assert [dict(each) for each in tape] == [{"id": 1, "big": 9, "n": each} for each in (1, 2, 3)]


async def test_emitting_what_is_not_declared_fails_as_returning_it_does() -> None:
    @stage(reads=["id"], writes=["n"])
    async def wrong(context: Context, ctx: Turn) -> dict[str, int]:
        ctx.emit({"bad": 1})
        return {"n": 3}

    with pytest.raises(StageError) as caught:
        await pipeline([wrong]).invoke({"id": 1})

    assert isinstance(caught.value.__cause__, UndeclaredKey)


class Counted(TypedDict):
    n: int


@pytest.mark.parametrize("how", ["yields", "yields at once", "emits", "returns"])
async def test_an_output_schema_of_plain_mappings_looks_at_all_that_is_given(how: str) -> None:
    async def yields(value: int) -> AsyncIterator[Any]:
        yield {"n": 1}
        yield {"n": "no"}

    async def emits(value: int, ctx: Turn) -> Any:
        ctx.emit({"n": "no"} if how == "emits" else {"n": 2})
        return {"n": "no"} if how == "returns" else {"n": 3}

    handler: Any = yields if how.startswith("yields") else emits
    declared = stage(handler, output_schema=Counted, atomic=how == "yields at once")
    tape: list[Any] = []
    report = await pipeline([declared]).run([1], sink=tape.append)

    assert tape == ([{"n": 1}] if how == "yields" else [])
    assert report.counts == counted(fed=1, dead=1)
    assert type(report.dead[0].error) is SchemaError
