"""What every store promises, one plain function for each promise.

Each gets a world with an empty disk, and raises `AssertionError` if the promise is broken.
They do not rely on ``assert``, which ``python -O`` takes away.
"""

from __future__ import annotations

from typing import Any

from actorflow.durability.store import Change, CutRow, DeadQuery, Owned, Session
from actorflow.errors import (
    LeaseLost,
    RunExistsError,
    RunInUseError,
    RunNotFoundError,
    StoreError,
)
from actorflow.testing.store_kept import KEPT
from actorflow.testing.store_steps import Check, begin, letter, raises, same, write
from actorflow.testing.store_worlds import StoreWorld, new_session

__all__ = ["CHECKS", "Check"]

#: Every check, in the order in which they say most when they fail.
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


# Acquiring --------------------------------------------------------------------------------


@check
def a_new_run_begins_at_epoch_1_and_cut_0(world: StoreWorld) -> None:
    store, owned = begin(world)
    same(owned, Owned("run", 1, 0, "running", True, False, "", ()))
    same(store.load("run").cuts, ())


@check
def resume_must_refuses_a_missing_run_and_never_an_existing_one(world: StoreWorld) -> None:
    store = world.open(new_session())
    raises(RunNotFoundError, store.acquire, "run", 0.0, resume="must")
    same(store.runs(), [])
    same(store.acquire("run", 0.0, resume="never").new, True)
    raises(RunExistsError, store.acquire, "run", 0.0, resume="never")
    store.release("run", 1)
    same(store.acquire("run", 0.0, resume="must").epoch, 2)


@check
def a_run_has_one_owner_and_the_error_names_it(world: StoreWorld) -> None:
    first, second = Session(b"1" * 16, "here", 11), Session(b"2" * 16, "here", 22)
    store = world.open(first)
    store.acquire("run", 0.0)
    same(raises(RunInUseError, store.acquire, "run", 0.0).owner, "process 11 on here")
    other = world.open(second)
    same(raises(RunInUseError, other.acquire, "run", 0.0).owner, "process 11 on here")
    same(raises(RunInUseError, other.delete_run, "run").owner, "process 11 on here")


@check
def every_acquisition_raises_the_epoch(world: StoreWorld) -> None:
    store, owned = begin(world)
    for epoch in range(2, 6):
        store.release("run", owned.epoch)
        owned = store.acquire("run", 0.0)
        same((owned.epoch, owned.new, owned.taken_over), (epoch, False, False))


@check
def closing_gives_runs_free_and_twice_does_nothing(world: StoreWorld) -> None:
    store, _ = begin(world)
    store.close()
    store.close()
    raises(StoreError, store.number, "run")
    again = world.open(new_session()).acquire("run", 0.0)
    same((again.epoch, again.status, again.taken_over), (2, "running", False))


@check
def a_killed_owner_is_followed_at_once(world: StoreWorld) -> None:
    if not world.proves_death:
        return
    other = world.open(new_session())
    store, owned = begin(world)
    write(store, owned, 1, b"cut")
    world.kill(store)
    again = other.acquire("run", 0.0)
    same((again.epoch, again.number, again.taken_over), (2, 1, False))
    same(other.load("run").cuts, (b"cut",))


@check
def an_owner_that_stops_renewing_loses_when_its_lease_is_over(world: StoreWorld) -> None:
    store, owned = begin(world, lease=10.0)
    store.renew(5.0, 1)
    other = world.open(new_session())
    raises(RunInUseError, other.acquire, "run", 14.9)
    again = other.acquire("run", 15.0)
    same((again.epoch, again.taken_over), (2, True))
    raises(LeaseLost, write, store, owned, 1, b"late")
    same(raises(LeaseLost, store.renew, 16.0, 2).run, "run")
    store.renew(17.0, 3)
    same(other.load("run").cuts, ())


@check
def an_owner_that_may_be_alive_is_remembered_until_the_next_cut(world: StoreWorld) -> None:
    begin(world, lease=10.0)
    other = world.open(new_session())
    owned = other.acquire("run", 10.0)
    other.release("run", owned.epoch)
    owned = other.acquire("run", 10.0)
    same((owned.epoch, owned.taken_over), (3, True))
    other.commit(Change(run="run", epoch=owned.epoch, blame={"0": 1}))
    other.release("run", owned.epoch)
    owned = other.acquire("run", 10.0)
    same((owned.epoch, owned.taken_over), (4, True))
    write(other, owned, 1, b"cut")
    other.release("run", owned.epoch)
    same(other.acquire("run", 10.0).taken_over, False)


@check
def acquiring_begins_the_lease(world: StoreWorld) -> None:
    world.open(new_session(10.0)).acquire("run", 100.0)
    other = world.open(new_session())
    raises(RunInUseError, other.acquire, "run", 109.0)
    same(other.acquire("run", 110.0).taken_over, True)


