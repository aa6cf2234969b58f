"""Finding a flow: what may be named, and what is said of everything else, word for word."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import invoke, write_module

FLOWS = """
from actorflow import Pipeline, stage

@stage(workers=3)
async def fetch(url):
    return url

def parse(page, ctx):
    return page

def add(a, b):
    return a + b

def make():
    return Pipeline([fetch, parse], name="made")

def make_number():
    return 7

async def make_later():
    return crawl

def make_trouble():
    raise LookupError("no network")

class Shop:
    crawl = Pipeline([fetch], name="inner")

LIMIT = 7
NOTHING = None
crawl = Pipeline([fetch, parse], name="crawl")
audit = Pipeline([fetch], name="audit")
"""


@pytest.fixture
def module(here: Path) -> str:
    return write_module(here, FLOWS)


WRITE = "write flow = Pipeline([...]) and name {m}:flow"
MUST = "a function without arguments must return a Pipeline"
NO_NODES = "flow 'pipeline': it has no nodes; give it at least one stage or function"


def error_of(target: str) -> tuple[int, str]:
    """Exit code and the one line of the error, without the name of the program."""
    result = invoke("check", target)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.exit_code, result.stderr.removeprefix("actorflow: ").rstrip("\n")


def flow_name(target: str) -> str:
    result = invoke("check", target)
    assert result.exit_code == 0, result.stderr
    return result.stdout.split("'")[1]


def test_check_finds_what_would_keep_a_run_from_beginning(here: Path) -> None:
    text = (
        "from actorflow import Pipeline, RateLimit\n"
        "async def fetch(url): return url\n"
        "flow = Pipeline([fetch], name='f', policies=[RateLimit(5, key=str)])\n"
    )
    target = f"{write_module(here, text)}:flow"

    code, error = error_of(target)

    assert code == 1
    assert error.startswith(f"{target} cannot work: flow 'f' RateLimit.key must be None")


def test_check_shows_the_stages_and_their_options(module: str) -> None:
    result = invoke("check", f"{module}:audit")

    assert result.exit_code == 0
    first, _, *table = result.stdout.splitlines()
    assert first.startswith("flow 'audit', version ")
    assert table == [
        "#  stage  workers  runs in  capacity  timeout  policies  feeds",
        "1  fetch  3        loop     256       -        -         -",
    ]


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("crawl", "crawl"),
        ("Shop.crawl", "inner"),
        ("make", "made"),
        ("fetch", "fetch"),
        ("parse", "parse"),
    ],
)
def test_a_flow_a_factory_a_stage_and_a_function_of_one_value_may_be_named(
    module: str, attribute: str, name: str
) -> None:
    assert flow_name(f"{module}:{attribute}") == name


def test_a_c_function_may_be_named(here: Path) -> None:
    assert flow_name("math:sqrt") == "sqrt"


@pytest.mark.parametrize(
    ("attribute", "code", "text"),
    [
        ("crwal", 2, "module '{m}' has no 'crwal'; did you mean 'crawl'?"),
        ("zzz", 2, "module '{m}' has no 'zzz'; its flows: crawl, audit"),
        ("Shop.zzz", 2, "module '{m}' has no 'Shop.zzz'; its flows: crawl, audit"),
        ("LIMIT", 2, f"{{m}}:LIMIT is an int, not a flow; {WRITE}"),
        ("NOTHING", 2, f"{{m}}:NOTHING is None, not a flow; {WRITE}"),
        ("Shop", 2, f"{{m}}:Shop is the class Shop, not a flow; {WRITE}"),
        ("make_number", 2, f"{{m}}:make_number() gave an int; {MUST}"),
        ("make_later", 2, f"{{m}}:make_later() gave a coroutine; {MUST}"),
        ("make_trouble", 1, "{m}:make_trouble() failed at {m}.py:24: LookupError: no network"),
    ],
)
def test_what_is_no_flow_is_told_in_one_line(
    module: str, attribute: str, code: int, text: str
) -> None:
    assert error_of(f"{module}:{attribute}") == (code, text.replace("{m}", module))


def test_a_function_that_no_stage_can_be_made_of_is_wrong(module: str) -> None:
    code, text = error_of(f"{module}:add")

    assert code == 1
    assert text.startswith(f"{module}:add cannot be a flow: stage 'add' must be a function of one")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("shop", "'shop' is not MODULE:FLOW, such as shop:flow"),
        ("shop:", "'shop:' is not MODULE:FLOW, such as shop:flow"),
        (":flow", "':flow' is not MODULE:FLOW, such as shop.flows:crawl"),
        ("my shop:flow", "'my shop:flow' is not MODULE:FLOW, such as shop.flows:crawl"),
        ("shop.py:flow", "'shop.py:flow' names a file; write its module: shop:flow"),
        ("./lib/shop.py", "'./lib/shop.py' names a file; write its module: lib.shop:flow"),
    ],
)
def test_a_target_of_another_shape_is_told_what_to_write(
    here: Path, target: str, text: str
) -> None:
    assert error_of(target) == (2, text)


def test_a_module_that_does_not_exist_is_usage(here: Path) -> None:
    wanted = f"there is no module 'no_such_shop' in {here} or on the Python path"

    assert error_of("no_such_shop:flow") == (2, wanted)
    assert error_of("no_such_shop.flows:flow") == (
        2,
        f"{wanted} (to import 'no_such_shop.flows')",
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x = 1\n1 / 0\n", " at {m}.py:2: ZeroDivisionError: division by zero"),
        (
            "import no_such_thing\n",
            " at {m}.py:1: ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("import sys\nsys.exit('bye')\n", " at {m}.py:2: sys.exit() was called"),
        ("def broken(:\n", ": SyntaxError: invalid syntax ({m}.py, line 1)"),
        ("raise ValueError('two\\nlines')\n", " at {m}.py:1: ValueError: two lines"),
        (
            "from actorflow import Pipeline\nflow = Pipeline([])\n",
            f" at {{m}}.py:2: CompilationError: {NO_NODES}",
        ),
    ],
)
def test_a_module_that_fails_at_import_is_named_with_its_error(
    here: Path, text: str, wanted: str
) -> None:
    module = write_module(here, text)

    assert error_of(f"{module}:flow") == (
        1,
        f"importing {module!r} failed" + wanted.replace("{m}", module),
    )


@pytest.mark.parametrize("way", ["before", "behind", "variable"])
def test_debug_shows_the_traceback_above_the_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    module = write_module(here, "1 / 0\n")
    args = ["check", f"{module}:flow"]
    if way == "variable":
        monkeypatch.setenv("ACTORFLOW_DEBUG", "1")
    else:
        args.insert(0 if way == "before" else 1, "--debug")

    result = invoke(*args)

    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "    1 / 0\n" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"actorflow: importing {module!r} failed")


def test_worker_processes_that_cannot_be_had_are_told_with_the_extra_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(
        here,
        "from actorflow import Pipeline, stage\n"
        "def work(x): return x\n"
        "flow = Pipeline([stage(work, runs_in='process')])\n",
    )
    find = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == "trio_parallel" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)

    needs = "needs trio-parallel; install it with: pip install 'actorflow[process]'"
    assert error_of(f"{module}:flow") == (2, f"runs_in='process' {needs}")


@pytest.mark.parametrize(
    ("style", "first"), [("text", "crawl"), ("mermaid", "---"), ("dot", 'digraph "crawl" {')]
)
def test_graph_draws_in_every_format(module: str, style: str, first: str) -> None:
    result = invoke("graph", f"{module}:crawl", "--format", style)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == first
    assert "fetch x3" in result.stdout


def test_graph_draws_text_unless_told_otherwise(module: str) -> None:
    assert invoke("graph", f"{module}:audit").stdout == "audit\n  fetch x3\n"
