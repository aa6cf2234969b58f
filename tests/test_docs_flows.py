"""The programs of the documentation run, and say what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import printed, programs

#: Pages with programs, and how many they have.
PAGES = {"finding-the-bug.md": 4, "flows.md": 5, "testing.md": 10, "watching.md": 4}

CASES = [(page, number) for page, count in PAGES.items() for number in range(count)]


@pytest.mark.parametrize(("page", "number"), CASES)
def test_the_programs_of_a_page_run(page: str, number: int, tmp_path: Path) -> None:
    found = programs(page)

    assert len(found) == PAGES[page]
    assert printed(found[number], tmp_path) == found[number].prints
