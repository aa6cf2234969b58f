"""Bugs around handlers: steps, hooks, middleware, sections, caches."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

STEPS = "tests/stages/test_steps.py"
HOOKS = "tests/stages/test_hooks.py"
SECTIONS = "tests/stages/test_sections.py"
CACHING = "tests/stages/test_caching.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "attempts_of_all_steps_together",
        "stages/steps.py",
        "                again, envelope.attempt = here, 1\n",
        "                again = here\n",
        (f"{STEPS}::test_by_step_each_step_has_all_attempts",),
    ),
    Mutant(
        "value_between_steps_not_packed",
        "stages/steps.py",
        "        if not self._shares:",
        "        if False:",
        (f"{STEPS}::test_what_a_step_does_to_its_value_spoils_no_retry",),
    ),
    Mutant(
        "old_mark_of_a_step_believed",
        "core/partway.py",
        "    if not envelope.emitted or not",
        "    if not",
        (f"{STEPS}::test_a_mark_means_nothing_when_the_message_comes_to_its_stage_anew",),
    ),
    Mutant(
        "mark_of_a_step_told_on",
        "core/envelope.py",
        "    if headers is not None and STEP in headers:",
        "    if False:",
        (f"{STEPS}::test_no_message_that_a_step_sends_has_the_mark",),
    ),
    Mutant(
        "step_left_with_a_thread_inside",
        "stages/steps.py",
        "            if stuck is None:",
        "            if True:",
        (f"{STEPS}::test_a_step_that_was_cut_off_in_a_thread_is_left_when_the_thread_ends",),
    ),
    Mutant(
        "hook_can_change_a_result",
        "stages/hooks.py",
        "            self._result = keep(result) or Keepsake(result, None)",
        "            self._result = Keepsake(result, None)",
        (f"{HOOKS}::test_hooks_that_change_what_they_get_change_nothing",),
    ),
    Mutant(
        "hooks_of_the_last_item_cut_off",
        "stages/hooks.py",
        "hook, *args, shield=True)",
        "hook, *args, shield=False)",
        (f"{HOOKS}::test_on_success_gets_each_result_and_the_run_waits_for_the_last",),
    ),
    Mutant(
        "middleware_inside_out",
        "stages/around.py",
        "    for each in reversed(middleware):",
        "    for each in middleware:",
        ("tests/stages/test_middleware.py",),
    ),
    Mutant(
        "section_entered_after_its_turn",
        "stages/sections.py",
        "            if not self._turn.cancelled():\n                return\n",
        "            return\n",
        (f"{SECTIONS}::test_a_thread_that_is_left_behind_while_it_waits_does_not_enter",),
    ),
    Mutant(
        "every_flight_starts",
        "stages/caching.py",
        "(kept := self._look(key)) is None and key in shelf.flights",
        "(kept := self._look(key)) is None and False",
        (f"{CACHING}::test_of_equal_values_one_runs_and_the_others_get_what_it_gave",),
    ),
    Mutant(
        "functions_of_one_name_answer_for_each_other",
        "stages/caching.py",
        "            own = _NAMELESS.setdefault(stage, secrets.token_hex(8))",
        '            own = ""',
        (f"{CACHING}::test_two_stages_never_answer_for_each_other",),
    ),
    Mutant(
        "a_hit_pays",
        "policies/cache.py",
        "        return ADMIT if self._knows(body) else",
        "        return",
        (f"{CACHING}::test_a_hit_takes_nothing_from_a_rate_and_waits_for_none",),
    ),
    Mutant(
        "failed_piece_not_counted",
        "runtime/pieces.py",
        "        envelope.emitted = index + 1",
        "        pass",
        ("tests/stages/test_failed_pieces.py",),
    ),
)
