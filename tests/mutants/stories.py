"""Bugs that drawn stories and flows have found, made again."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

STOPPED = "tests/flows/test_stopped_stages.py"
FOUND = "tests/actors/test_found_by_stories.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "stash_not_told_of_the_end",
        "runtime/endings.py",
        "        for envelope in (*mailbox.messages(), *(cell.stash or ())):",
        "        for envelope in mailbox.messages():",
        (f"{FOUND}::test_who_asks_for_what_is_stashed_is_told_that_a_durable_system_ends",),
    ),
    Mutant(
        "ids_come_again_after_a_stash",
        "runtime/commit.py",
        "            envelope.emitted += cell.turn.children()",
        "            envelope.emitted += 0",
        (f"{FOUND}::test_what_is_sent_before_and_after_a_stash_is_two_messages_over_a_death",),
    ),
    Mutant(
        "letter_of_what_no_cut_had_not_waited_for",
        "runtime/kernel.py",
        "            self.journal.want()  #",
        "            #",
        (f"{FOUND}::test_a_message_that_overflows_is_a_letter_on_the_disk_when_tell_returns",),
    ),
    Mutant(
        "delayed_message_accepted_twice",
        "runtime/remember.py",
        "    mailbox.accepted += len(everything) - later",
        "    mailbox.accepted += len(everything)",
        (f"{FOUND}::test_a_delayed_message_is_accepted_once_over_a_death",),
    ),
    Mutant(
        "end_not_heard_in_a_group",
        "actors/system.py",
        "    if isinstance(error, BaseExceptionGroup):",
        "    if False:",
        (f"{FOUND}::test_the_block_says_why_the_system_has_ended_of_tasks_too",),
    ),
    Mutant(
        "spec_does_not_know_who_was_brought_back",
        "actors/system.py",
        "        if spec.id in self._restored and (whole or name is not None):",
        "        if spec.id in self._restored and name is not None:",
        (f"{FOUND}::test_a_spec_names_the_durable_actor_that_was_brought_back",),
    ),
    Mutant(
        "refused_ask_takes_no_id",
        "runtime/turn.py",
        "        self._asks += 1  # Refused",
        "        self._asks += ref.cell is not cell  # Refused",
        (f"{FOUND}::test_what_is_sent_has_its_id_whether_an_ask_before_it_is_refused_or_not",),
    ),
    Mutant(
        "item_dies_where_nobody_waits",
        "flows/ledger.py",
        "        if item is None and stage in self.asides:",
        "        if False:",
        ("tests/flows/test_asides.py",),
    ),
    Mutant(
        "tick_in_the_user_lane_not_taken_back",
        "runtime/timers.py",
        "        return tick.attempt > 0 and tick in mailbox.queue  #",
        "        return False  #",
        (f"{FOUND}::test_a_tick_that_waits_for_a_retry_is_taken_back",),
    ),
    Mutant(
        "waiting_tick_forgotten_over_a_death",
        "runtime/timers.py",
        "    timer.tick = tick\n    if delay",
        "    if delay",
        (f"{FOUND}::test_a_tick_that_waits_is_taken_back_over_a_death",),
    ),
    Mutant(
        "stage_without_workers_keeps_its_mail",
        "stages/build.py",
        "            abandon(self.mailbox)",
        "            pass",
        (f"{STOPPED}::test_siblings_of_a_branch_that_has_stopped_are_called_off",),
    ),
    Mutant(
        "closed_mailbox_has_no_room",
        "runtime/mailbox.py",
        "        if self.closed:\n            return sys.maxsize",
        "        if False:\n            return sys.maxsize",
        (f"{STOPPED}::test_the_last_worker_takes_its_stage_with_it",),
    ),
)
