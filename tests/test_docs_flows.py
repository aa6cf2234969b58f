"""The programs of the documentation run, and say what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import printed, programs


@pytest.mark.parametrize("number", range(4))
def test_the_programs_of_flows_run(number: int, tmp_path: Path) -> None:
    found = programs("flows.md")

    assert len(found) == 4
    assert printed(found[number], tmp_path) == found[number].prints
