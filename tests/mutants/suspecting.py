"""Bugs of the careful mode: who is blamed for an unclean end, who runs alone, who is poison."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

STORE_FAILURES = "tests/durability/test_store_failures.py"
CAREFUL = "tests/durability/test_careful.py"
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
        "        self._changed.set()\n        return None\n",
        "        self._changed.set()\n        return True\n",
        (f"{CAREFUL}::test_an_entry_is_on_the_disk_before_its_message_runs",),
    ),
    Mutant(
        "blame_not_cleared",
        "durability/careful.py",
        "            self._blame.pop(key, None)\n            self._cleared.append(key)\n",
        "            self._blame.pop(key, None)\n",
        (f"{CAREFUL}::test_who_has_left_is_cleared_with_the_next_write",),
    ),
    Mutant(
        "cleared_not_written",
        "durability/checkpointer.py",
        "cleared = [] if journal.careful is None else journal.careful.take_cleared()",
        "cleared: list[str] = []",
        (f"{PROMISES}::test_nobody_is_blamed_any_more_when_all_suspects_are_done",),
    ),
    Mutant(
        "blame_limit_off_by_one",
        "durability/careful.py",
        "        if count >= self._limits.get(box.path, LIMIT):",
        "        if count > self._limits.get(box.path, LIMIT):",
        (f"{CAREFUL}::test_too_many_unclean_ends_are_poison",),
    ),
    Mutant(
        "neighbour_beside_a_suspect",
        "durability/careful.py",
        "        if alone is not None and alone.root != envelope.root:",
        "        if False:",
        (f"{CAREFUL}::test_who_was_there_at_an_unclean_end_runs_alone",),
    ),
    Mutant(
        "suspect_beside_a_neighbour",
        "durability/careful.py",
        "            if len(self._running) > len(self._allowed) or self._wanted or self._writing:",
        "            if False:",
        (f"{CAREFUL}::test_it_waits_until_nobody_runs",),
    ),
)
