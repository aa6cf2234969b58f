"""Bugs of the stores: whose a run is, what is read back, and what a chain of cuts adds up to."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

STORE_FAILURES = "tests/durability/test_store_failures.py"
RUNS = "tests/flows/test_durable.py"
CONTRACT = "tests/durability/test_conformance.py::test_the_store_keeps"
PROMISES = "tests/durability/test_promises.py"
CHAINS = "tests/durability/test_chains.py"
SQLITE = "tests/durability/test_sqlite.py"
FAULTS = "tests/durability/test_sqlite_faults.py"
FILES = "tests/durability/test_sqlite_files.py"
MEMORY = "tests/durability/test_memory.py"
TWICE = "tests/testing/test_twice.py"

MUTANTS: tuple[Mutant, ...] = (
    # Owners.
    Mutant(
        "epoch_not_checked_in_sqlite",
        "durability/sqlite.py",
        "    WHERE id = :run AND epoch = :epoch AND session = :me\n        AND (:number",
        "    WHERE id = :run AND session = :me\n        AND (:number",
        (CONTRACT,),
    ),
    Mutant(
        "epoch_not_checked_in_memory",
        "durability/memory.py",
        "kept.epoch != change.epoch or kept.owner != me.id:",
        "kept.owner != me.id:",
        (CONTRACT,),
    ),
    Mutant(
        "two_owners",
        "durability/sqlite_owners.py",
        "        if not lease_over(life.beat, life.lease, now):",
        "        if False:",
        (CONTRACT,),
    ),
    Mutant(
        "stale_owner_not_told",
        "durability/sqlite.py",
        "            if found[run] != [(epoch, None)]:",
        "            if False:",
        (CONTRACT,),
    ),
    Mutant(
        "stale_owner_renews",
        "durability/sqlite.py",
        "            owners.announce(db, now, ticks)\n",
        "            owners.announce(db, now, ticks)\n"
        "            for run in self._held:\n"
        "                mine = (owners.me.id, run)\n"
        '                execute(db, "UPDATE run SET session = ? WHERE id = ?", mine)\n',
        (f"{PROMISES}::test_an_old_owner_that_renews_takes_nothing_from_the_new_one",),
    ),
    Mutant(
        "lost_lease_unheeded",
        "durability/hold.py",
        "        self._fail(error)",
        "        pass",
        (f"{PROMISES}::test_a_run_that_has_nothing_to_write_learns_of_its_lost_lease_too",),
    ),
    Mutant(
        "file_of_a_sleeper_shared",
        "flows/keeper.py",
        "fresh_inode=self.hold.owned.taken_over",
        "fresh_inode=False",
        (
            f"{STORE_FAILURES}::test_a_run_that_has_lost_its_lease_is_cancelled_and_writes_nothing_more",
        ),
    ),
    # What is written.
    Mutant(
        "unsynced_by_default",
        "durability/sqlite.py",
        '= "FULL",\n        wait',
        '= "NORMAL",\n        wait',
        (f"{PROMISES}::test_a_commit_is_synced_unless_somebody_says_otherwise",),
    ),
    Mutant(
        "one_row_per_call",
        "durability/sqlite_rows.py",
        "BLOCK_ROWS = 500",
        "BLOCK_ROWS = 1",
        (f"{SQLITE}::test_the_number_of_driver_calls_of_a_commit_does_not_depend_on_its_size",),
    ),
    Mutant(
        "cleared_before_blamed",
        "durability/memory.py",
        "    for item in change.cleared:",
        "    for item in set(change.cleared) - set(change.blame):",
        (CONTRACT,),
    ),
    Mutant(
        "memory_shared_with_the_caller",
        "durability/memory.py",
        "dict(kept.blame)",
        "kept.blame",
        (f"{MEMORY}::test_what_was_handed_over_may_change_afterwards",),
    ),
    # What is read.
    Mutant(
        "newer_schema_accepted",
        "durability/sqlite_schema.py",
        "    if found > len(steps):",
        "    if False:",
        (f"{FAULTS}::test_a_newer_schema_is_refused_and_left_alone",),
    ),
    Mutant(
        "damaged_cut_read",
        "durability/sqlite_rows.py",
        "    if checksum(*bodies) != crc:",
        "    if False:",
        (f"{FAULTS}::test_no_flipped_bit_of_a_body_goes_unnoticed",),
    ),
    Mutant(
        "torn_cut_read",
        "wire/snapshot.py",
        "    if content != hashlib.blake2b(memoryview(data)[:end], digest_size=SEAL).digest():",
        "    if not content:",
        (f"{CHAINS}::test_no_byte_of_a_cut_can_be_lost_or_changed_unnoticed",),
    ),
    Mutant(
        "unreadable_begun_anew",
        "durability/chain.py",
        "        raise StoreCorrupt(url, text) from error",
        "        return None",
        (f"{CHAINS}::test_a_run_whose_checkpoint_cannot_be_read_never_begins_anew",),
    ),
    Mutant(
        "finished_run_goes_on",
        "durability/sqlite.py",
        '                if status == "finished":',
        "                if False:",
        (f"{RUNS}::test_a_finished_run_gives_its_report_and_runs_nothing",),
    ),
    Mutant(
        "version_ignored",
        "flows/keeper.py",
        "        if self._is_of(owned) or migrate is not None:",
        "        if True:",
        (f"{RUNS}::test_another_version_of_the_flow_is_refused_and_told_apart",),
    ),
    # What it adds up to.
    Mutant(
        "fold_keeps_the_older",
        "wire/snapshot.py",
        "            state[key] = value\n",
        "            state.setdefault(key, value)\n",
        (
            f"{CHAINS}::test_a_message_that_left_and_has_come_back_under_its_id_is_there_as_it_is_now",
        ),
    ),
    Mutant(
        "fold_keeps_what_left",
        "wire/snapshot.py",
        "            state.pop(key, None)\n",
        "            pass\n",
        (
            f"{CHAINS}::test_a_message_that_left_and_has_come_back_under_its_id_is_there_as_it_is_now",
        ),
    ),
    Mutant(
        "missing_cut_unnoticed",
        "wire/snapshot.py",
        "        elif cut.number != number + 1:",
        "        elif False:",
        (f"{CHAINS}::test_a_missing_cut_is_told",),
    ),
    Mutant(
        "cuts_folded_twice",
        "wire/snapshot.py",
        "        if number and cut.number <= number:",
        "        if False:",
        (f"{TWICE}::test_cuts_that_come_twice_are_refused",),
    ),
    Mutant(
        "old_checkpoint_gone_on_from",
        "durability/chain.py",
        "    if found < number:",
        "    if False:",
        (f"{TWICE}::test_a_checkpoint_of_before_is_refused_before_anything_is_handled",),
    ),
    Mutant(
        "fold_forgets_facts",
        "wire/snapshot.py",
        "[*blocks, pack_facts(cut.facts)]",
        "blocks",
        (f"{CHAINS}::test_a_chain_that_is_written_anew_in_the_middle_adds_up_to_the_same",),
    ),
    Mutant(
        "fold_leaves_out_the_newest",
        "durability/checkpointer.py",
        "cut if kept is None else fold([kept, cut])",
        "cut if kept is None else kept",
        (f"{CHAINS}::test_a_long_chain_is_written_anew_and_nothing_of_it_is_lost",),
    ),
    Mutant(
        "folded_cut_added",
        "durability/checkpointer.py",
        "            self._full = True\n",
        "",
        (f"{CHAINS}::test_a_long_chain_is_written_anew_and_nothing_of_it_is_lost",),
    ),
    # The file.
    Mutant(
        "locks_lost_by_looking",
        "durability/sqlite_files.py",
        "        if _identity(path) in _connections:",
        "        if False:",
        (f"{FILES}::test_a_second_store_in_one_process_does_not_cost_the_first_its_locks",),
    ),
    Mutant(
        "gone_after_the_commit_is_not_told",
        "durability/sqlite_link.py",
        "                raise\n            self._check_file()\n",
        "                raise\n",
        (f"{FILES}::test_a_file_that_goes_while_a_commit_is_on_its_way_is_told",),
    ),
    Mutant(
        "replaced_file_is_not_told",
        "durability/sqlite_files.py",
        "            elif known is not None and found != known:",
        "            elif False:",
        (f"{FILES}::test_nothing_is_committed_into_a_file_that_is_gone",),
    ),
    Mutant(
        "removed_after_added",
        "durability/cut.py",
        "        blocks = [pack_gone(self.gone)] if self.gone else []\n"
        "        blocks += pack_messages(self.rows, self._unwritten)\n",
        "        blocks = pack_messages(self.rows, self._unwritten)\n"
        "        blocks += [pack_gone(self.gone)] if self.gone else []\n",
        (
            f"{CHAINS}::test_a_message_that_left_and_has_come_back_under_its_id_is_there_as_it_is_now",
        ),
    ),
)
