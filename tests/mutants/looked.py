"""Bugs that reviewers have planted and that no test had noticed, each with the test made for it."""

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
)
