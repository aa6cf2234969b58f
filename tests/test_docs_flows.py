"""The programs of the documentation run, and say what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def programs(page: str) -> list[str]:
    """Whole programs of *page*: those that import what they use."""
    blocks = re.findall(
        r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL
    )
    return [block for block in blocks if block.startswith(("import", "from"))]


@pytest.mark.parametrize("number", range(4))
def test_the_programs_of_flows_run(number: int, tmp_path: Path) -> None:
    found = programs("flows.md")
    assert len(found) == 4
    done = subprocess.run(
        [sys.executable, "-c", found[number]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
