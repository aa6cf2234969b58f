"""A chain of cuts: what it adds up to, when it is written anew, and what of it is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actorflow import DecodeError, StoreCorrupt, stage
from actorflow.durability import checkpointer
from actorflow.durability.cut import RawCut
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import Change
from actorflow.testing import new_session
from actorflow.wire.codec import encode
from actorflow.wire.snapshot import (
    USER,
    Row,
    fold,
    pack_facts,
    pack_gone,
    pack_messages,
    read_cut,
    read_record,
    rewrite,
    write_cut,
)
from tests.flows.flowing import Gate, counted, increment, pipeline
from tests.flows.lives import Mortal, TapeSink, conserved, fed_and_killed, finished

#: Body of each message, and value of each fact, `None` where it leaves.
Words = dict[Any, Any]


def row(key: int, body: int) -> Row:
    return key, "/f/a", USER, 1, 0, None, body, None


def cut(number: int, messages: Words, facts: Words, *, full: bool = False) -> bytes:
    """The bytes of a cut that says this."""
    rows = [row(key, body) for key, body in messages.items() if body is not None]
    gone = [key for key, body in messages.items() if body is None]
    packed = {key: None if fact is None else encode(fact) for key, fact in facts.items()}
    blocks = [pack_gone(gone), *pack_messages(rows, lambda key, error: None), pack_facts(packed)]
    return write_cut(number, full, float(number), blocks)


def chain(*words: tuple[Words, Words]) -> list[bytes]:
    """Cuts that say this one after another; the first is full."""
    return [cut(number, *each, full=number == 1) for number, each in enumerate(words, 1)]


# What it adds up to ----------------------------------------------------------------------

said = st.dictionaries(st.integers(0, 5), st.none() | st.integers(0, 9), max_size=4)
known = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 9), max_size=3)
chains = st.lists(st.tuples(said, known), min_size=1, max_size=6)


def last_words(words: list[Words]) -> Words:
    """What holds after *words*, by the simplest thing that could be right."""
    state: Words = {}
    for each in words:
        state.update(each)
    return {key: value for key, value in state.items() if value is not None}


@given(chains)
def test_the_last_word_about_each_message_and_fact_holds(words: list[tuple[Words, Words]]) -> None:
    state = fold(map(read_cut, chain(*words)))

    bodies = {key: read_record(data).body for key, data in state.messages.items() if data}
    wanted = last_words([messages for messages, _ in words])
    assert bodies == {key: encode(body) for key, body in wanted.items()}
    facts = last_words([facts for _, facts in words])
    assert state.facts == {key: encode(fact) for key, fact in facts.items()}
    assert (state.number, state.full, state.at) == (len(words), True, float(len(words)))


@given(chains, st.integers(0, 6))
def test_a_chain_that_is_written_anew_in_the_middle_adds_up_to_the_same(
    words: list[tuple[Words, Words]], at: int
) -> None:
    cuts = chain(*words)
    anew = [rewrite(fold(map(read_cut, cuts[:at])))] if cuts[:at] else []

    assert fold(map(read_cut, [*anew, *cuts[at:]])) == fold(map(read_cut, cuts))


def test_a_message_that_left_and_has_come_back_under_its_id_is_there_as_it_is_now() -> None:
    begun = RawCut(1, True, 1.0, [row(7, 1), row(8, 1)], [], {}).pack()
    again = RawCut(2, False, 2.0, [row(7, 2)], [7, 8], {}).pack()

    state = fold(map(read_cut, [begun, again]))

    bodies = {key: read_record(data).body for key, data in state.messages.items() if data}
    assert bodies == {7: encode(2)}


def test_a_missing_cut_is_told() -> None:
    first, _, third = chain(({1: 1}, {}), ({1: None}, {}), ({2: 2}, {}))

    with pytest.raises(DecodeError, match="cut 2 is missing before cut 3"):
        fold(map(read_cut, [first, third]))


def test_no_byte_of_a_cut_can_be_lost_or_changed_unnoticed() -> None:
    whole = cut(1, {1: 11, 2: None}, {"a": 5}, full=True)

    for end in range(len(whole)):
        with pytest.raises(DecodeError):
            read_cut(whole[:end])
    for place, byte in enumerate(whole):
        with pytest.raises(DecodeError):
            read_cut(whole[:place] + bytes([byte ^ 1]) + whole[place + 1 :])


# When it is written anew -----------------------------------------------------------------


def kept(disk: MemoryDisk) -> tuple[bytes, ...]:
    """The cuts that the disk has."""
    store = MemoryStore(disk=disk)
    store.open(new_session())
    with contextlib.closing(store):
        return store.load("run").cuts


async def test_a_long_chain_is_written_anew_and_nothing_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", 4)
    disk, tape = MemoryDisk(), list[int]()
    gate = Gate()

    async def work(value: int) -> int:
        return await gate(value) if value % 2 else value

    flow = pipeline([stage(work, workers=20)], name="f")
    store = Mortal(disk)
    async with flow.open(store=store, run_id="run", sink=TapeSink(tape)) as run:
        for number in range(30):  # A cut for each at least.
            await run.feed([number], ids=[f"item-{number}"])
        await wait_all_tasks_blocked(0.01)
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()

    cuts = kept(disk)
    assert len(cuts) <= 5
    assert read_cut(cuts[-1]).number >= 30
    assert conserved(disk, "run") == counted(fed=30, done=15, held=15)
    gate.open()
    await finished(flow, Mortal(disk), sink=TapeSink(tape))
    assert sorted(tape) == list(range(30))


# What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: b"", lambda data: b"\xc1"],
    ids=["cut off", "empty", "something else"],
)
async def test_a_run_whose_checkpoint_cannot_be_read_never_begins_anew(
    damage: Callable[[bytes], bytes],
) -> None:
    disk, gate = MemoryDisk(), Gate()
    await fed_and_killed(pipeline([stage(gate, name="a")], name="f"), Mortal(disk), [1, 2])
    store = MemoryStore(disk=disk)
    store.open(new_session())
    owned = store.acquire("run", 0.0)
    bad, number = damage(store.load("run").cuts[-1]), owned.number + 1
    store.commit(Change(run="run", epoch=owned.epoch, number=number, cut=bad))
    store.close()
    before = kept(disk)

    for _ in range(2):  # It is no better for having been tried.
        with pytest.raises(StoreCorrupt, match="the checkpoint of run 'run' cannot be read"):
            with trio.fail_after(10):
                await pipeline([stage(increment, name="a")], name="f").run(
                    [1, 2], store=MemoryStore(disk=disk), run_id="run"
                )
    assert kept(disk) == before
