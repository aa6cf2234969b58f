"""Bugs of the careful mode: who is blamed for an unclean end, who runs alone, who is poison."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

STORE_FAILURES = "tests/durability/test_store_failures.py"
CAREFUL = "tests/durability/test_careful.py"
ASKS = "tests/durability/test_careful_asks.py"
PROMISES = "tests/durability/test_promises.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "unclean_end_unnoticed",
        "durability/hold.py",
        '        if self.owned.status == "running" and not self.owned.new:',
        "        if False:",
        (f"{STORE_FAILURES}::test_two_that_end_the_process_take_no_neighbour_with_them",),
    ),
    Mutant(
        "careful_for_the_restored_only",
        "durability/careful.py",
        "        self._until = kernel.now() + SECONDS",
        "        self._until = kernel.now()",
        (CAREFUL,),
    ),
    Mutant(
        "restored_not_waited_for",
        "durability/careful.py",
        "        self._restored.update(envelopes)",
        "        pass",
        (f"{CAREFUL}::test_it_is_over_when_the_restored_are_gone_and_the_time_is_up",),
    ),
    Mutant(
        "leased_before_its_blame",
        "durability/careful.py",
        "            self._want_others(box)\n        return None\n",
        "            self._want_others(box)\n        return True\n",
        (f"{CAREFUL}::test_an_entry_is_on_the_disk_before_its_message_runs",),
    ),
    Mutant(
        "blame_not_cleared",
        "durability/careful.py",
        "            del self._suspects[envelope]\n            self._blame.clear(suspect.key)\n",
        "            del self._suspects[envelope]\n",
        (f"{CAREFUL}::test_who_has_left_is_cleared_with_the_next_write",),
    ),
    Mutant(
        "cleared_not_written",
        "durability/checkpointer.py",
        "cleared = [] if journal.careful is None else journal.careful.take_cleared(cut=True)",
        "cleared: list[str] = []",
        (f"{PROMISES}::test_nobody_is_blamed_any_more_when_all_suspects_are_done",),
    ),
    Mutant(
        "poison_innocent_before_its_letter",
        "durability/careful.py",
        "key_of(envelope, box), convicted=True)",
        "key_of(envelope, box))",
        (f"{CAREFUL}::test_the_entry_of_poison_stays_until_the_cut_with_its_letter",),
    ),
    Mutant(
        "blame_limit_off_by_one",
        "durability/careful.py",
        "        if before.ends >= max(LIMIT, self._boxes[box][0]):",
        "        if before.ends > max(LIMIT, self._boxes[box][0]):",
        (f"{CAREFUL}::test_too_many_unclean_ends_are_poison",),
    ),
    Mutant(
        "neighbour_beside_a_suspect",
        "durability/careful.py",
        "        if self._alone.excludes(suspect):",
        "        if False:",
        (f"{CAREFUL}::test_who_was_there_at_an_unclean_end_runs_alone",),
    ),
    Mutant(
        "suspect_beside_a_neighbour",
        "durability/careful.py",
        "any(each.active for each in self._suspects.values()):",
        "False:",
        (f"{CAREFUL}::test_it_waits_until_nobody_runs",),
    ),
    Mutant(
        "attempts_of_the_entry_unread",
        "durability/careful.py",
        "            envelope.attempt = self._suspects[envelope].entry.attempts",
        "            envelope.attempt += 0",
        (f"{CAREFUL}::test_the_attempts_of_the_entry_are_those_of_what_is_made_again",),
    ),
    Mutant(
        "asker_keeps_the_place",
        "runtime/resting.py",
        "    careful.rests(suspect.envelope, keeps=not rests)\n",
        "",
        (f"{ASKS}::test_no_transfer_is_lost_when_others_are_first_in_a_mailbox",),
    ),
    Mutant(
        "asker_blamed_for_the_answer",
        "runtime/resting.py",
        "    rests = careful.watches(box) and _waits_alone(cell)",
        "    rests = False",
        (f"{ASKS}::test_who_has_asked_for_the_end_is_told_so_and_not_blamed",),
    ),
    Mutant(
        "time_goes_on_while_the_gate_is_closed",
        "runtime/reply.py",
        "        more, self._charged = closed - self._charged, closed",
        "        more, self._charged = 0.0, closed",
        (f"{ASKS}::test_nobody_is_charged_for_the_time_of_a_suspect",),
    ),
    Mutant(
        "durable_actor_fast_after_care",
        "durability/careful.py",
        "                box.careful = careful or box.covered",
        "                box.careful = box.covered",
        (f"{ASKS}::test_what_a_durable_actor_does_is_kept_when_its_system_is_careful_no_more",),
    ),
    Mutant(
        "answers_kept_for_poison",
        "runtime/kernel.py",
        "            self.journal.forget(letter.id)",
        "            pass",
        (f"{ASKS}::test_answers_are_forgotten_when_who_has_asked_is_poison",),
    ),
    Mutant(
        "question_of_two_lives_ago",
        "durability/cut.py",
        "        envelope.sender is not None or envelope.reply in (EXPECTED, UNASKED)\n",
        "        envelope.sender is not None\n",
        (f"{ASKS}::test_who_has_asked_for_the_end_is_told_so_and_not_blamed",),
    ),
)
