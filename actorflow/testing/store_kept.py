"""What every store promises of what it keeps beside the cuts: results, dead letters and blame.

One plain function for each promise, as in `store_checks`, which has them all.
"""

from __future__ import annotations

from actorflow.durability.store import Change, DeadQuery, ResultRow
from actorflow.testing.store_steps import Check, begin, letter, same, write
from actorflow.testing.store_worlds import StoreWorld, new_session

__all__ = ["KEPT"]

#: The checks of this file.
KEPT: list[Check] = []


def check(function: Check) -> Check:
    KEPT.append(function)
    return function


@check
def results_are_numbered_and_paged(world: StoreWorld) -> None:
    store, owned = begin(world)
    rows = [(f"item-{n}", b"%d" % n) for n in range(1, 1501)]
    write(store, owned, 1, b"one", results=rows[:1201])
    write(store, owned, 2, b"two", results=rows[1201:])
    wanted = [ResultRow(n, *row) for n, row in enumerate(rows, 1)]
    same(store.results("run") == wanted[:1000], True)
    same(store.results("run", after=1000) == wanted[1000:], True)
    same(store.results("run", after=10, limit=2), wanted[10:12])
    same(store.results("run", limit=0), [])
    same(store.results("other"), [])
    same(store.load("run").results, 1500)


@check
def dead_letters_are_found_by_each_of_their_facts(world: StoreWorld) -> None:
    store, owned = begin(world)
    other = store.acquire("other", 0.0)
    letters = [letter("a"), letter("b", place="save"), letter("c", reason="poison", error="")]
    store.commit(Change(run="run", epoch=owned.epoch, dead=letters))
    store.commit(Change(run="other", epoch=other.epoch, dead=[letter("a", error="OSError")]))
    names = {
        DeadQuery(): ["a", "a", "b", "c"],
        DeadQuery(run="run"): ["a", "b", "c"],
        DeadQuery(place="save"): ["b"],
        DeadQuery(reason="poison"): ["c"],
        DeadQuery(error=""): ["c"],
        DeadQuery(error="OSError"): ["a"],
        DeadQuery(id="a", run="run"): ["a"],
        DeadQuery(seq=1): ["a", "a"],
        DeadQuery(run="missing"): [],
    }
    for query, wanted in names.items():
        same([row.id for _, row in store.dead(query)], wanted)
    same(
        store.dead(DeadQuery(run="run"), after=1, limit=1),
        [("run", letter("b", seq=2, place="save"))],
    )
    same([run for run, _ in store.dead(DeadQuery())], ["other", "run", "run", "run"])


@check
def the_number_of_a_purged_letter_is_not_given_again(world: StoreWorld) -> None:
    store, _ = begin(world)
    store.commit(Change(run="run", epoch=1, dead=[letter("a"), letter("b")]))
    same(store.purge_dead(DeadQuery(id="b")), 1)
    same(store.purge_dead(DeadQuery(id="b")), 0)
    store.commit(Change(run="run", epoch=1, dead=[letter("c")]))
    same([row.seq for _, row in store.dead(DeadQuery())], [1, 3])
    same((store.load("run").dead, store.runs()[0].dead), (2, 2))


@check
def blame_is_set_and_cleared(world: StoreWorld) -> None:
    store, _ = begin(world)
    many = {f"m{n}": n for n in range(1200)}
    store.commit(Change(run="run", epoch=1, blame=many))
    store.commit(Change(run="run", epoch=1, blame={"m1": 5, "new": 1}, cleared=["m2", "none"]))
    wanted = many | {"m1": 5, "new": 1}
    del wanted["m2"]
    same(store.load("run").blame == wanted, True)
    store.commit(Change(run="run", epoch=1, blame={"x": 1}, cleared=["x", *many, "new"]))
    same(store.load("run").blame, {})


@check
def text_that_is_no_unicode_is_kept_readable(world: StoreWorld) -> None:
    store, _ = begin(world)
    odd = letter("id\udc80", text="b\udcffd\x00 é", place="\ud800")
    store.commit(
        Change(run="run", epoch=1, dead=[odd], results=[("\udc80", b"")], blame={"\udc80": 1})
    )
    found = store.dead(DeadQuery(id="id\udc80"))[0][1]
    same((found.id, found.text, found.place), ("id\\udc80", "b\\udcffd\x00 é", "\\ud800"))
    same(store.results("run")[0].id, "\\udc80")
    store.commit(Change(run="run", epoch=1, cleared=["\udc80"]))
    same(store.load("run").blame, {})


@check
def what_is_kept_may_be_of_any_size(world: StoreWorld) -> None:
    store, owned = begin(world)
    bodies = (b"", b"\x00", bytes(range(256)) * 257, b"\xff" * 3_000_000)
    texts = [body.decode("latin-1").replace("\x00", " ") for body in bodies]
    results = [(f"{number}", body) for number, body in enumerate(bodies)]
    letters = [
        letter(f"{number}", seq=number + 1, text=text, traceback=text, body=body, facts=body)
        for number, (body, text) in enumerate(zip(bodies, texts, strict=True))
    ]
    report = bodies[-1]
    write(
        store, owned, 1, b"last",
        results=results, dead=letters, status="finished", report=report,
    )  # fmt: skip
    wanted = [ResultRow(number, *row) for number, row in enumerate(results, 1)]
    same(store.results("run") == wanted, True)
    same([row for _, row in store.dead(DeadQuery())] == letters, True)
    same(store.runs()[0].report == report, True)


@check
def dead_letters_are_paged(world: StoreWorld) -> None:
    store, _ = begin(world)
    letters = [letter(f"m{n}", seq=n) for n in range(1, 1201)]
    store.commit(Change(run="run", epoch=1, dead=letters[:700]))
    store.commit(Change(run="run", epoch=1, dead=letters[700:]))
    wanted = [("run", each) for each in letters]
    query = DeadQuery(run="run")
    same(store.dead(query) == wanted[:1000], True)
    same(store.dead(query, after=1000) == wanted[1000:], True)
    same(store.dead(query, limit=2000) == wanted, True)
    same(store.dead(query, limit=0), [])
    same(store.purge_dead(query), 1200)


@check
def names_that_differ_in_case_are_two(world: StoreWorld) -> None:
    store = world.open(new_session())
    names = ("run", "Run", "RUN", "run ", "\u00e9", "\u00c9", "e\u0301")
    for name in names:
        owned = store.acquire(name, 0.0)
        same((owned.run, owned.new), (name, True))
        write(store, owned, 1, name.encode(), results=[(name, b"")], dead=[letter(name)])
    for name in names:
        same(store.load(name).cuts, (name.encode(),))
        same([row.id for row in store.results(name)], [name])
        same([run for run, _ in store.dead(DeadQuery(run=name))], [name])
        same([run for run, _ in store.dead(DeadQuery(id=name))], [name])
    same(sorted(row.run for row in store.runs()), sorted(names))
    blame = dict.fromkeys(names, 1)
    store.commit(Change(run="run", epoch=1, blame=blame))
    store.commit(Change(run="run", epoch=1, cleared=["Run"]))
    del blame["Run"]
    same(store.load("run").blame, blame)
    store.release("Run", 1)
    same((store.delete_run("Run"), store.number("run")), (True, 1))
