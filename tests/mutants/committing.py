"""Bugs of the commit: what is told to whom, and when the disk has it.

Of a cut that failed nothing may be told, and nothing be lost.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

STORE_FAILURES = "tests/durability/test_store_failures.py"
RUNS = "tests/flows/test_durable.py"
ITEMS = "tests/flows/test_durable_items.py"
ACTORS = "tests/actors/test_durable.py"
PROMISES = "tests/durability/test_promises.py"
CRASHES = "tests/testing/test_actors_over_crashes.py"

MUTANTS: tuple[Mutant, ...] = (
    # Before the disk has it.
    Mutant(
        "acknowledged_before_the_commit",
        "durability/checkpointer.py",
        "            rows = self.rows.take()\n",
        "            rows = self.rows.take()\n            journal.commit(cut.number)\n",
        (
            f"{STORE_FAILURES}::test_a_disk_that_stays_full_stops_the_run_and_nothing_is_acknowledged",
        ),
    ),
    Mutant(
        "feed_does_not_wait",
        "flows/run.py",
        "            await self._keeper.settled()",
        "            await trio.lowlevel.checkpoint()",
        (
            f"{STORE_FAILURES}::test_a_disk_that_stays_full_stops_the_run_and_nothing_is_acknowledged",
        ),
    ),
    Mutant(
        "results_before_the_disk",
        "flows/taps.py",
        "if self._journal is None or self._journal.broken is not None:",
        "if True:",
        (f"{STORE_FAILURES}::test_results_are_not_handed_out_when_the_disk_refuses_them",),
    ),
    Mutant(
        "answer_before_the_disk",
        "runtime/commit.py",
        "        journal.answer(reply, value)",
        "        reply.resolve(value)",
        (f"{ACTORS}::test_tell_and_answers_to_the_outside_wait_for_the_disk",),
    ),
    Mutant(
        "settled_sink_reads_ahead",
        "flows/run.py",
        'settles = keeper is not None and getattr(sink, "settled", False)',
        "settles = False",
        (f"{PROMISES}::test_a_settled_sink_shows_nothing_that_the_disk_has_refused",),
    ),
    Mutant(
        "effect_before_the_disk",
        "runtime/journal.py",
        "return 0 < envelope.stored <= self.committed and envelope not in self.touched",
        "return True",
        (f"{PROMISES}::test_an_effect_waits_until_the_disk_has_its_message_as_it_is_now",),
    ),
    Mutant(
        "effect_on_an_older_body",
        "runtime/journal.py",
        "return 0 < envelope.stored <= self.committed and envelope not in self.touched",
        "return 0 < envelope.stored <= self.committed",
        (f"{PROMISES}::test_an_effect_waits_until_the_disk_has_its_message_as_it_is_now",),
    ),
    Mutant(
        "sink_not_synced",
        "flows/keeper.py",
        "            self._output.sync()",
        "            pass",
        (f"{PROMISES}::test_what_a_cut_names_as_written_is_on_the_disk_before_it",),
    ),
    Mutant(
        "accepted_but_cancelled",
        "runtime/journal.py",
        "            with trio.CancelScope(shield=True):",
        "            with trio.CancelScope():",
        (f"{ACTORS}::test_a_cancelled_tell_never_leaves_its_outcome_unknown",),
    ),
    # When it fails.
    Mutant(
        "failed_commit_acknowledged",
        "durability/checkpointer.py",
        "                journal.fail(error)\n",
        "                journal.commit(cut.number)\n                journal.fail(error)\n",
        (f"{STORE_FAILURES}::test_results_are_not_handed_out_when_the_disk_refuses_them",),
    ),
    Mutant(
        "failed_delta_dropped",
        "durability/checkpointer.py",
        "            self._unknown = error.unknown\n",
        "            self._unknown = error.unknown\n"
        '            self._cut.rows, self._cut.gone, self._data = [], [], b""\n',
        (f"{PROMISES}::test_what_a_failed_commit_had_is_on_the_disk_when_the_next_one_is",),
    ),
    Mutant(
        "failed_rows_dropped",
        "durability/checkpointer.py",
        "            self._unknown = error.unknown\n",
        "            self._unknown, self._rows = error.unknown, Rows()\n",
        (f"{STORE_FAILURES}::test_whatever_commits_do_nothing_is_lost_or_doubled",),
    ),
    Mutant(
        "unknown_taken_for_failed",
        "durability/checkpointer.py",
        "if self._unknown and writer.store.number(run) >= self._cut.number:",
        "if False:",
        (f"{PROMISES}::test_what_a_failed_commit_had_is_on_the_disk_when_the_next_one_is",),
    ),
    Mutant(
        "unknown_taken_for_landed",
        "durability/checkpointer.py",
        "if self._unknown and writer.store.number(run) >= self._cut.number:",
        "if self._unknown:",
        (f"{PROMISES}::test_what_a_failed_commit_had_is_on_the_disk_when_the_next_one_is",),
    ),
    # Once.
    Mutant(
        "results_doubled",
        "durability/checkpointer.py",
        "        self.results, self.dead = [], []",
        "        self.dead = []",
        (f"{PROMISES}::test_results_and_dead_letters_are_stored_once_however_many_commits_follow",),
    ),
    Mutant(
        "dead_letters_doubled",
        "durability/checkpointer.py",
        "        self.results, self.dead = [], []",
        "        self.results = []",
        (f"{PROMISES}::test_results_and_dead_letters_are_stored_once_however_many_commits_follow",),
    ),
    Mutant(
        "key_by_attempt",
        "runtime/turn.py",
        "{cell.kernel.run_id}:{self.message_id}:",
        "{cell.kernel.run_id}:{self.message_id}:{self.attempt}:",
        (f"{ITEMS}::test_the_idempotency_key_is_the_same_in_every_life",),
    ),
    Mutant(
        "key_by_life",
        "runtime/turn.py",
        "{cell.kernel.run_id}:{self.message_id}:",
        "{id(cell.kernel)}:{self.message_id}:",
        (f"{ITEMS}::test_the_idempotency_key_is_the_same_in_every_life",),
    ),
    # Answers and timers over a crash.
    Mutant(
        "answer_one_cut_early",
        "runtime/journal.py",
        "        number = self.number if self.changed else self.number - 1\n        if self.broken",
        "        number = self.number - 1\n        if self.broken",
        (f"{CRASHES}::test_no_crash_breaks_it",),
    ),
    Mutant(
        "answer_to_another_system_early",
        "runtime/commit.py",
        "journal is not None and (sender is None or sender.kernel.journal is not journal):",
        "journal is not None and sender is None:",
        (f"{CRASHES}::test_no_crash_breaks_it",),
    ),
    Mutant(
        "fired_timer_not_marked",
        "runtime/timers.py",
        "    if cell.kept is not None:\n        cell.kept.mark()\n    if timer.every is None:",
        "    if timer.every is None:",
        (f"{CRASHES}::test_no_crash_breaks_it",),
    ),
    Mutant(
        "cancelled_timer_not_marked",
        "runtime/timers.py",
        "    if cell.kept is not None:\n        cell.kept.mark()\n    if timer.entry is not None:",
        "    if timer.entry is not None:",
        (f"{CRASHES}::test_no_crash_breaks_it",),
    ),
    Mutant(
        "stopped_turn_keeps_its_fields",
        "runtime/lease.py",
        "    cell.roll_back()\n    refresh_body(envelope)\n    if cell.token",
        "    refresh_body(envelope)\n    if cell.token",
        (f"{CRASHES}::test_a_turn_that_a_stop_has_cut_short_leaves_nothing_in_the_fields",),
    ),
)
