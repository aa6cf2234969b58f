"""How many messages a second go to an actor, and how many answers come back?

Question: what does a message to an actor cost, told or asked, beside pykka, whose
actors are threads?

Load: one actor that adds up the numbers it gets and answers each with its double.

    tell            one caller tells ITEMS numbers and waits until all are handled
    tell-nowait     the same in blocks of 1,000 that fit into the mailbox, each block
                    followed by one ask, so that it has been handled before the next
    ask             one caller asks, one number after the other
    ask-50          fifty callers ask at once, each one number after the other

Every answer and the sum are checked on both sides. The mailbox of `tell` has the
usual 256 places, so a caller of ours waits for room; pykka's mailbox has no bound.

Baseline: a pykka `ThreadingActor`. `ask-50` is asked of pykka in two ways: by fifty
threads, which is the same load; and by one thread that has fifty futures under way
(`ask(..., block=False)`), which is the best that pykka can do, as nobody is woken
for a single answer.

    python -m benchmarks actors
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from actorflow import Actor, ActorRef, ActorSystem, Turn
from benchmarks.question import Figure, Question, Side, Target, checked

__all__ = ["QUESTIONS", "ask_all", "ask_by_fifty", "tell_all", "tell_in_blocks"]

TOLD = 200_000
ASKED = 20_000
BLOCK = 1_000
CALLERS = 50

#: What is sent to be told the sum.
SUM = None


class Adder(Actor):
    """Adds up what it gets; answers twice as much."""

    total: int = 0

    async def receive(self, message: int | None, ctx: Turn) -> int:
        if message is SUM:
            return self.total
        self.total += message
        return message * 2


# Ours -------------------------------------------------------------------------------------

Load = Callable[[ActorRef[Any], int], Awaitable[None]]


async def _tell_all(ref: ActorRef[Any], items: int) -> None:
    for number in range(items):
        await ref.tell(number)
    await _check_sum(ref, items)


async def _tell_in_blocks(ref: ActorRef[Any], items: int) -> None:
    for start in range(0, items, BLOCK):
        for number in range(start, min(start + BLOCK, items)):
            ref.tell_nowait(number)
        await ref.ask(0)
    await _check_sum(ref, items)


async def _ask_all(ref: ActorRef[Any], items: int) -> None:
    for number in range(items):
        checked("an answer", number * 2, await ref.ask(number))
    await _check_sum(ref, items)


async def _ask_by_fifty(ref: ActorRef[Any], items: int) -> None:
    async def ask(first: int) -> None:
        for number in range(first, items, CALLERS):
            checked("an answer", number * 2, await ref.ask(number))

    async with trio.open_nursery() as nursery:
        for first in range(CALLERS):
            nursery.start_soon(ask, first)
    await _check_sum(ref, items)


async def _check_sum(ref: ActorRef[Any], items: int) -> None:
    checked("the sum", items * (items - 1) // 2, await ref.ask(SUM))


def _ours(load: Load, items: int, actor: type[Actor], capacity: int = 256) -> Mapping[str, float]:
    async def main() -> float:
        async with ActorSystem("bench") as system:
            ref = await system.spawn(actor, capacity=capacity)
            started = time.perf_counter()
            await load(ref, items)
            return time.perf_counter() - started

    return {"rate": items / trio.run(main)}


def tell_all(items: int, actor: type[Actor] = Adder) -> Mapping[str, float]:
    return _ours(_tell_all, items, actor)


def tell_in_blocks(items: int, actor: type[Actor] = Adder) -> Mapping[str, float]:
    return _ours(_tell_in_blocks, items, actor, capacity=BLOCK)


def ask_all(items: int, actor: type[Actor] = Adder) -> Mapping[str, float]:
    return _ours(_ask_all, items, actor)


def ask_by_fifty(items: int, actor: type[Actor] = Adder) -> Mapping[str, float]:
    return _ours(_ask_by_fifty, items, actor)


# pykka ------------------------------------------------------------------------------------


def _pykka(load: Callable[[Any, int], None], items: int) -> Mapping[str, float]:
    import pykka

    class PykkaAdder(pykka.ThreadingActor):
        """The same actor."""

        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        def on_receive(self, message: int | None) -> int:
            if message is SUM:
                return self.total
            self.total += message
            return message * 2

    ref = PykkaAdder.start()
    try:
        started = time.perf_counter()
        load(ref, items)
        checked("the sum", items * (items - 1) // 2, ref.ask(SUM))
        return {"rate": items / (time.perf_counter() - started)}
    finally:
        ref.stop()


def pykka_tell(items: int) -> Mapping[str, float]:
    def load(ref: Any, items: int) -> None:
        for number in range(items):
            ref.tell(number)

    return _pykka(load, items)


def pykka_tell_in_blocks(items: int) -> Mapping[str, float]:
    def load(ref: Any, items: int) -> None:
        for start in range(0, items, BLOCK):
            for number in range(start, min(start + BLOCK, items)):
                ref.tell(number)
            ref.ask(0)

    return _pykka(load, items)


def pykka_ask(items: int) -> Mapping[str, float]:
    def load(ref: Any, items: int) -> None:
        for number in range(items):
            checked("an answer", number * 2, ref.ask(number))

    return _pykka(load, items)


def pykka_ask_by_threads(items: int) -> Mapping[str, float]:
    def load(ref: Any, items: int) -> None:
        answered = [0] * CALLERS

        def ask(first: int) -> None:
            for number in range(first, items, CALLERS):
                checked("an answer", number * 2, ref.ask(number))
                answered[first] += 1

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        checked("right answers", items, sum(answered))  # An error in a thread ends there.

    return _pykka(load, items)


def pykka_ask_by_futures(items: int) -> Mapping[str, float]:
    def load(ref: Any, items: int) -> None:
        for start in range(0, items, CALLERS):
            numbers = range(start, min(start + CALLERS, items))
            futures = [ref.ask(number, block=False) for number in numbers]
            for number, future in zip(numbers, futures, strict=True):
                checked("an answer", number * 2, future.get())

    return _pykka(load, items)


# The questions ----------------------------------------------------------------------------

TELLING = Side(name="pykka", run=pykka_tell, needs="pykka")
TELLING_BLOCKS = Side(name="pykka", run=pykka_tell_in_blocks, needs="pykka")
ASKING = Side(name="pykka", run=pykka_ask, needs="pykka")
THREADS = Side(name="pykka, 50 threads", run=pykka_ask_by_threads, needs="pykka")
FUTURES = Side(name="pykka, 50 futures of one thread", run=pykka_ask_by_futures, needs="pykka")

QUESTIONS = (
    Question(
        name="tell",
        ours=Side(name="actorflow", run=tell_all),
        peers=(TELLING,),
        figures=(
            Figure(
                key="rate",
                title="tell until handled",
                unit="messages/s",
                targets=(
                    Target(must=350_000, reach=600_000),
                    Target(over=TELLING.name, must=1.2),
                ),
            ),
        ),
        items=TOLD,
        quick_items=20_000,
    ),
    Question(
        name="tell-nowait",
        ours=Side(name="actorflow", run=tell_in_blocks),
        peers=(TELLING_BLOCKS,),
        figures=(
            Figure(
                key="rate",
                title="tell_nowait in blocks of 1,000 until handled",
                unit="messages/s",
                targets=(Target(must=500_000, reach=800_000),),
            ),
        ),
        items=TOLD,
        quick_items=20_000,
    ),
    Question(
        name="ask",
        ours=Side(name="actorflow", run=ask_all),
        peers=(ASKING,),
        figures=(
            Figure(
                key="rate",
                title="ask, one caller",
                unit="answers/s",
                targets=(
                    Target(must=60_000, reach=90_000),
                    Target(over=ASKING.name, must=1.2),
                ),
            ),
        ),
        items=ASKED,
        quick_items=5_000,
    ),
    Question(
        name="ask-50",
        ours=Side(name="actorflow", run=ask_by_fifty),
        peers=(THREADS, FUTURES),
        figures=(
            Figure(
                key="rate",
                title="ask, fifty callers",
                unit="answers/s",
                targets=(
                    Target(must=120_000, reach=250_000),
                    Target(over=THREADS.name, must=2),
                ),
            ),
        ),
        items=ASKED,
        quick_items=5_000,
    ),
)
