"""How results and reports are written into a store, and read back.

An error is kept as its type, text and traceback: what a class of the user's own would
make of bytes from a file is nobody's business.

Dead letters go back into a run as a cut of its own: `put_back` makes the bytes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from actorflow.core.envelope import DEFAULT_PRIORITY
from actorflow.core.letters import DeadLetter
from actorflow.durability.hold import NAME
from actorflow.durability.letters import had_come_out, letter_id, text_of, was_batch
from actorflow.durability.store import DeadRow, ResultRow
from actorflow.errors import StoredError
from actorflow.flows.order import with_ended
from actorflow.flows.results import ErrorCount, ItemResult, Latency, Report, StageStats
from actorflow.wire.codec import decode, encode
from actorflow.wire.snapshot import (
    OUT,
    USER,
    Cut,
    Row,
    pack_facts,
    pack_messages,
    read_record,
    write_cut,
)

__all__ = [
    "REPLAYED",
    "input_left",
    "new_account",
    "pack_report",
    "put_back",
    "read_report",
    "read_result",
    "stored_result",
]

#: The fact that says which dead letters a run has been given: numbers by run they died in.
REPLAYED = "replayed"


def stored_result(result: ItemResult[Any], message: str) -> bytes:
    """A result as it is stored, with the id of the *message* that it came of; an error as its type
    and text."""
    return encode(
        {
            "id": result.id,
            "value": result.value,
            "error": None if result.error is None else _error(result.error),
            "attempts": result.attempts,
            "stage": result.stage,
            "status": result.status,
            "metadata": dict(result.metadata),
            "timings": dict(result.timings),
            "traceback": result.traceback,
            "number": result.number,
            "message": message,
        }
    )


def _error(error: BaseException) -> list[str]:
    return [type(error).__name__, text_of(error)]


def read_result(row: ResultRow) -> ItemResult[Any]:
    """What `stored_result` wrote; of an error the type and text are left.

    Raises:
        DecodeError: The value has a tag that nobody here knows.
    """
    found = decode(row.body, max_bytes=None)
    error = found.pop("error")
    found.pop("message", None)  # It tells two results of one item apart; see `testing.laws`.
    return ItemResult(error=None if error is None else StoredError(*error), **found)


#: What a report says of latency; one of an earlier release has the first two.
LATENCY = ("mean", "max", "p50", "p95", "p99")


def pack_report(report: Report) -> bytes:
    """A report without its dead letters, which are rows."""
    return encode(
        {
            "counts": dict(report.counts),
            "duration": report.duration,
            "restarts": report.restarts,
            "errors": [[e.stage, e.type, e.count, e.example] for e in report.errors],
            "stages": {
                name: [
                    each.received,
                    each.emitted,
                    each.failed,
                    each.skipped,
                    each.retried,
                    each.pending,
                    each.running,
                    each.workers,
                    each.latency.mean,
                    each.latency.max,
                    each.latency.p50,
                    each.latency.p95,
                    each.latency.p99,
                ]
                for name, each in report.stages.items()
            },
        }
    )


def read_report(run_id: str, data: bytes, dead: tuple[DeadLetter, ...]) -> Report:
    """What `pack_report` wrote, with the dead letters."""
    found = decode(data, max_bytes=None)
    names = ("received", "emitted", "failed", "skipped", "retried", "pending", "running", "workers")
    stages = {
        name: StageStats(
            **dict(zip(names, figures, strict=False)),
            latency=Latency(**dict(zip(LATENCY, figures[len(names) :], strict=False))),
        )
        for name, figures in found["stages"].items()
    }
    errors = tuple(
        ErrorCount(stage=stage, type=kind, count=count, example=example)
        for stage, kind, count, example in found["errors"]
    )
    return Report(
        run_id=run_id,
        counts=found["counts"],
        duration=found["duration"],
        stages=stages,
        errors=errors,
        dead=dead,
        restarts=found["restarts"],
    )


# Dead letters that go back -------------------------------------------------------------


def input_left(facts: Mapping[str, Any]) -> bool:
    """Whether a run may have input that was not read: nothing says that there is none."""
    sources = [fact for key, fact in facts.items() if key.startswith("source/")]
    if not sources:
        return REPLAYED not in facts
    return any(not each["ended"] or each["in_hand"] for each in sources)


def new_account() -> dict[str, Any]:
    """Of a run that has done nothing yet."""
    return {
        "counts": [0, 0, 0, 0, 0],
        "errors": [],
        "stages": {},
        "emitted": {},
        "restarts": 0,
        "elapsed": 0.0,
    }


def put_back(
    flow: str,
    state: Cut | None,
    number: int,
    at: float,
    letters: Sequence[DeadRow],
    replayed: Mapping[str, Sequence[int]],
    output: int | None = None,
    gathers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The next cut of a run, in which *letters* are new items in the stages they died in.

    Each keeps its id, begins with attempt 1 and has one replay more. One that had come out is
    only written again. The cut also says whose letters it has, so that after a crash nobody
    gives them to the run again.

    Args:
        flow: Name of the flow.
        state: What its cuts add up to; `None` for a run that begins with these letters.
        number: Of the cut.
        at: Wall time; that of *state*, if there is one, since its delays count from there.
        letters: All from stages of the flow.
        replayed: The fact that marks them.
        output: Where a run that begins with them goes on with its output, in bytes.
        gathers: Of stages that get batches, where their values wait for others.
    """
    facts: dict[str, Any] = {REPLAYED: {run: list(seqs) for run, seqs in replayed.items()}}
    account = new_account()
    order = 0
    if state is not None and state.facts.get("run"):
        account = decode(state.facts["run"], max_bytes=None)  # type: ignore[arg-type]
        records = (read_record(data) for data in state.messages.values() if data)
        order = max((abs(record.order) for record in records), default=0)
    elif output is not None:
        facts["sink"] = output
    fed, rows = account["counts"][0], []
    stages: Counter[str] = Counter()
    ended: list[int] = []
    for index, letter in enumerate(letters):
        whole = was_batch(letter) or had_come_out(letter)
        held = "" if whole else gathers.get(letter.place, "")
        box = f"/{flow}/{letter.place}{held and '//'}{held}"
        rows.append(_row(box, fed + index, order + 1 + index, letter))
        if had_come_out(letter):
            ended.append(fed + index)
        else:
            stages[letter.place] += not held
            facts[f"{NAME}{fed + index}"] = letter_id(letter)
    account["counts"][0] += len(letters)
    account["counts"][1] += len(ended)
    for stage, more in stages.items():
        account["stages"].setdefault(stage, [0] * 5)[0] += more
    facts["run"] = account
    if state is not None:
        facts |= with_ended(state.facts, ended)
    blocks = pack_messages(rows, lambda key, error: None)
    blocks.append(pack_facts({key: encode(fact) for key, fact in facts.items()}))
    return write_cut(number, state is None, at, blocks)


def _row(box: str, root: int, order: int, letter: DeadRow) -> Row:
    more: dict[str, Any] = {"replays": letter.replays + 1}
    priority = decode(letter.facts).get("priority") if letter.facts else DEFAULT_PRIORITY
    if priority != DEFAULT_PRIORITY:
        more["priority"] = priority
    lane = OUT if had_come_out(letter) else USER
    return (root, box, lane, order, 0, letter.body, None, more)
