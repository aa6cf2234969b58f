"""Kill a working process again and again, and compare what it leaves with an undisturbed run.

    parent ── SIGKILL at a random moment ──► child: JSON lines ─► split ─► check ─► crunch ─► pay
      ▲                                        │                                            │
      └── what was acknowledged, first commit ─┘      out.jsonl     a durable actor ◄───────┘

    python -m tests.torture --kills 1000 [--seed 7] [--stop] [--keep DIRECTORY]

The child is started again with the same command after each kill; when it has finished
its input it gets a new one, until there were enough kills. Beside its file it is fed
items one by one, and says which of them were acknowledged. With ``--stop`` some lives are
stopped (SIGSTOP) instead, taken over by another process when their lease is over, and
woken (SIGCONT): not one byte of theirs may count.

Flow and actor are two stores, which no transaction spans. Their sum is exact all the
same: ``pay`` has ``effects=True`` and passes on its idempotency key, by which the actor
knows what it has had.

It ends with exit code 1 and says why if anything is lost, doubled, or different.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import trio

from actorflow import (
    Actor,
    ActorStopped,
    ActorSystem,
    Fixed,
    JsonLinesSink,
    JsonLinesSource,
    Pipeline,
    Retry,
    RunInUseError,
    Turn,
    actor,
    message,
    stage,
)
from actorflow.durability.hold import Hold
from actorflow.flows.sinks import ListSink

#: Lines of an input.
LINES = 400

#: Attempts of a message; each kill may cost one.
ATTEMPTS = 5

#: Seconds after which a process that does not answer has lost its run.
LEASE = 0.6

#: Exit code of a process that has lost its actor to another.
GONE = 3

#: Seconds between two items that are fed one by one.
FED_EVERY = 0.02

#: Seconds a child may need for anything before the script gives up.
PATIENCE = 90.0


# The work ---------------------------------------------------------------------------------


@message(tag="tests.torture.add")
class Add:
    key: str
    amount: int


@actor("tests.torture.purse")
class Purse(Actor):
    """Sums what it is told, each key once."""

    total: int = 0
    seen: tuple[str, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> int:
        if isinstance(message, Add) and message.key not in self.seen:
            self.seen = (*self.seen, message.key)
            self.total += message.amount
        return self.total


RETRY = [Retry(ATTEMPTS, backoff=Fixed(0.001))]


@stage(policies=RETRY)
async def split(line: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """One to three pieces per line."""
    for index in range(1 + line["amount"] % 3):
        yield {"id": f"{line['id']}-{index}", "amount": line["amount"] + index}


@stage(workers=3, policies=RETRY, key=lambda piece: piece["amount"] % 5, capacity=8)
async def check(piece: dict[str, Any], ctx: Turn) -> dict[str, Any]:
    """Fails at the first attempt now and then, and spoils what it got."""
    amount = piece.pop("amount")
    await trio.lowlevel.checkpoint()
    if amount % 7 == 0 and ctx.attempt == 1:
        raise OSError("try again")
    return {**piece, "amount": amount}


@stage(workers=2, policies=RETRY, capacity=8)
def crunch(piece: dict[str, Any]) -> dict[str, Any]:
    """In a thread."""
    digest = hashlib.sha256(f"{piece['id']} {piece['amount']}".encode())
    return {**piece, "digest": digest.hexdigest()[:16]}


@stage(workers=2, policies=RETRY, effects=True)
async def pay(piece: dict[str, Any], ctx: Turn) -> dict[str, Any]:
    """Tell the purse; answered when its disk has it. Who has lost the purse has lost the run."""
    try:
        await ctx.ask(ctx.deps, Add(ctx.idempotency_key("pay"), piece["amount"]), timeout=60)
    except ActorStopped:
        os._exit(GONE)
    return piece


FLOW: Pipeline[Any, Any] = Pipeline([split, check, crunch, pay], name="torture")


def write_input(path: Path, number: int) -> None:
    lines = ({"id": f"{number}.{each}", "amount": each * 3 + number} for each in range(LINES))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


async def undisturbed(path: Path) -> list[str]:
    """The lines that come out of a run that nobody disturbs, sorted."""
    sink: ListSink[Any] = ListSink()
    async with ActorSystem("calm") as system:
        purse = await system.spawn(Purse(), name="purse")
        await FLOW.run(JsonLinesSource(path), sink=sink, deps=purse)
    return sorted(json.dumps(value, separators=(",", ":")) for value in sink.values)


# The child --------------------------------------------------------------------------------


def say(word: str, **facts: Any) -> None:
    """One line for the parent, whole or not at all."""
    os.write(1, (json.dumps({"word": word, **facts}) + "\n").encode())


async def child(directory: Path, number: int, life: int) -> None:
    """One life: go on with input *number*."""
    assert Hold.__init__.__kwdefaults__ is not None
    Hold.__init__.__kwdefaults__["lease"] = LEASE  # The system's too.
    async with ActorSystem("bank", store=f"sqlite:///{directory}/bank.db") as system:
        purse = await system.spawn(Purse(), name=f"purse-{number}", durable=True, policies=RETRY)
        async with FLOW.open(
            store=f"sqlite:///{directory}/runs.db",
            run_id=f"run-{number}",
            sink=JsonLinesSink(directory / f"out-{number}.jsonl"),
            deps=purse,
            lease=LEASE,
        ) as run:
            if run.report is None:
                run._kernel.journal.on_commit.append(first_commit())
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(feed_one_by_one, run, life, nursery.cancel_scope)
                    await run.feed_from(JsonLinesSource(directory / f"in-{number}.jsonl"))
                    nursery.cancel_scope.cancel()
            report = await run.finish()
        total = await purse.ask("how much?", timeout=60)
    dead = [[each.id, each.reason, each.attempts, repr(each.error)] for each in report.dead]
    say("done", counts=dict(report.counts), total=total, dead=dead)


def first_commit() -> Any:
    said: list[int] = []

    def committed(number: int) -> None:
        if not said:
            said.append(number)
            say("commit")

    return committed


async def feed_one_by_one(run: Any, life: int, scope: trio.CancelScope) -> None:
    """Feed items from outside and say which were acknowledged."""
    for each in range(1_000_000):
        name = f"fed.{life}.{each}"
        say("fed", id=name)
        await run.feed([{"id": name, "amount": 0}])
        say("acknowledged", id=name)
        await trio.sleep(FED_EVERY)


# The parent -------------------------------------------------------------------------------


@attrs.define
class Tally:
    """What has happened so far.

    Attributes:
        recoveries: Seconds from the start of a process to its first commit.
        faults: What must not be, in words.
    """

    kills: int = 0
    stops: int = 0
    inputs: int = 0
    lines: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    recoveries: list[float] = attrs.Factory(list)
    faults: list[str] = attrs.Factory(list)

    def quantile(self, share: float) -> float:
        """Of the recoveries."""
        if not self.recoveries:
            return 0.0
        return sorted(self.recoveries)[int(share * (len(self.recoveries) - 1))]

    def __str__(self) -> str:
        return (
            f"kills {self.kills}  stops {self.stops}  inputs {self.inputs}  lines {self.lines}  "
            f"acknowledged {self.acknowledged}  lost {self.lost}  doubled {self.doubled}  "
            f"recovery p50 {self.quantile(0.5):.2f} s p99 {self.quantile(0.99):.2f} s"
        )


class Life:
    """A child process and what it has said."""

    def __init__(self, directory: Path, number: int, life: int) -> None:
        self.began = time.monotonic()
        command = [sys.executable, "-m", "tests.torture", "--child", str(directory)]
        with (directory / "errors.txt").open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, str(number), str(life)], stdout=subprocess.PIPE, stderr=errors
            )
        self.words: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.fed: set[str] = set()
        self.acknowledged: set[str] = set()
        self.done: dict[str, Any] | None = None
        self.recovery: float | None = None
        self._committed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = json.loads(line)
            match found["word"]:
                case "fed":
                    self.fed.add(found["id"])
                case "acknowledged":
                    self.acknowledged.add(found["id"])
                case "commit":
                    self.recovery = time.monotonic() - self.began
                    self._committed.set()
                case "done":
                    self.done = found
        self._committed.set()

    def runs_for(self, seconds: float) -> bool:
        """Wait; whether it is still there then."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def committed(self) -> None:
        """Wait for its first commit, or its end."""
        self._committed.wait(PATIENCE)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """Take all that it has said; it must have ended or be killed."""
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Torture:
    """The parent.

    Args:
        directory: For everything; empty.
        seed: Of the moments.
        stops: Whether some lives are stopped instead.
    """

    def __init__(self, directory: Path, seed: int, *, stops: bool) -> None:
        self.tally = Tally()
        self._directory = directory
        self._random = random.Random(seed)
        self._stops = stops
        self._lives = 0
        self._fed: set[str] = set()
        self._acknowledged: set[str] = set()
        self._kills = 0

    def run(self, kills: int) -> Tally:
        """Go on until there were so many *kills* and the work is done."""
        while self.tally.kills < kills and not self.tally.faults:
            number = self.tally.inputs = self.tally.inputs + 1
            write_input(self._directory / f"in-{number}.jsonl", number)
            self._fed, self._acknowledged, self._kills = set(), set(), 0
            self._finish(number, kills)
        return self.tally

    def _finish(self, number: int, kills: int) -> None:
        done = None
        while done is None:
            life = self._begin(number)
            enough = self.tally.kills >= kills
            moment = PATIENCE if enough else self._random.uniform(0.1, 1.6)
            if life.runs_for(moment):
                if enough:
                    self.tally.faults.append(f"input {number} does not come to its end")
                    life.signal(signal.SIGKILL)
                elif self._stops and self._random.random() < 0.2:
                    life = self._take_over(life, number)
                else:
                    life.signal(signal.SIGKILL)
                    self.tally.kills += 1
                    self._kills += 1
            done = self._end(life)
            if self.tally.faults:
                return
        self._judge(number, done)

    def _begin(self, number: int) -> Life:
        self._lives += 1
        return Life(self._directory, number, self._lives)

    def _take_over(self, stopped: Life, number: int) -> Life:
        """Stop *stopped*, let another one take over, wake it, and see it give up.

        One that is stopped while it has the turn to write keeps all others from writing: then
        there is no takeover, and it goes on.
        """
        stopped.signal(signal.SIGSTOP)
        self.tally.stops += 1
        other = self._begin(number)
        other.committed()
        stopped.signal(signal.SIGCONT)
        if stopped.runs_for(10 * LEASE):
            if other.recovery is not None:
                self.tally.faults.append("a process that was stopped goes on after a takeover")
            stopped.signal(signal.SIGKILL)
        if (done := self._end(stopped)) is not None:
            other.signal(signal.SIGKILL)
            other.done = done
        if other.runs_for(self._random.uniform(0.0, 1.0)):
            other.signal(signal.SIGKILL)
            self.tally.kills += 1
            self._kills += 1
        return other

    def _end(self, life: Life) -> dict[str, Any] | None:
        life.end()
        self._fed |= life.fed
        self._acknowledged |= life.acknowledged
        if life.recovery is not None:
            self.tally.recoveries.append(life.recovery)
        return life.done

    def _judge(self, number: int, done: dict[str, Any]) -> None:
        """Compare what *number* has left with an undisturbed run."""
        tally, directory = self.tally, self._directory
        expected = trio.run(undisturbed, directory / f"in-{number}.jsonl")
        found = (directory / f"out-{number}.jsonl").read_text().splitlines()
        fed = Counter(json.loads(line)["id"] for line in found if '"fed.' in line)
        own = sorted(line for line in found if '"fed.' not in line)
        acknowledged = {f"{name}-0" for name in self._acknowledged}
        lost = Counter(expected) - Counter(own)
        doubled = Counter(own) - Counter(expected)
        tally.lines += len(found)
        tally.acknowledged += len(acknowledged) + LINES
        tally.lost += lost.total() + len(acknowledged - set(fed))
        tally.doubled += doubled.total() + (fed - Counter(fed.keys())).total()
        total = sum(json.loads(line)["amount"] for line in found)
        facts = {
            "lines differ from an undisturbed run": own != expected,
            "an acknowledged item is missing": acknowledged - set(fed),
            "an item came out twice": max(fed.values(), default=1) > 1,
            "an item came out that was never fed": set(fed) - {f"{each}-0" for each in self._fed},
            f"the actor has {done['total']}, not {total}": done["total"] != total,
            "dead letters": done["dead"][:3],
            "items are held": done["counts"]["held"],
        }
        tally.faults += [
            f"input {number}: {fault}: {value}" for fault, value in facts.items() if value
        ]


def torture(kills: int, *, seed: int = 0, stops: bool = False, keep: Path | None = None) -> Tally:
    """Kill a working process *kills* times; see the module."""
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        directory = Path(place) if keep is None else keep
        directory.mkdir(parents=True, exist_ok=True)
        tally = Torture(directory, seed, stops=stops).run(kills)
        if tally.faults:
            errors = (directory / "errors.txt").read_text().splitlines()
            tally.faults.append("\n".join(errors[-60:]))
        return tally


def live_child(directory: Path, number: int, life: int) -> None:
    """A life that waits until it may have the run."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            trio.run(child, directory, number, life)
            return
        except RunInUseError:
            if time.monotonic() > until:
                raise
            time.sleep(LEASE / 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", action="store_true", help="stop some lives, and take them over")
    parser.add_argument("--keep", type=Path, help="a directory that is left behind")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        live_child(Path(given.child[0]), int(given.child[1]), int(given.child[2]))
        return
    tally = torture(given.kills, seed=given.seed, stops=given.stop, keep=given.keep)
    print(tally)
    for fault in tally.faults:
        print(fault)
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
