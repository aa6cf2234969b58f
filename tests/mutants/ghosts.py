"""What made the laboratory blind, or let it hear what is not there; and what it then found."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

GHOSTS = "tests/testing/test_ghosts.py"
ASKS = "tests/actors/test_asks_that_fail.py"

MUTANTS = (
    Mutant(
        "what_cannot_be_copied_is_passed_over",
        "testing/life.py",
        "            self._trouble = self._trouble or error",
        "            pass",
        (f"{GHOSTS}::test_what_a_death_cannot_copy_is_named",),
    ),
    Mutant(
        "deadlines_that_wake_nobody_are_a_standstill",
        "testing/steps.py",
        "        self._idle = 0\n\n    def at(",
        "        pass\n\n    def at(",
        (f"{GHOSTS}::test_deadlines_that_wake_nobody_are_no_standstill",),
    ),
    Mutant(
        "garbage_is_collected_any_time",
        "testing/steps.py",
        "    gc.disable()\n",
        "",
        (f"{GHOSTS}::test_when_garbage_is_collected_changes_nothing",),
    ),
    Mutant(
        "ghosts_keep_their_shields",
        "testing/schedule.py",
        "            status._scope.shield = False\n",
        "",
        (f"{GHOSTS}::test_a_wait_that_a_ghost_shields_is_no_violation",),
    ),
    Mutant(
        "liveness_counts_the_fault",
        "testing/life.py",
        "self.now() + fault.lasts)",
        "self.now())",
        (f"{GHOSTS}::test_the_bound_of_liveness_begins_when_the_fault_is_over",),
    ),
    Mutant(
        "liveness_counts_from_the_beginning",
        "testing/simulate.py",
        "        seconds = life.seconds - life.struck",
        "        seconds = life.seconds",
        (f"{GHOSTS}::test_the_bound_of_liveness_begins_when_the_fault_is_over",),
    ),
    Mutant(
        "torn_commits_write_nothing",
        "testing/disk.py",
        "        super().commit(attrs.evolve(change, results=(), dead=(), blame={}, cleared=()))\n",
        "",
        (f"{GHOSTS}::test_a_torn_commit_writes_a_part_which_the_store_takes_back",),
    ),
    Mutant(
        "opening_a_store_cannot_be_cancelled",
        "durability/bridge.py",
        "        await trio.lowlevel.checkpoint_if_cancelled()  # Calls",
        "        # Calls",
        (f"{GHOSTS}::test_a_client_that_tries_again_for_ever_ends_with_its_process",),
    ),
    Mutant(
        "diverted_with_its_questions",
        "runtime/commit.py",
        "        cell.kept.give_up(envelope)\n    cell.mailbox.ledger.divert(",
        "        pass\n    cell.mailbox.ledger.divert(",
        (f"{ASKS}::test_who_gets_what_another_actor_has_failed_with_asks_questions_of_its_own",),
    ),
    Mutant(
        "answer_of_a_turn_without_room_kept",
        "runtime/kept.py",
        "        self._answer = None  # That of",
        "        # That of",
        (f"{ASKS}::test_the_answer_of_a_turn_that_found_no_room_is_not_kept_for_another_message",),
    ),
)
