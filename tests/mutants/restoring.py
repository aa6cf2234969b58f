"""Bugs of the cut and of the restore: what the next life does not find, or finds otherwise."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

RUNS = "tests/flows/test_durable.py"
ITEMS = "tests/flows/test_durable_items.py"
ACTORS = "tests/actors/test_durable.py"
PROMISES = "tests/durability/test_promises.py"
STASHES = "tests/actors/test_stash_over_lives.py"
COVERED = "tests/actors/test_covered_actors.py"
KEPT = "tests/durability/test_what_is_kept.py"
CURSORS = "tests/flows/test_cursors.py"
EXACTLY = "tests/flows/test_exactly_once.py"

MUTANTS: tuple[Mutant, ...] = (
    # Messages.
    Mutant(
        "lease_leaves_the_disk",
        "runtime/drive.py",
        "        cell.mailbox.journal.note(envelope, cell.mailbox)",
        "        cell.mailbox.journal.drop(envelope)",
        (f"{RUNS}::test_a_life_that_is_killed_leaves_all_that_was_accepted",),
    ),
    Mutant(
        "departure_not_noted",
        "runtime/journal.py",
        "            self.gone.append(key_of(envelope))",
        "            pass",
        (RUNS,),
    ),
    Mutant(
        "restored_in_no_order",
        "runtime/refill.py",
        '    waiting.sort(key=attrgetter("order"))\n',
        "",
        (f"{ACTORS}::test_mail_that_nobody_has_handled_comes_back_in_its_order_and_by_priority",),
    ),
    Mutant(
        "priority_forgotten",
        "durability/records.py",
        '    envelope.priority = more.get("priority", envelope.priority)\n',
        "",
        (f"{ACTORS}::test_mail_that_nobody_has_handled_comes_back_in_its_order_and_by_priority",),
    ),
    Mutant(
        "lease_waits_again",
        "durability/cut.py",
        "            return LEASED, None",
        "            return _WAITING",
        (f"{KEPT}::test_what_was_leased_is_leased_first_before_what_is_more_urgent",),
    ),
    Mutant(
        "headers_forgotten",
        "durability/records.py",
        '        envelope.headers = decode(more["headers"], max_bytes=None)',
        "        pass",
        (f"{RUNS}::test_headers_and_ids_go_on_with_their_items",),
    ),
    Mutant(
        "deadline_forgotten",
        "durability/records.py",
        '        envelope.deadline = more["until"] - ahead',
        "        pass",
        (f"{ITEMS}::test_a_deadline_goes_on_while_nobody_runs",),
    ),
    Mutant(
        "unknown_tag_dropped",
        "flows/refilling.py",
        "            found.unread.append((envelope, name, fault))",
        "            pass",
        (f"{ITEMS}::test_messages_of_an_unknown_tag_are_parked_and_the_rest_goes_on",),
    ),
    Mutant(
        "gone_stage_dropped",
        "flows/refilling.py",
        "            found.unread += ((envelope, name, gone) for envelope in mail.envelopes())",
        "            pass",
        (f"{RUNS}::test_what_waited_for_a_stage_that_is_gone_is_a_dead_letter",),
    ),
    # Attempts, delays, keys, emissions.
    Mutant(
        "lease_not_noted",
        "runtime/drive.py",
        "        cell.mailbox.journal.note(envelope, cell.mailbox)",
        "        pass",
        (f"{ITEMS}::test_attempts_are_counted_over_kills",),
    ),
    Mutant(
        "attempt_counted_after",
        "durability/cut.py",
        "                envelope.attempt,\n",
        "                envelope.attempt - (lane == LEASED),\n",
        (f"{ITEMS}::test_attempts_are_counted_over_kills",),
    ),
    Mutant(
        "attempts_begun_anew",
        "durability/records.py",
        "            envelope.attempt = record.attempt",
        "            pass",
        (f"{ITEMS}::test_attempts_are_counted_over_kills",),
    ),
    Mutant(
        "retry_does_not_wait",
        "durability/cut.py",
        '            return SLEEPING, {"due": entry[0] + self._ahead, "position": entry[3][1]}',
        "            return _WAITING",
        (f"{ITEMS}::test_the_delay_of_a_retry_goes_on_while_nobody_runs",),
    ),
    Mutant(
        "delay_on_another_clock",
        "durability/cut.py",
        "*_rows(journal, journal.touched, wall - now)]",
        "*_rows(journal, journal.touched, 0.0)]",
        (f"{ITEMS}::test_the_delay_of_a_retry_goes_on_while_nobody_runs",),
    ),
    Mutant(
        "key_free_after_restore",
        "runtime/refill.py",
        "            _hold_key(mailbox, envelope)\n",
        "",
        (f"{ITEMS}::test_a_key_is_held_by_its_retry_over_a_kill",),
    ),
    Mutant(
        "emissions_forgotten",
        "durability/records.py",
        '    envelope.emitted = more.get("emitted", 0)\n',
        "",
        (f"{ITEMS}::test_a_generator_goes_on_behind_what_the_disk_has_of_it",),
    ),
    Mutant(
        "emission_without_its_count",
        "runtime/commit.py",
        "        cell.mailbox.journal.note(envelope, cell.mailbox)  # A cut",
        "        pass  # A cut",
        (f"{ITEMS}::test_a_generator_goes_on_behind_what_the_disk_has_of_it",),
    ),
    Mutant(
        "policies_forgotten",
        "flows/keeper.py",
        "dump_policies(self._chains(), kernel.now()) | self.inputs.facts()",
        "dict(self.inputs.facts())",
        (f"{ITEMS}::test_an_open_circuit_stays_open",),
    ),
    Mutant(
        "policies_stand_still",
        "flows/keeper.py",
        "        down = now + kernel.ahead() - state.at",
        "        down = 0.0",
        (f"{ITEMS}::test_an_open_circuit_stays_open",),
    ),
    Mutant(
        "clock_set_back_believed",
        "durability/hold.py",
        "            self.kernel.set_back = max(0.0, self.state.at - self.kernel.ports.wall())",
        "            pass",
        ("tests/durability/test_clock_set_back.py",),
    ),
    # Sources, sinks, the account.
    Mutant(
        "source_read_again",
        "flows/progress.py",
        '            await self._source.seek(state["cursor"], run_id)',
        "            pass",
        (f"{RUNS}::test_what_two_sources_have_in_hand_is_not_lost",),
    ),
    Mutant(
        "in_hand_forgotten",
        "flows/progress.py",
        '        self._in_hand.extend(map(_read, state["in_hand"]))',
        "        pass",
        (f"{RUNS}::test_what_two_sources_have_in_hand_is_not_lost",),
    ),
    Mutant(
        "changed_sequence_unnoticed",
        "flows/sources.py",
        '        change = known.change(self._known(), place["index"])',
        '        change = ""',
        (f"{CURSORS}::test_another_sequence_is_refused",),
    ),
    Mutant(
        "changed_file_unnoticed",
        "flows/files.py",
        '        change = "" if old is None else old.change(self._file, offset)',
        '        change = ""',
        (f"{RUNS}::test_a_changed_input_is_refused",),
    ),
    Mutant(
        "sink_begun_anew",
        "flows/output.py",
        "        at = before.get(PLACE) or None",
        "        at = None",
        (f"{RUNS}::test_a_file_is_gone_on_with_where_the_disk_says",),
    ),
    Mutant(
        "sink_not_cut_off",
        "flows/reopening.py",
        "        file.truncate(at)\n",
        "",
        (f"{EXACTLY}::test_what_is_before_the_position_stays_and_what_follows_goes",),
    ),
    Mutant(
        "order_begun_anew",
        "flows/keeper.py",
        "        if ORDER in self._written and self.ledger.ordered:",
        "        if False:",
        (f"{ITEMS}::test_what_came_out_in_order_is_written_in_order_by_the_next_life",),
    ),
    Mutant(
        "output_not_written_again",
        "flows/refilling.py",
        "                found.out.append(envelope)",
        "                pass",
        (f"{ITEMS}::test_what_came_out_in_order_is_written_in_order_by_the_next_life",),
    ),
    Mutant(
        "pieces_share_an_id",
        "runtime/commit.py",
        "[_piece(envelope, each[1], at) for at, each in enumerate(sent, given)]",
        "[_piece(envelope, each[1], given) for each in sent]",
        (f"{KEPT}::test_the_pieces_of_pieces_are_told_apart_on_the_disk_too",),
    ),
    Mutant(
        "whole_stays_beside_its_pieces",
        "runtime/commit.py",
        "        cell.mailbox.journal.drop(envelope)",
        "        pass",
        (f"{KEPT}::test_the_pieces_of_pieces_are_told_apart_on_the_disk_too",),
    ),
    Mutant(
        "pieces_forgotten",
        "flows/families.py",
        "                item.out, item.dead = fact",
        "                pass",
        (f"{ITEMS}::test_a_piece_that_came_out_in_an_earlier_life_makes_its_item_done",),
    ),
    Mutant(
        "failures_counted_anew",
        "flows/ledger.py",
        'self.dead_letters = state["counts"]',
        '_ = state["counts"]',
        (f"{PROMISES}::test_failures_of_all_lives_count_towards_the_most_that_are_allowed",),
    ),
    Mutant(
        "letters_of_before_forgotten",
        "flows/ledger.py",
        "        self.letters.extend(letters)\n",
        "",
        (f"{RUNS}::test_stored_results_and_dead_letters_of_all_parts_are_there",),
    ),
    # Actors.
    Mutant(
        "half_a_turn_on_disk",
        "runtime/kept.py",
        '            "fields": self.fields,',
        '            "fields": encode(cell.state) if cell.state else self.fields,',
        (f"{KEPT}::test_a_cut_in_the_middle_of_a_turn_has_nothing_of_it",),
    ),
    Mutant(
        "stash_forgotten",
        "runtime/remember.py",
        "    stashed = [envelope for envelope, record in mail.others if record.lane == STASHED]",
        "    stashed: list[Any] = []",
        (f"{ACTORS}::test_stashed_messages_come_back_in_their_order",),
    ),
    Mutant(
        "stash_in_the_order_of_arrival",
        "runtime/effects.py",
        "        mailbox.journal.touch(envelope, mailbox)",
        "        mailbox.journal.note(envelope, mailbox)",
        (f"{STASHES}::test_a_stash_comes_back_in_the_order_of_stashing_with_and_without_a_kill",),
    ),
    Mutant(
        "stash_comes_late",
        "durability/cut.py",
        "            return STASHED, None",
        "            return DUE, None",
        (f"{KEPT}::test_what_was_stashed_comes_first_in_its_order_before_what_is_more_urgent",),
    ),
    Mutant(
        "covered_for_ever",
        "runtime/endings.py",
        "        mailbox.journal.covered.pop(mailbox, None)",
        "        pass",
        (f"{COVERED}::test_an_actor_that_has_ended_for_good_is_not_looked_at_by_any_commit",),
    ),
    Mutant(
        "timers_forgotten",
        "runtime/kept.py",
        "                for key, timer in (cell.timers or {}).items()",
        "                for key, timer in dict[Any, Any]().items()",
        (f"{ACTORS}::test_timers_and_delayed_sends_go_on_with_the_time_that_is_left",),
    ),
    Mutant(
        "timer_on_another_clock",
        "runtime/kept.py",
        "        ahead = cell.kernel.ports.wall() - cell.kernel.now()",
        "        ahead = 0.0",
        (f"{ACTORS}::test_timers_and_delayed_sends_go_on_with_the_time_that_is_left",),
    ),
    Mutant(
        "timer_rings_once",
        "runtime/remember.py",
        "        restart_timer(cell, name, delay, message, every, waiting)",
        "        restart_timer(cell, name, delay, message, None, waiting)",
        (f"{KEPT}::test_a_timer_that_rings_again_and_again_goes_on_doing_so",),
    ),
    Mutant(
        "delayed_send_at_once",
        "durability/cut.py",
        "        if journal.later and envelope in journal.later:",
        "        if False:",
        (f"{ACTORS}::test_timers_and_delayed_sends_go_on_with_the_time_that_is_left",),
    ),
    Mutant(
        "id_given_again",
        "actors/lasting.py",
        '        self._given = facts.get("ids", 0)\n',
        "",
        (f"{ACTORS}::test_an_id_is_never_given_again",),
    ),
    Mutant(
        "answers_not_kept",
        "runtime/kept.py",
        "                self.answers[own] = digest_of(envelope.body), self._answer\n",
        "",
        (f"{ACTORS}::test_a_transfer_by_two_asks_withdraws_once_over_a_crash_at_any_commit",),
    ),
    Mutant(
        "answer_to_another_question",
        "runtime/kept.py",
        "        if digest != digest_of(question.body):",
        "        if False:",
        (f"{ACTORS}::test_another_question_under_the_same_id_is_refused",),
    ),
    Mutant(
        "answers_never_forgotten",
        "runtime/kept.py",
        "        if self.answers.pop(question, None) is not None:",
        "        if self.answers.get(question) is not None:",
        (f"{ACTORS}::test_answers_are_forgotten_when_the_turn_that_asked_is_done",),
    ),
    Mutant(
        "ended_actor_comes_back",
        "runtime/kept.py",
        "            self._journal.mark(self._key, None)",
        "            self._journal.mark(self._key, self.provide)",
        (f"{ACTORS}::test_an_actor_that_has_ended_by_itself_does_not_come_back",),
    ),
)
