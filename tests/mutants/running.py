"""Bugs of the runtime, the policies and the flows, whatever becomes of the process."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

ASKING = "tests/runtime/test_asking.py"
CHILDREN = "tests/runtime/test_children.py"
POLICIES = "tests/runtime/test_policies.py"
SENDING = "tests/runtime/test_sending.py"
STASH = "tests/runtime/test_stash.py"
WATCHING = "tests/runtime/test_watching.py"
ACTORS = "tests/actors/test_durable.py"
SUPERVISION = "tests/policies/test_supervision.py"
CALLS = "tests/stages/test_calls.py"
ORDER = "tests/stages/test_order.py"
RETRIES = "tests/stages/test_retries.py"
STAGES = "tests/stages/test_misbehaviour.py"
FEEDING = "tests/flows/test_feeding.py"
RESULTS = "tests/flows/test_results.py"
ITEMS = "tests/flows/test_durable_items.py"
HOUSE = "tests/test_architecture.py"

MUTANTS: tuple[Mutant, ...] = (
    # The lease and the attempt.
    Mutant(
        "pop_instead_of_lease",
        "runtime/loop.py",
        "                give_back(cell)",
        "                cell.lease = None",
        (f"{ASKING}::test_an_ask_whose_actor_ends_raises_actor_stopped",),
    ),
    Mutant(
        "attempt_spent_by_a_stop",
        "runtime/lease.py",
        "    envelope.attempt -= 1",
        "    envelope.attempt -= 0",
        (f"{ACTORS}::test_mail_that_nobody_has_handled_comes_back_in_its_order_and_by_priority",),
    ),
    Mutant(
        "attempts_never_counted",
        "runtime/lease.py",
        "    envelope.attempt += 1",
        "    envelope.attempt = 1",
        (f"{POLICIES}::test_a_retry_that_would_come_due_after_the_deadline_is_not_waited_for",),
    ),
    Mutant(
        "expired_messages_run",
        "runtime/lease.py",
        "    return allowed is not None and now >= envelope.since + allowed",
        "    return False",
        (f"{POLICIES}::test_a_deadline_counts_the_wait_in_the_mailbox",),
    ),
    Mutant(
        "key_not_held",
        "runtime/lease.py",
        "    mailbox.held_keys[key] = deque()",
        "    mailbox.held_keys[object()] = deque()",
        (f"{ORDER}::test_of_one_key_one_message_is_worked_on_at_a_time_in_order_over_retries",),
    ),
    # The commit.
    Mutant(
        "await_in_the_commit",
        "runtime/commit.py",
        "def commit_value(",
        "async def commit_value(",
        (f"{HOUSE}::test_the_house_keeps_the_rule",),
    ),
    Mutant(
        "no_rollback",
        "runtime/cell.py",
        "            self.state.update(self.saved)",
        "            self.state.update(self.state)",
        (
            f"{ASKING}::test_reply_answers_instead_of_the_returned_value_and_only_when_the_turn_commits",
        ),
    ),
    Mutant(
        "outbox_leaves_on_failure",
        "runtime/commit.py",
        "    cell.roll_back()",
        "    if cell.turn is not None and cell.turn.effects is not None:\n"
        "        _apply(cell, cell.turn.effects)\n    cell.roll_back()",
        (f"{CHILDREN}::test_a_failed_turn_leaves_no_child_and_the_name_is_free_for_its_retry",),
    ),
    Mutant(
        "late_reply_vanishes",
        "runtime/commit.py",
        "    if not reply.resolve(value):",
        "    if reply.resolve(value):",
        (f"{ASKING}::test_an_answer_that_nobody_waits_for_any_more_is_a_dead_letter",),
    ),
    Mutant(
        "body_not_packed",
        "runtime/mailbox.py",
        "        if self.packs and type(envelope.body) not in FROZEN:",
        "        if False and type(envelope.body) not in FROZEN:",
        (f"{RETRIES}::test_every_attempt_sees_the_message_as_it_was_sent",),
    ),
    Mutant(
        "emissions_doubled",
        "stages/calls.py",
        "        if count <= already:",
        "        if count <= 0:",
        (f"{ITEMS}::test_a_generator_goes_on_behind_what_the_disk_has_of_it",),
    ),
    # The mailbox.
    Mutant(
        "stash_dropped_at_restart",
        "runtime/endings.py",
        "    unstash(cell)\n    cell.incarnation",
        "    cell.stash = None\n    cell.incarnation",
        (f"{STASH}::test_the_stash_survives_a_restart_and_comes_back_in_front",),
    ),
    Mutant(
        "retry_lost",
        "runtime/mailbox.py",
        "        self.bring_back()\n        self._readmit(",
        "        self.bring_back()\n        (lambda *_, **__: None)(",
        (f"{POLICIES}::test_a_retry_that_is_due_stands_before_or_behind_the_others",),
    ),
    Mutant(
        "drop_old_drops_the_newest",
        "runtime/mailbox.py",
        "oldest = queue.popleft() if",
        "oldest = queue.pop() if",
        (f"{SENDING}::test_overflow_drop_old_makes_the_oldest_that_waits_a_dead_letter",),
    ),
    Mutant(
        "circle_of_waits_unseen",
        "runtime/settle.py",
        "        if hopeless(cell, full):",
        "        if False and hopeless(cell, full):",
        (
            f"{ASKING}::test_an_ask_of_an_actor_that_waits_for_room_at_the_asker_does_not_wait_for_itself",
        ),
    ),
    Mutant(
        "oldest_starves",
        "runtime/lanes.py",
        "        if self._leases % OLDEST_EVERY == OLDEST_EVERY - 1:",
        "        if self._leases < 0:",
        (f"{ORDER}::test_urgent_messages_do_not_starve_the_others",),
    ),
    # Cancellation.
    Mutant(
        "stray_cancelled_escapes",
        "runtime/drive.py",
        "    if trio.current_effective_deadline() == -math.inf:",
        "    if True:",
        (f"{STAGES}::test_a_stray_cancellation_fails_its_item_and_nothing_more",),
    ),
    Mutant(
        "timeout_forgotten_after_the_first",
        "runtime/cell.py",
        "        if alarm is None or alarm[0] > ends_at:",
        "        if self.incarnation < 0:",
        (f"{ASKING}::test_a_turn_that_outlives_its_ask_ends_at_the_deadline_as_expired",),
    ),
    # Supervision.
    Mutant(
        "budget_off_by_one",
        "policies/supervision.py",
        "        return self.used(now) > self.max_restarts",
        "        return self.used(now) >= self.max_restarts",
        (f"{SUPERVISION}::test_more_than_max_restarts_within_the_window_exhaust_a_budget",),
    ),
    Mutant(
        "stopped_left_to_right",
        "runtime/supervisor.py",
        "            for child in reversed(self.children.values()):",
        "            for child in self.children.values():",
        (f"{CHILDREN}::test_grandchildren_end_before_their_parents_and_younger_ones_first",),
    ),
    Mutant(
        "down_is_not_told",
        "runtime/endings.py",
        "        deliver_down(watcher, cell)",
        "        pass",
        (f"{WATCHING}::test_a_watcher_is_told_once_when_the_actor_has_ended",),
    ),
    Mutant(
        "turn_crashes_count_for_stages",
        "runtime/supervisor.py",
        "        if not (ending.in_turn and self.plan.forgives_turns):",
        "        if True:",
        (f"{STAGES}::test_more_crashes_in_turns_than_any_budget_fail_items_and_not_the_run",),
    ),
    # The account.
    Mutant(
        "skipped_counted_as_done",
        "flows/ledger.py",
        "            return\n        self.skipped += 1",
        "            return\n        self.done += 1",
        (f"{CALLS}::test_skip_drops_the_value_and_counts_the_item_as_skipped",),
    ),
    Mutant(
        "order_forgotten",
        "flows/taps.py",
        "        if self.ordered and number > self._next:",
        "        if self.ordered and number < 0:",
        (f"{RESULTS}::test_ordered_values_reach_the_sink_in_order",),
    ),
    Mutant(
        "window_ignored",
        "flows/ledger.py",
        "        return min(self.window - held - untaken, self.concurrency - held)",
        "        return 256",
        (f"{FEEDING}::test_several_feeders_together_never_exceed_a_small_window",),
    ),
)
