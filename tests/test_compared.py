"""Every row of docs/compared.md is backed by tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PAGE = ROOT / "docs" / "compared.md"

#: Libraries that have a table.
OTHERS = ["fluxio", "antflow", "async-graph-data-flow", "async-pipeline"]

#: How a test is named: ``tests/path.py::test_name``.
NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def tables() -> dict[str, list[list[str]]]:
    """Cells of the rows of each table, without its head, by the heading that it stands under."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line[3:], [])
        elif line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return {heading: each[2:] for heading, each in found.items()}


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of the test functions of the module at *path*."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


ROWS = [(heading, row) for heading, rows in tables().items() for row in rows]


def test_each_of_the_others_has_its_table() -> None:
    assert list(tables()) == OTHERS
    assert all(len(rows) > 10 for rows in tables().values())


@pytest.mark.parametrize(("other", "row"), ROWS, ids=[f"{at}: {row[0][:40]}" for at, row in ROWS])
def test_each_row_names_tests_that_exist(other: str, row: list[str]) -> None:
    assert len(row) == 3, "weakness, what happens here, test"
    assert all(row)

    names = NAME.findall(row[2])
    assert names
    assert NAME.sub("", row[2]).strip() == "", "tests and nothing else"
    for path, name in names:
        assert name.startswith("test_")
        assert name in functions_of(path), f"{path} has no {name}"


def test_each_test_that_the_page_names_stands_in_a_row() -> None:
    in_rows = {name for _, row in ROWS for name in NAME.findall(row[2])}

    assert set(NAME.findall(PAGE.read_text(encoding="utf-8"))) == in_rows
