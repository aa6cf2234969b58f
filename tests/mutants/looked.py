"""Faults that were planted by hand and that no test had noticed, each with the test made for it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "foreign_answers_forgotten",
        "runtime/kept.py",
        "if isinstance(root, str) or self._asks_again(own):",
        "if self._asks_again(own):",
        (
            "tests/actors/test_two_systems.py::test_what_another_system_asks_runs_once_though_the_asked_one_restarts_in_between",
        ),
    ),
    Mutant(
        "close_hides_failure",
        "durability/hold.py",
        "                    if journal.broken is not None and not broken:\n"
        "                        raise journal.broken\n",
        "",
        ("tests/durability/test_last_commits.py",),
    ),
    Mutant(
        "waiting_question_not_compared",
        "runtime/kept.py",
        "        if digest != digest_of(question.body):",
        "        if known is not None and digest != digest_of(question.body):",
        ("tests/actors/test_asked_again.py",),
    ),
    Mutant(
        "patient_ask_never_expires",
        "runtime/reply.py",
        "        if self._kernel.now() < self._until:\n"
        "            self._kernel.heap.at(self._until, self._expire, seconds)\n",
        "        if self._kernel.now() < self._until:\n            pass\n",
        (
            "tests/durability/test_careful_asks.py::test_who_asks_beside_a_suspect_waits_no_longer_than_that_runs_and_the_timeout",
        ),
    ),
    Mutant(
        "restored_stash_not_counted",
        "runtime/remember.py",
        "        mailbox.waiting += len(stashed)\n",
        "",
        ("tests/actors/test_stash_over_lives.py::test_a_full_stash_is_full_in_the_next_life_too",),
    ),
    Mutant(
        "leased_tick_forgotten",
        "runtime/timers.py",
        "tick = self.tick if self.waits() or self.cell.lease is self.tick else None",
        "tick = self.tick if self.waits() else None",
        (
            "tests/actors/test_timers_at_the_end.py::test_a_tick_in_whose_turn_the_process_died_is_taken_back_in_the_next_life",
        ),
    ),
    Mutant(
        "sweep_takes_waiting",
        "runtime/timers.py",
        "if timer.entry is None and not timer.waits()]:",
        "if timer.entry is None]:",
        (
            "tests/runtime/test_timers.py::test_a_tick_that_waits_is_taken_back_however_many_timers_there_are",
        ),
    ),
    Mutant(
        "backoff_overtaken",
        "runtime/supervisor.py",
        "        if child.entry is not None and child.entry[2] is None:  # Done",
        "        if True:  # Done",
        (
            "tests/actors/test_supervision_races.py::test_a_crash_in_the_moment_a_backoff_ends_has_the_child_come_back_with_its_group",
        ),
    ),
    Mutant(
        "bring_beside_a_cut",
        "durability/checkpointer.py",
        "        async with self._busy:  # A cut on its way may not undo it.\n"
        "            change = provide()\n"
        "            await self._commit(lambda: self._bridge.store.commit(change))",
        "        change = provide()\n"
        "        await self._commit(lambda: self._bridge.store.commit(change))",
        ("tests/durability/test_blame_beside_cuts.py",),
    ),
    Mutant(
        "next_aside_forgotten",
        "runtime/mailbox.py",
        "                self.next_aside = min(self.next_aside, entry[0])\n"
        "                continue",
        "                continue",
        (
            "tests/runtime/test_gate_order.py::test_who_comes_just_before_a_wait_ends_does_not_pass_those_who_waited",
        ),
    ),
    Mutant(
        "law_batch_roots",
        "testing/laws.py",
        "return set().union(*(_roots(inner, within) for inner, within in listed))",
        "return {address(listed[0][0])[0]}",
        ("tests/testing/test_laws_see.py::test_the_members_of_a_batch_are_an_item_each",),
    ),
    Mutant(
        "law_fed_from_now",
        "testing/laws.py",
        "fed.get(key, promised.fed.get(key, 0)) + line.count",
        "fed.get(key, 0) + line.count",
        (
            "tests/testing/test_laws_see.py::test_what_was_fed_after_a_loss_counts_with_what_was_left_before_it",
        ),
    ),
    Mutant(
        "law_items_not_conserved",
        "testing/laws.py",
        "if state.fed != done + skipped + dead + len(held):",
        "if False:",
        ("tests/testing/test_laws_see.py::test_items_that_are_nowhere_on_the_disk_are_missed",),
    ),
    Mutant(
        "suffix_of_one_commit",
        "testing/disk.py",
        "maxlen=max(each.commits for each in suffixes)",
        "maxlen=1",
        ("tests/testing/test_laws_see.py::test_as_many_commits_are_lost_as_the_plan_says",),
    ),
    Mutant(
        "lab_taken_no_doubt",
        "testing/disk.py",
        "kept.epoch + 1, None, True",
        "kept.epoch + 1, None, False",
        (
            "tests/testing/test_laws_see.py::test_who_comes_after_the_run_was_taken_is_told_that_it_may_have_run_elsewhere",
        ),
    ),
    Mutant(
        "lab_snapshot_after_death_unchecked",
        "testing/exploring.py",
        "broken = lives.world._broken() if before else []",
        "broken = []",
        (
            "tests/testing/test_laws_see.py::test_what_a_death_leaves_is_looked_at_before_the_next_life",
        ),
    ),
    Mutant(
        "law_room_not_counted",
        "testing/books.py",
        "mailbox.limit != mailbox.capacity + redelivered",
        "False",
        ("tests/testing/test_laws_see.py::test_a_place_that_nobody_has_brought_is_found",),
    ),
    Mutant(
        "rec_untold_ever_empty",
        "testing/recording.py",
        "                if type(envelope.reply) in (Reply, PatientReply):\n"
        "                    self._asked.append(envelope)\n",
        "",
        ("tests/testing/test_laws_see.py::test_an_answer_that_is_never_given_is_found",),
    ),
    Mutant(
        "restored_top_signed",
        "flows/refilling.py",
        "max(found.top, abs(record.order))",
        "max(found.top, record.order)",
        ("tests/flows/test_order_over_lives.py",),
    ),
)
