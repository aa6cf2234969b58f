"""Every example does what its docstring says, and the README's programs run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: Seconds that one example may take, on a slow machine.
TIME_LIMIT = 60


def run(code: str, folder: Path) -> str:
    (folder / "program.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_prints_what_its_docstring_says(path: Path, tmp_path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    promised = (ast.get_docstring(ast.parse(code)) or "").partition("Output:\n")[2]

    assert promised, "the docstring has no Output:"
    assert run(code, tmp_path).strip() == textwrap.dedent(promised).strip()


def readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_readmes_flow_runs_on_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"quantity": 2}\n{"quantity": 3}\nnot json\n')

    printed = run(readme_blocks()[0], tmp_path)

    assert "'fed': 3, 'done': 2, 'skipped': 0, 'dead': 1, 'held': 0" in printed
    assert sorted((tmp_path / "out.jsonl").read_text().splitlines()) == [
        '{"quantity":2,"price":20,"total":24.0}',
        '{"quantity":3,"price":30,"total":36.0}',
    ]


def test_the_readmes_actor_runs(tmp_path: Path) -> None:
    declared, _, used = readme_blocks()[2].partition("async with")
    body = textwrap.indent("async with" + used, "    ")

    assert (
        run(f"{declared}\nimport trio\nasync def main():\n{body}\ntrio.run(main)\n", tmp_path) == ""
    )