@check
def a_run_whose_owner_was_killed_can_be_deleted(world: StoreWorld) -> None:
    if not world.proves_death:
        return
    other = world.open(new_session())
    store, _ = begin(world)
    world.kill(store)
    same(other.delete_run("run"), True)


@check
def an_old_owner_cannot_release_or_close_its_successor_away(world: StoreWorld) -> None:
    store, owned = begin(world, lease=10.0)
    other = world.open(new_session())
    again = other.acquire("run", 20.0)
    store.release("run", owned.epoch)
    store.release("run", again.epoch)
    store.close()
    write(other, again, 1, b"cut")


@check
def an_owner_gives_a_run_free_only_by_its_present_epoch(world: StoreWorld) -> None:
    store, owned = begin(world)
    store.release("run", owned.epoch)
    again = store.acquire("run", 0.0)
    other = world.open(new_session())
    for epoch in (owned.epoch, again.epoch + 1, 0):
        store.release("run", epoch)
        raises(RunInUseError, other.acquire, "run", 1.0)
    store.renew(1.0, 1)
    write(store, again, 1, b"cut")
    store.release("run", again.epoch)
    same(other.acquire("run", 1.0).epoch, 3)


@check
def a_finished_run_is_only_looked_at(world: StoreWorld) -> None:
    store, owned = begin(world)
    write(store, owned, 1, b"last", status="finished", report=b"report", version="v1")
    for each in (store, world.open(new_session())):
        seen = each.acquire("run", 1.0)
        same(seen, Owned("run", 1, 1, "finished", False, False, "v1", ()))
        raises(LeaseLost, write, each, seen, 2, b"more")
    same(store.runs()[0].report, b"report")
    same(store.runs()[0].owner, "")


@check
def a_failed_or_parked_run_can_be_gone_on_with(world: StoreWorld) -> None:
    store = world.open(new_session())
    endings: tuple[Any, ...] = ("failed", "parked")
    for status in endings:
        owned = store.acquire(status, 0.0)
        write(store, owned, 1, b"cut", status=status, report=b"report")
        raises(LeaseLost, write, store, owned, 2, b"more")
        again = store.acquire(status, 1.0)
        same((again.status, again.epoch, again.number), (status, 2, 1))
        row = next(row for row in store.runs() if row.run == status)
        same((row.status, row.report), ("running", None))


# Committing -------------------------------------------------------------------------------


@check
def cuts_come_back_in_order_and_a_full_one_stands_for_all_before(world: StoreWorld) -> None:
    store, owned = begin(world)
    for number, full in enumerate([True, False, False, True, False], 1):
        write(store, owned, number, b"%d" % number, full=full)
    same(store.load("run").cuts, (b"4", b"5"))
    same(store.number("run"), 5)
    row = store.runs()[0]
    same((row.cuts, row.size), (2, 2))
    same(store.cuts("run"), [CutRow(4, True, b"4"), CutRow(5, False, b"5")])


@check
def a_full_cut_drops_only_what_none_of_the_last_states_needs(world: StoreWorld) -> None:
    store = world.open(new_session())
    fulls = (1, 4, 5, 9)
    wanted = {1: 9, 2: 5, 5: 5, 6: 4, 8: 1, 20: 1}
    for keep, first in wanted.items():
        owned = store.acquire(f"{keep}", 0.0)
        for number in range(1, 10):
            write(store, owned, number, b"%d" % number, full=number in fulls, keep=keep)
        kept = [CutRow(n, n in fulls, b"%d" % n) for n in range(first, 10)]
        same(store.cuts(f"{keep}"), kept)
        same(store.load(f"{keep}").cuts, (b"9",))
        write(store, owned, 10, b"10", status="finished", keep=keep)
        same(store.cuts(f"{keep}"), [*kept, CutRow(10, False, b"10")])
        same(store.load(f"{keep}").cuts, (b"9", b"10"))
    same(sorted(row.cuts for row in store.runs()), [2, 6, 6, 7, 10, 10])


@check
def cuts_of_any_size_come_back_as_they_were(world: StoreWorld) -> None:
    store, owned = begin(world)
    cuts = (b"", b"\x00", bytes(range(256)) * 20, b"\xff" * 3_000_000)
    for number, cut in enumerate(cuts, 1):
        write(store, owned, number, cut)
    same(store.load("run").cuts == cuts, True)


@check
def a_wrong_epoch_writes_nothing(world: StoreWorld) -> None:
    store, _ = begin(world)
    for epoch in (0, 2, -1):
        change = Change(
            run="run", epoch=epoch, number=1, cut=b"x", status="finished",
            results=[("a", b"a")], dead=[letter("a")], blame={"a": 1},
        )  # fmt: skip
        same(raises(LeaseLost, store.commit, change).run, "run")
    raises(LeaseLost, store.commit, Change(run="other", epoch=1))
    loaded = store.load("run")
    same((loaded.cuts, loaded.blame, loaded.results, loaded.dead), ((), {}, 0, 0))
    same(store.runs()[0].status, "running")


