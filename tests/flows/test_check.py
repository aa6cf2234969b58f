"""`flow.check()`: whether a run could begin, without beginning one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from typing import Any

import pytest

from actorflow import Bulkhead, ConfigurationError, MissingExtra, RateLimit, stage
from tests.flows.flowing import double, increment, pipeline
from tests.stages import handlers


def test_a_flow_that_can_work_says_nothing_outside_of_trio() -> None:
    handler = stage(handlers.process_of, runs_in="process")

    pipeline([increment, handler], policies=[RateLimit(5)]).check()


async def test_it_may_be_asked_for_inside_of_trio_too() -> None:
    pipeline([increment]).check()


def test_policies_that_contradict_those_of_another_stage_are_found() -> None:
    flow = pipeline(
        [
            stage(increment, policies=[Bulkhead(3, shared="desk")]),
            stage(double, policies=[Bulkhead(4, shared="desk")]),
        ]
    )

    with pytest.raises(ConfigurationError, match=r"^stage 'double' Bulkhead must be declared as "):
        flow.check()


def test_a_policy_that_a_whole_flow_cannot_have_is_found() -> None:
    flow = pipeline([increment], policies=[RateLimit(5, key=str)])

    with pytest.raises(ConfigurationError, match=r"^flow 'pipeline' RateLimit.key must be None"):
        flow.check()


def test_a_handler_that_worker_processes_would_not_find_is_found() -> None:
    def hidden(value: int) -> int:
        return value

    hidden.__qualname__ = "hidden"

    with pytest.raises(ConfigurationError, match=r"^runs_in='process' must be used with what can"):
        pipeline([stage(hidden, runs_in="process")]).check()


def test_an_extra_that_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return None if name == "trio_parallel" else find(name, package)

    flow: Any = pipeline([stage(handlers.process_of, runs_in="process")])
    monkeypatch.setattr(importlib.util, "find_spec", without)

    with pytest.raises(MissingExtra, match="process"):
        flow.check()
