"""Virtual time, the system that loses nothing unnoticed, and the fixture that is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from actorflow import Actor, Turn
from actorflow.testing import StrictSystem, virtual_run
from actorflow.testing.plugin import actor_system

__all__ = ["actor_system"]  # A fixture of the tests below.


class Picky(Actor):
    """Fails what is no text."""

    async def receive(self, message: Any, ctx: Turn) -> str:
        if not isinstance(message, str):
            raise TypeError(message)
        return message


def test_an_hour_of_virtual_time_takes_none() -> None:
    async def main(hours: float) -> float:
        await trio.sleep(3600 * hours)
        return trio.current_time()

    assert virtual_run(main, 1.0) == 3600


@pytest.mark.trio(run=virtual_run)
async def test_it_is_the_run_of_a_test() -> None:
    await trio.sleep(50)

    assert trio.current_time() == 50


async def picky(*messages: Any, error: type[BaseException] | None = None) -> None:
    """A system with one `Picky`, which is told *messages*."""
    async with StrictSystem() as system:
        ref = await system.spawn(Picky, name="p")
        for message in messages:
            await ref.tell(message)
        if error is not None:
            raise error


def test_a_message_that_is_lost_unnoticed_is_an_error_at_the_end() -> None:
    with pytest.raises(AssertionError) as lost:
        virtual_run(picky, "fine", 3)

    assert str(lost.value) == "1 dead letter that nobody took:\n/test/p: 3 (failed: TypeError(3))"
    assert isinstance(lost.value.__cause__, TypeError)


def test_of_many_ten_are_listed() -> None:
    with pytest.raises(AssertionError) as lost:
        virtual_run(picky, *range(12))

    lines = str(lost.value).splitlines()
    assert lines[0] == "12 dead letters that nobody took:"
    assert lines[-1] == "... and 2 more"
    assert len(lines) == 12


@pytest.mark.usefixtures("autojump_clock")
async def test_a_letter_that_was_taken_is_the_business_of_the_test() -> None:
    async with StrictSystem("shop") as system:
        ref = await system.spawn(Picky, name="p")
        await ref.tell(1)
        await trio.sleep(1)
        assert [each.body for each in system.take_dead_letters()] == [1]
        await ref.tell(2)
        await trio.sleep(1)
        assert [each.body for each in system.take_dead_letters()] == [2]
        assert system.take_dead_letters() == []


def test_an_error_of_the_block_is_not_covered_up() -> None:
    async def main() -> None:
        await picky(3, error=ZeroDivisionError)

    with pytest.raises(ZeroDivisionError):
        virtual_run(main)


async def test_the_fixture_is_a_system_that_runs(actor_system: StrictSystem) -> None:
    ref = await actor_system.spawn(Picky, name="p")

    assert await ref.ask("hello") == "hello"


SUITE = """
import pytest
import trio
from actorflow import Actor

class Picky(Actor):
    async def receive(self, message, ctx):
        raise TypeError(message)

@pytest.mark.trio
async def test_fine(actor_system):
    await actor_system.spawn(Picky)

@pytest.mark.trio
async def test_loses(actor_system, autojump_clock):
    await (await actor_system.spawn(Picky)).tell("lost")
"""


@pytest.mark.slow
def test_a_suite_that_names_the_plugin_has_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["actorflow.testing.plugin"]\n')
    (tmp_path / "test_suite.py").write_text(SUITE)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "1 dead letter that nobody took" in done.stdout


@pytest.mark.slow
def test_the_laboratory_opens_without_hypothesis() -> None:
    code = "import sys, actorflow.testing.probe; print('hypothesis' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