@check
def another_session_with_the_right_epoch_writes_nothing(world: StoreWorld) -> None:
    _, owned = begin(world)
    other = world.open(new_session())
    raises(LeaseLost, write, other, owned, 1, b"x")
    same(other.number("run"), 0)


@check
def a_cut_must_follow_the_last_one(world: StoreWorld) -> None:
    store, owned = begin(world)
    write(store, owned, 1, b"one")
    for number in (0, 1, 3):
        raises(StoreError, write, store, owned, number, b"x", results=[("a", b"a")], full=True)
    same(store.load("run").cuts, (b"one",))
    same(store.results("run"), [])
    write(store, owned, 2, b"two")


@check
def a_change_that_contradicts_itself_is_refused(world: StoreWorld) -> None:
    store, owned = begin(world)
    wrong: tuple[dict[str, Any], ...] = (
        {"number": 1}, {"cut": b"x"}, {"full": True}, {"report": b"x"}, {"keep": 0},
        {"report": b"x", "status": "running"}, {"at": float("nan")},
    )  # fmt: skip
    for fields in wrong:
        raises(StoreError, store.commit, Change(run="run", epoch=owned.epoch, **fields))
    same(store.number("run"), 0)


@check
def what_is_not_named_in_a_change_stays(world: StoreWorld) -> None:
    store, owned = begin(world)
    lines = ("stage a", "stage b -> c\n", "\udc80 é")
    store.commit(Change(run="run", epoch=1, version="v1", identity=lines, flow="invoices", at=7.0))
    write(store, owned, 1, b"one", at=3.0)
    row = store.runs()[0]
    same((row.version, row.flow, row.created, row.updated), ("v1", "invoices", 0.0, 7.0))
    store.close()
    again = world.open(new_session()).acquire("run", 1.0)
    same((again.version, again.identity), ("v1", lines))


CHECKS += KEPT  # Of what is kept beside the cuts.


# For tools --------------------------------------------------------------------------------


@check
def runs_are_listed_the_latest_first(world: StoreWorld) -> None:
    store = world.open(Session(b"3" * 16, "here", 33))
    for at, run in enumerate(("old", "new", "mid")):
        store.acquire(run, float(at))
    store.commit(Change(run="new", epoch=1, at=9.0))
    same([row.run for row in store.runs()], ["new", "mid", "old"])
    same({row.owner for row in store.runs()}, {"process 33 on here"})


@check
def a_deleted_run_is_gone_and_may_begin_anew(world: StoreWorld) -> None:
    store, owned = begin(world)
    write(store, owned, 1, b"cut", results=[("a", b"")], dead=[letter("a")], blame={"a": 1})
    store.release("run", owned.epoch)
    same(store.delete_run("run"), True)
    same(store.delete_run("run"), False)
    raises(RunNotFoundError, store.load, "run")
    raises(RunNotFoundError, store.cuts, "run")
    raises(RunNotFoundError, store.number, "run")
    same((store.dead(DeadQuery()), store.results("run")), ([], []))
    again = store.acquire("run", 0.0)
    same((again.new, again.epoch), (True, 1))
    loaded = store.load("run")
    same((loaded.cuts, loaded.blame, loaded.results, loaded.dead), ((), {}, 0, 0))


@check
def the_old_owner_of_a_deleted_run_is_fenced_out_of_the_new_one(world: StoreWorld) -> None:
    store, owned = begin(world, lease=10.0)
    other = world.open(new_session())
    other.release("run", other.acquire("run", 20.0).epoch)
    same(other.delete_run("run"), True)
    same(raises(LeaseLost, store.renew, 21.0, 1).run, "run")
    same(other.acquire("run", 22.0).epoch, owned.epoch)
    raises(LeaseLost, write, store, owned, 1, b"late")


@check
def a_store_must_be_open(world: StoreWorld) -> None:
    store, _ = begin(world)
    raises(StoreError, store.open, new_session())
    store.close()
    verbs: tuple[tuple[Any, ...], ...] = (
        (store.acquire, "run", 0.0), (store.load, "run"), (store.number, "run"),
        (store.commit, Change(run="run", epoch=1)), (store.renew, 0.0, 0),
        (store.release, "run", 1), (store.runs,), (store.cuts, "run"), (store.results, "run"),
        (store.dead, DeadQuery()), (store.purge_dead, DeadQuery()), (store.delete_run, "run"),
    )  # fmt: skip
    for verb, *args in verbs:
        raises(StoreError, verb, *args)
    store.open(new_session())
    same(store.number("run"), 0)
