"""A plan answers what feeds what, and says when it is another flow than before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actorflow.errors import CompilationError
from actorflow.graph import Edge, Plan, compile_pipeline, stage


async def fetch(url: str) -> str:
    return url


def parse(page: str) -> int:
    return len(page)


def split(page: str) -> Iterator[str]:
    yield page


class Patience:
    """A policy of one's own."""

    def machine(self) -> None: ...


class Haste(Patience): ...


def crawl(**options: Any) -> Plan:
    return compile_pipeline([stage(fetch, **options), parse], name="crawl")


def test_a_stage_is_found_by_its_name() -> None:
    plan = crawl()

    assert plan.stage("parse") is plan.stages[1]


def test_a_name_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(CompilationError) as caught:
        crawl().stage("prase")

    assert str(caught.value) == (
        "flow 'crawl': no stage is named 'prase' (did you mean 'parse'?); it has 'fetch', 'parse'"
    )


def test_a_plan_knows_the_neighbours_of_each_stage() -> None:
    plan = crawl()

    assert (plan.predecessors("fetch"), plan.successors("fetch")) == ((), ("parse",))
    assert (plan.predecessors("parse"), plan.successors("parse")) == (("fetch",), ())


def test_the_version_is_the_same_in_every_process_and_release() -> None:
    assert crawl().version == "cbc7aa7be7826eb9"


@pytest.mark.parametrize(
    "tuned",
    [
        {"workers": 9},
        {"policies": [Patience()]},
        {"timeout": 5},
        {"runs_in": "loop"},
        {"capacity": 1},
        {"overflow": "fail"},
        {"skip_if": parse},
        {"isolation": "share"},
        {"on_failure": "halt"},
        {"priorities": False},
        {"max_waiting": 1},
        {"crash_on": ()},
        {"atomic": True},  # One value is one, however long it is kept.
    ],
    ids=lambda tuned: next(iter(tuned)),
)
def test_tuning_a_stage_leaves_the_version_alone(tuned: dict[str, Any]) -> None:
    assert crawl(**tuned).version == crawl().version


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "stage 'fetch': version 2, gives one value"),
    ({"unpack": True}, "stage 'fetch': version 1, gives one value, unpacks"),
    ({"key": len}, "stage 'fetch': version 1, gives one value, has a key"),
]


@pytest.mark.parametrize(("change", "line"), CHANGES, ids=[str(row[0]) for row in CHANGES])
def test_what_changes_the_meaning_of_a_stage_changes_its_line_and_the_version(
    change: dict[str, Any], line: str
) -> None:
    changed = crawl(**change)

    assert set(changed.identity()) - set(crawl().identity()) == {line}
    assert changed.version != crawl().version


def test_a_generator_and_when_it_hands_on_belong_to_the_identity() -> None:
    plain = compile_pipeline([stage(split)])
    atomic = compile_pipeline([stage(split, atomic=True)])

    assert plain.identity()[1] == "stage 'split': version 1, gives many values"
    assert atomic.identity()[1] == "stage 'split': version 1, gives many values, all at once"
    assert plain.version != atomic.version


def test_names_and_order_belong_to_the_identity() -> None:
    flows = [
        compile_pipeline([fetch, parse], name="crawl"),
        compile_pipeline([parse, fetch], name="crawl"),
        compile_pipeline([fetch, parse], name="other"),
        compile_pipeline([fetch, stage(parse, name="read")], name="crawl"),
        compile_pipeline([fetch], name="crawl"),
    ]

    assert len({each.version for each in flows}) == 5


def test_the_identity_is_a_list_for_people() -> None:
    assert crawl().identity() == (
        "flow 'crawl'",
        "stage 'fetch': version 1, gives one value",
        "stage 'parse': version 1, gives one value",
        "edge 'fetch' to 'parse'",
        "entry 'fetch'",
        "exits 'parse'",
    )


def test_a_name_cannot_pass_for_structure() -> None:
    tricky = "a': version 1, gives one value', 'b"

    assert (
        compile_pipeline([stage(fetch, name=tricky)]).version
        != compile_pipeline([stage(fetch, name="a"), stage(fetch, name="b")]).version
    )


def test_explain_is_a_table_of_what_decides_how_stages_run() -> None:
    plan = compile_pipeline(
        [
            stage(fetch, workers=12, timeout=2.5, policies=[Patience(), Haste()]),
            stage(parse, capacity=0),
        ],
        name="crawl",
    )

    assert plan.explain() == (
        f"flow 'crawl', version {plan.version}\n"
        "\n"
        "#  stage  workers  runs in  capacity  timeout  policies         feeds\n"
        "1  fetch  12       loop     256       2.5 s    Patience, Haste  parse\n"
        "2  parse  1        thread   0         -        -                -"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"edges": (Edge("fetch", "sink"),)},
        {"entry": "start"},
        {"exits": ("end",)},
        {"stages": (stage(fetch), stage(fetch))},
    ],
    ids=str,
)
def test_a_plan_that_speaks_of_unknown_stages_is_never_made(change: dict[str, Any]) -> None:
    parts: dict[str, Any] = {
        "name": "crawl",
        "stages": (stage(fetch),),
        "edges": (),
        "entry": "fetch",
        "exits": ("fetch",),
    }

    with pytest.raises(AssertionError):
        Plan(**{**parts, **change})
