"""The suite finds every deliberate bug of `tests.mutants`."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant, main, row, run_mutant


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_kills_the_mutant(mutant: Mutant) -> None:
    assert run_mutant(mutant), "survived"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutants_place_is_in_the_source_exactly_once(mutant: Mutant) -> None:
    assert (ROOT / "actorflow" / mutant.path).read_text(encoding="utf-8").count(mutant.old) == 1


def test_the_page_on_reliability_has_a_row_for_each_that_was_killed() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")

    rows = [line for line in page.splitlines() if line.endswith((" | killed |", " | survived |"))]
    assert rows == [row(mutant, "killed") for mutant in MUTANTS]


def test_names_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        mutant.name for mutant in MUTANTS
    ]
    with pytest.raises(SystemExit) as caught:
        main(["no_such_mutant"])
    assert caught.value.code == 2
