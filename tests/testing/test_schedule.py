"""trio's scheduling follows a seed, and nothing of that is left behind."""

from __future__ import annotations

import random
import types

import pytest
import trio
import trio._core._run as loop

from actorflow.testing import ScheduleNotSeedable
from actorflow.testing.schedule import probe, seeded_schedule


def order(seed: int) -> list[int]:
    """In which ten tasks took three steps each."""
    seen: list[int] = []

    async def steps(number: int) -> None:
        for _ in range(3):
            seen.append(number)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(steps, number)

    with seeded_schedule(seed):
        trio.run(main)
    return seen


def test_the_order_of_tasks_follows_the_seed() -> None:
    assert order(1) == order(1)
    assert order(1) != order(2)


def test_what_trio_had_before_is_put_back_also_after_an_error() -> None:
    before = loop._ALLOW_DETERMINISTIC_SCHEDULING, loop._r, loop._r.getstate()

    order(1)
    with pytest.raises(ZeroDivisionError), seeded_schedule(1):
        raise ZeroDivisionError

    assert before == (loop._ALLOW_DETERMINISTIC_SCHEDULING, loop._r, loop._r.getstate())


def test_this_release_of_trio_can_be_seeded() -> None:
    probe()


def changed(**names: object) -> types.ModuleType:
    """trio's loop as a later release may have it."""
    module = types.ModuleType("changed")
    known = {
        "_ALLOW_DETERMINISTIC_SCHEDULING": False,
        "_r": random.Random(),
        "unrolled_run": loop.unrolled_run,
    }
    for name, value in (known | names).items():
        setattr(module, name, value)
    return module


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ({"_ALLOW_DETERMINISTIC_SCHEDULING": None}, "_ALLOW_DETERMINISTIC_SCHEDULING"),
        ({"_r": None}, "_r"),
        ({"unrolled_run": order}, "_ALLOW_DETERMINISTIC_SCHEDULING in unrolled_run"),
        ({"unrolled_run": None}, "_r in unrolled_run"),
    ],
)
def test_a_trio_that_shuffles_otherwise_is_refused_by_name(
    names: dict[str, object], missing: str
) -> None:
    probe(changed())

    with pytest.raises(ScheduleNotSeedable) as caught:
        probe(changed(**names))

    assert f"trio {trio.__version__} " in str(caught.value)
    assert missing in str(caught.value)
