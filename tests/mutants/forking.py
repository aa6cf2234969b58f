"""Bugs of what is kept of a run, and of runs that begin with it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

CONTRACT = "tests/durability/test_conformance.py"
KEPT = "tests/durability/test_kept_checkpoints.py"
RUNS = "tests/flows/test_runs.py"
DIFFS = "tests/flows/test_run_diffs.py"

MUTANTS: tuple[Mutant, ...] = (
    # What is kept.
    Mutant(
        "keeps_one_too_few",
        "durability/sqlite_rows.py",
        "change.number - change.keep + 1",
        "change.number - change.keep + 2",
        (CONTRACT,),
    ),
    Mutant(
        "loads_all_that_is_kept",
        "durability/sqlite.py",
        "run = :run AND full ORDER BY number DESC",
        "run = :run AND full ORDER BY number",
        (CONTRACT,),
    ),
    Mutant(
        "keep_forgotten",
        "durability/checkpointer.py",
        "            keep=writer.keep,\n",
        "",
        (KEPT,),
    ),
    Mutant(
        "keep_not_asked_for",
        "flows/keeper.py",
        "            keep=settings.keep,\n",
        "",
        (KEPT,),
    ),
    # Which moment.
    Mutant(
        "forks_the_first_moment",
        "flows/picking.py",
        "moments[-1] for root, moments in fitting.items() if moments",
        "moments[0] for root, moments in fitting.items() if moments",
        (f"{RUNS}::test_a_finished_run_forked_from_any_stage_gives_what_a_fresh_run_gives",),
    ),
    Mutant(
        "forks_what_is_past_the_stage",
        "flows/picking.py",
        "            if piece.out or piece.stage not in before:",
        "            if piece.out:",
        (f"{RUNS}::test_a_finished_run_forked_from_any_stage_gives_what_a_fresh_run_gives",),
    ),
    Mutant(
        "forks_items_that_have_ended_in_part",
        "flows/picking.py",
        "        return not any(_has_ended(key, data) for key, data in moment.facts.items())",
        "        return True",
        (f"{RUNS}::test_pieces_of_which_one_has_come_out_are_taken_from_before_that",),
    ),
    Mutant(
        "forks_half_of_a_generator",
        "flows/picking.py",
        '    return len(there) < int(piece.record.more["emitted"])',
        "    return False",
        (f"{RUNS}::test_a_generator_of_which_something_has_ended_is_past_its_stage",),
    ),
    Mutant(
        "forks_what_died_before",
        "flows/picking.py",
        " if not each.roots <= before}",
        "}",
        (f"{RUNS}::test_items_that_died_before_the_stage_are_left_out_and_those_behind_it_taken",),
    ),
    Mutant(
        "forks_without_those_that_are_not_kept",
        "flows/picking.py",
        "        if missing:",
        "        if False:",
        (f"{RUNS}::test_an_item_that_no_checkpoint_has_there_is_told_and_nothing_is_written",),
    ),
    Mutant(
        "members_taken_apart",
        "flows/picking.py",
        "                if clash is None:",
        "                if True:",
        (f"{RUNS}::test_items_are_taken_from_moments_that_agree",),
    ),
    # As what.
    Mutant(
        "fork_goes_on_with_old_attempts",
        "flows/forking.py",
        "lane, record.order, 0, record.body",
        "lane, record.order, record.attempt, record.body",
        (f"{RUNS}::test_attempts_begin_anew_and_a_retry_does_not_wait_any_more",),
    ),
    Mutant(
        "fork_sleeps_on",
        "flows/forking.py",
        "lane = DUE if record.lane == SLEEPING else record.lane",
        "lane = record.lane",
        (f"{RUNS}::test_attempts_begin_anew_and_a_retry_does_not_wait_any_more",),
    ),
    Mutant(
        "fork_goes_on_inside_steps",
        "flows/forking.py",
        "        if marked(old):",
        "        if False:",
        (f"{RUNS}::test_a_stage_of_several_steps_begins_anew",),
    ),
    Mutant(
        "fork_is_too_late",
        "flows/forking.py",
        "more[name] += self._now - moment.at",
        "more[name] += 0",
        (f"{RUNS}::test_what_is_left_until_a_deadline_is_left_again",),
    ),
    Mutant(
        "fork_forgets_keys",
        "flows/forking.py",
        "dict.fromkeys(self._picked.seen, encode(True))",
        "{}",
        (f"{RUNS}::test_keys_that_were_taken_then_stay_taken",),
    ),
    Mutant(
        "fork_forgets_ids",
        "flows/forking.py",
        "            elif name not in found and self.numbers[root] != root:",
        "            elif False:",
        (f"{RUNS}::test_items_that_died_before_the_stage_are_left_out_and_those_behind_it_taken",),
    ),
    Mutant(
        "fork_reads_the_source",
        "flows/forking.py",
        '"ended": True',
        '"ended": False',
        (f"{RUNS}::test_a_fork_reads_nothing_also_if_it_is_given_something",),
    ),
    Mutant(
        "half_a_fork_is_left",
        "flows/forking.py",
        "            store.delete_run(name)\n",
        "",
        (f"{RUNS}::test_a_fork_that_cannot_be_written_leaves_nothing",),
    ),
    # Comparing.
    Mutant(
        "compares_one_page",
        "flows/differing.py",
        "            after = page[-1].seq\n",
        "            after = 1 << 60\n",
        (f"{DIFFS}::test_a_comparison_reads_page_by_page",),
    ),
)
