"""Bugs of the runtime, the policies and the flows, whatever becomes of the process."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

RUNTIME = ("tests/runtime", "tests/actors")
FLOWS = ("tests/flows", "tests/stages")
HOUSE = ("tests/test_architecture.py",)

MUTANTS: tuple[Mutant, ...] = (
    # The lease and the attempt.
    Mutant(
        "pop_instead_of_lease",
        "runtime/loop.py",
        "                give_back(cell)",
        "                cell.lease = None",
        (*RUNTIME, *FLOWS),
    ),
    Mutant(
        "attempt_spent_by_a_stop",
        "runtime/lease.py",
        "    envelope.attempt -= 1",
        "    envelope.attempt -= 0",
        (*RUNTIME, *FLOWS),
    ),
    Mutant(
        "attempts_never_counted",
        "runtime/lease.py",
        "    envelope.attempt += 1",
        "    envelope.attempt = 1",
        RUNTIME,
    ),
    Mutant(
        "expired_messages_run",
        "runtime/lease.py",
        "    return allowed is not None and now >= envelope.since + allowed",
        "    return False",
        (*RUNTIME, *FLOWS),
    ),
    Mutant(
        "key_not_held",
        "runtime/lease.py",
        "    mailbox.held_keys[key] = deque()",
        "    mailbox.held_keys[object()] = deque()",
        FLOWS,
    ),
    # The commit.
    Mutant(
        "await_in_the_commit",
        "runtime/commit.py",
        "def commit_value(",
        "async def commit_value(",
        HOUSE,
    ),
    Mutant(
        "no_rollback",
        "runtime/cell.py",
        "            self.state.update(self.saved)",
        "            self.state.update(self.state)",
        RUNTIME,
    ),
    Mutant(
        "outbox_leaves_on_failure",
        "runtime/commit.py",
        "    cell.roll_back()",
        "    if cell.turn is not None and cell.turn.effects is not None:\n"
        "        _apply(cell, cell.turn.effects)\n    cell.roll_back()",
        RUNTIME,
    ),
    Mutant(
        "late_reply_vanishes",
        "runtime/commit.py",
        "    if not reply.resolve(value):",
        "    if reply.resolve(value):",
        RUNTIME,
    ),
    Mutant(
        "body_not_packed",
        "runtime/mailbox.py",
        "        if self.packs and type(envelope.body) not in FROZEN:",
        "        if False and type(envelope.body) not in FROZEN:",
        (*RUNTIME, *FLOWS),
    ),
    Mutant(
        "emissions_doubled",
        "stages/calls.py",
        "        if count <= already:",
        "        if count <= 0:",
        FLOWS,
    ),
    # The mailbox.
    Mutant(
        "stash_dropped_at_restart",
        "runtime/endings.py",
        "    unstash(cell)\n    cell.incarnation",
        "    cell.stash = None\n    cell.incarnation",
        RUNTIME,
    ),
    Mutant(
        "retry_lost",
        "runtime/mailbox.py",
        "        self.bring_back()\n        self._readmit(",
        "        self.bring_back()\n        (lambda *_, **__: None)(",
        (*RUNTIME, *FLOWS),
    ),
    Mutant(
        "drop_old_drops_the_newest",
        "runtime/mailbox.py",
        "oldest = queue.popleft() if",
        "oldest = queue.pop() if",
        RUNTIME,
    ),
    Mutant(
        "circle_of_waits_unseen",
        "runtime/settle.py",
        "        if hopeless(cell, full):",
        "        if False and hopeless(cell, full):",
        RUNTIME,
    ),
    Mutant(
        "oldest_starves",
        "runtime/lanes.py",
        "        if self._leases % OLDEST_EVERY == OLDEST_EVERY - 1:",
        "        if self._leases < 0:",
        RUNTIME,
    ),
    # Cancellation.
    Mutant(
        "stray_cancelled_escapes",
        "runtime/drive.py",
        "    if trio.current_effective_deadline() == -math.inf:",
        "    if True:",
        (*RUNTIME, *FLOWS),
    ),
    Mutant(
        "timeout_forgotten_after_the_first",
        "runtime/cell.py",
        "        if alarm is None or alarm[0] > ends_at:",
        "        if self.incarnation < 0:",
        (*RUNTIME, *FLOWS),
    ),
    # Supervision.
    Mutant(
        "budget_off_by_one",
        "policies/supervision.py",
        "        return self.used(now) > self.max_restarts",
        "        return self.used(now) >= self.max_restarts",
        ("tests/policies", *RUNTIME),
    ),
    Mutant(
        "stopped_left_to_right",
        "runtime/supervisor.py",
        "            for child in reversed(self.children.values()):",
        "            for child in self.children.values():",
        RUNTIME,
    ),
    Mutant(
        "down_is_not_told",
        "runtime/endings.py",
        "        deliver_down(watcher, cell)",
        "        pass",
        RUNTIME,
    ),
    Mutant(
        "turn_crashes_count_for_stages",
        "runtime/supervisor.py",
        "        if not (ending.in_turn and self.plan.forgives_turns):",
        "        if True:",
        FLOWS,
    ),
    # The account.
    Mutant(
        "skipped_counted_as_done",
        "flows/ledger.py",
        "            return\n        self.skipped += 1",
        "            return\n        self.done += 1",
        FLOWS,
    ),
    Mutant(
        "order_forgotten",
        "flows/taps.py",
        "        if self.ordered and number > self._next:",
        "        if self.ordered and number < 0:",
        FLOWS,
    ),
    Mutant(
        "window_ignored",
        "flows/ledger.py",
        "        return min(self.window - held - untaken, self.concurrency - held)",
        "        return 256",
        FLOWS,
    ),
)
