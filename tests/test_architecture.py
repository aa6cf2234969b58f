"""The house keeps its rules, and every rule is able to fail.

The first tests read the package as it is. The others hand each rule a made-up tree
with one thing wrong and demand that it says so, word for word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import actorflow
from tests.architecture import (
    RULES,
    Rule,
    Tree,
    a_commit_never_waits,
    documented_floors,
    imports_are_absolute,
    imports_go_down,
    no_circles,
    nothing_is_too_long,
    pure_floors_stay_pure,
    roof_and_laboratory_are_for_outside,
    third_parties_have_one_address,
)

PACKAGE = Path(actorflow.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def house() -> Tree:
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule, house: Tree) -> None:
    assert rule(house) == []


def test_the_page_on_architecture_has_every_room_on_its_floor(house: Tree) -> None:
    assert documented_floors(house, PAGE.read_text(encoding="utf-8")) == []


def test_the_house_is_read_at_all(house: Tree) -> None:
    assert {"__init__.py", "errors/base.py", "options.py", "graph/stage.py"} <= set(house)


def lines(count: int) -> str:
    return "x = 1\n" * count


def function(count: int) -> str:
    return "def f():\n" + "    x = 1\n" * (count - 1)


#: Written out, so that a name lost from the rule is missed here.
BANNED = [
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "trio",
]

BROKEN: list[tuple[Rule, Mapping[str, str], list[str]]] = [
    (
        imports_go_down,
        {"wire/codec.py": "from actorflow.runtime.turn import Turn"},
        ["wire/codec.py:1: wire may not import actorflow.runtime.turn"],
    ),
    (
        imports_go_down,  # Inside a function, in the other way to write it.
        {"graph/plan.py": "def f():\n    import actorflow.flows.run"},
        ["graph/plan.py:2: graph may not import actorflow.flows.run"],
    ),
    (
        imports_go_down,  # For types only.
        {"core/a.py": "if TYPE_CHECKING:\n    from actorflow.policies import Retry"},
        ["core/a.py:2: core may not import actorflow.policies"],
    ),
    (
        imports_go_down,  # Left knows nothing of right.
        {"wire/codec.py": "from actorflow.core.envelope import Envelope"},
        ["wire/codec.py:1: wire may not import actorflow.core.envelope"],
    ),
    (
        imports_go_down,  # Two rooms of one floor know nothing of each other.
        {"observe/stats.py": "import actorflow.durability.store"},
        ["observe/stats.py:1: observe may not import actorflow.durability.store"],
    ),
    (
        imports_go_down,
        {"flows/a.py": "import actorflow.tasks.app", "errors.py": "import actorflow.options"},
        [
            "flows/a.py:1: flows may not import actorflow.tasks.app",
            "errors.py:1: errors may not import actorflow.options",
        ],
    ),
    (
        imports_go_down,
        {"helpers/a.py": ""},
        ["helpers/a.py: room 'helpers' has no floor"],
    ),
    (
        imports_go_down,
        {"flows/a.py": "import actorflow.helpers.a"},
        ["flows/a.py:1: actorflow.helpers.a has no floor"],
    ),
    (
        roof_and_laboratory_are_for_outside,
        {"flows/run.py": "import actorflow"},
        ["flows/run.py:1: actorflow is for outside; import the module meant"],
    ),
    (
        roof_and_laboratory_are_for_outside,
        {"cli/run.py": "from actorflow import stage, errors", "errors.py": ""},
        ["cli/run.py:1: actorflow is for outside; import the module meant"],
    ),
    (
        roof_and_laboratory_are_for_outside,
        {"flows/run.py": "from actorflow.testing.faults import Fault"},
        ["flows/run.py:1: actorflow.testing.faults is for outside; import the module meant"],
    ),
    (
        roof_and_laboratory_are_for_outside,  # Not even the roof has the laboratory.
        {"__init__.py": "from actorflow.testing import simulate"},
        ["__init__.py:1: actorflow.testing is for outside; import the module meant"],
    ),
    (
        no_circles,
        {
            "core/a.py": "from actorflow.core import b",
            "core/b.py": "def f():\n    import actorflow.core.c",
            "core/c.py": "if TYPE_CHECKING:\n    from actorflow.core.a import A",
        },
        ["core/a.py -> core/b.py -> core/c.py -> core/a.py"],
    ),
    (
        no_circles,  # Over the door of the room.
        {
            "core/__init__.py": "from actorflow.core.a import A",
            "core/a.py": "from actorflow.core import B",
        },
        ["core/__init__.py -> core/a.py -> core/__init__.py"],
    ),
    (
        no_circles,
        {"core/a.py": "import actorflow.core.a"},
        ["core/a.py -> core/a.py"],
    ),
    (
        imports_are_absolute,
        {"core/b.py": "from .a import A", "core/c.py": "from . import a"},
        ["core/b.py:1: write the import absolute", "core/c.py:1: write the import absolute"],
    ),
    *(
        (
            pure_floors_stay_pure,
            {"policies/a.py": f"def f():\n    import {name}"},
            [f"policies/a.py:2: policies is pure; {name} is not"],
        )
        for name in BANNED
    ),
    (
        pure_floors_stay_pure,
        {"errors.py": "from os.path import join", "graph/a.py": "import trio.lowlevel"},
        ["errors.py:1: errors is pure; os is not", "graph/a.py:1: graph is pure; trio is not"],
    ),
    (
        pure_floors_stay_pure,
        {"graph/a.py": "async def f(): ..."},
        ["graph/a.py:1: graph is pure; async def is not"],
    ),
    *(
        (
            pure_floors_stay_pure,
            {"core/a.py": f"x = {call}(1)"},
            [f"core/a.py:1: core is pure; {call}() is not"],
        )
        for call in ("open", "print", "input", "datetime.now", "date.today", "uuid.uuid4")
    ),
    (
        pure_floors_stay_pure,
        {"core/a.py": "x = datetime.datetime.now()"},
        ["core/a.py:1: core is pure; datetime.datetime.now() is not"],
    ),
    *(
        (
            third_parties_have_one_address,
            {path: f"import {name}"},
            [f"{path}:1: {name} belongs into {homes}"],
        )
        for path, name, homes in [
            ("wire/registry.py", "msgpack", "wire/codec.py or wire/snapshot.py"),
            ("flows/run.py", "click", "cli/"),
            ("observe/stats.py", "rich", "cli/ or observe/progress.py"),
            ("runtime/actor.py", "trio_parallel", "runtime/offload.py"),
            ("stages/work.py", "outcome", "runtime/"),
            ("flows/run.py", "hypothesis", "testing/"),
        ]
    ),
    (
        third_parties_have_one_address,
        {"core/a.py": "def f():\n    from numpy.linalg import norm"},
        ["core/a.py:2: numpy has no address in tests/architecture.py"],
    ),
    (nothing_is_too_long, {"core/a.py": lines(451)}, ["core/a.py: 451 lines, 450 at most"]),
    (
        nothing_is_too_long,
        {"core/a.py": function(61), "core/b.py": "async " + function(62)},
        [
            "core/a.py:1: f() has 61 lines, 60 at most",
            "core/b.py:1: f() has 62 lines, 60 at most",
        ],
    ),
    (
        a_commit_never_waits,
        {"runtime/commit.py": "async def settle(): ..."},
        ["runtime/commit.py:1: a commit never waits"],
    ),
    *(
        (
            a_commit_never_waits,
            {"runtime/turn.py": f"async def _commit_value():\n    {line}"},
            ["runtime/turn.py:1: a commit never waits", "runtime/turn.py:2: a commit never waits"],
        )
        for line in ["await f()", "async for x in y: ...", "async with x: ..."]
    ),
]


@pytest.mark.parametrize(
    ("rule", "tree", "found"),
    BROKEN,
    ids=[f"{row[0].__name__}-{n}" for n, row in enumerate(BROKEN)],
)
def test_a_rule_names_what_breaks_it(rule: Rule, tree: Tree, found: list[str]) -> None:
    assert rule(tree) == found


def test_every_rule_is_shown_to_fail() -> None:
    assert {row[0] for row in BROKEN} == set(RULES)


SOUND: Tree = {
    "__init__.py": "from actorflow.flows.run import Run\nfrom actorflow.wire import codec",
    "__main__.py": "from actorflow.cli import main",
    "errors.py": "import enum",
    "options.py": "from actorflow.errors import ConfigurationError",
    "wire/__init__.py": "from actorflow.wire.codec import encode",
    "wire/codec.py": "import msgpack, pathlib, attrs\nfrom actorflow.wire import tags\n"
    + lines(448),
    "wire/tags.py": "from actorflow import errors, options",
    "core/a.py": "from actorflow.wire import encode\nx = self.now()\nfile.open()",
    "policies/a.py": "from actorflow.core.a import b",
    "graph/a.py": "import inspect\nfrom actorflow.policies import a\n" + function(60),
    "runtime/commit.py": "def commit(): ...",
    "runtime/turn.py": "import trio\nasync def run():\n    await trio.sleep(1)",
    "runtime/offload.py": "def f():\n    import trio_parallel",
    "observe/progress.py": "import rich.live, time, os",
    "durability/store.py": "async def commit():\n    await f()",
    "flows/run.py": "from actorflow.stages import a\nprint(1)",
    "stages/a.py": "",
    "cli/__init__.py": "import click, rich\nfrom actorflow.flows.run import Run",
    "testing/__init__.py": "import hypothesis\nfrom actorflow.testing.faults import Fault",
    "testing/faults.py": "from actorflow.flows.run import Run",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_house_is_left_in_peace(rule: Rule) -> None:
    assert rule(SOUND) == []


PAGE_TABLE = """
| floor | room | what it holds |
|---|---|---|
| roof | `__init__.py` | names |
| 0 | `errors.py` | errors |
| 1 | `wire/` | bytes |
| apart | `testing/` | simulation |
"""


def test_a_page_that_lists_every_room_is_left_in_peace() -> None:
    tree = dict.fromkeys(["__init__.py", "errors.py", "wire/codec.py", "testing/a.py"], "")

    assert documented_floors(tree, PAGE_TABLE) == []


def test_a_room_that_the_page_forgets_or_misplaces_is_named() -> None:
    tree = {"core/a.py": "", "wire/codec.py": "", "errors.py": ""}

    assert documented_floors(tree, PAGE_TABLE.replace("| 1 |", "| 2 |")) == [
        "docs/architecture.md: room 'core' is missing in the floor table",
        "docs/architecture.md: room 'wire' is on floor 1, not 2",
    ]
