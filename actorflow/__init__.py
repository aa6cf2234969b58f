"""Ordinary Python functions as supervised actors on trio.

    from actorflow import Pipeline, Retry, stage

    @stage(workers=8, policies=[Retry(3)], timeout=10)
    async def fetch(url): ...

    report = Pipeline([fetch, parse]).run_sync(urls, sink=print)

A stage is a function with options; a pipeline of stages becomes a tree of actors with
bounded mailboxes. Policies decide what happens to a message that fails, supervisors
what happens to an actor that crashes. `ActorSystem` gives the same actors by hand.
"""

from collections.abc import Awaitable as _Awaitable
from collections.abc import Callable as _Callable
from typing import Any as _Any

import trio as _trio

from actorflow.actors.seen import TreeNode
from actorflow.actors.system import ActorSystem
from actorflow.core.context import Context
from actorflow.core.events import Observer
from actorflow.core.letters import DeadLetter, Down, Failed
from actorflow.errors import (
    ActorFlowError,
    ActorStopped,
    AskCycle,
    AskDiverged,
    AskError,
    AskFailed,
    AskTimeout,
    CircuitOpenError,
    CodecError,
    CommitFailed,
    CompilationError,
    ConfigurationError,
    DataError,
    DeadlineExceeded,
    DecodeError,
    DeliveryError,
    EncodeError,
    FutureCancelled,
    FutureError,
    FutureTimeout,
    InsideTurn,
    LeaseLost,
    MailboxFull,
    MergeConflictError,
    MessageFailed,
    MissingExtra,
    MissingKey,
    NotRunningError,
    OutboxFull,
    RestartsExhausted,
    ResumeError,
    RunExistsError,
    RunInUseError,
    RunNotFoundError,
    SchemaError,
    SchemaTooNew,
    SinkChanged,
    SourceChanged,
    StageError,
    StashFull,
    StoreCorrupt,
    StoredError,
    StoreError,
    StoreUnavailable,
    StrayCancelled,
    SupervisionError,
    TooManyFailures,
    TurnEnded,
    TurnError,
    TurnTimeout,
    UncleanEnds,
    UndeclaredKey,
    UnknownRoute,
    UsageError,
    VersionMismatch,
    WorkerDied,
)
from actorflow.flows.differing import RunDiff
from actorflow.flows.executor import Executor
from actorflow.flows.futures import Future
from actorflow.flows.graph import Graph
from actorflow.flows.pipeline import Pipeline
from actorflow.flows.results import Chunk, Held, ItemResult, Report, RunStats
from actorflow.flows.run import Run
from actorflow.flows.runs import Runs
from actorflow.flows.settings import RunOptions
from actorflow.flows.sinks import JsonLinesSink, Sink, TextLinesSink
from actorflow.flows.sources import IterableSource, JsonLinesSource, Source, TextLinesSource
from actorflow.graph.nodes import Batch, Parallel, Route, Send
from actorflow.graph.stage import Stage, stage
from actorflow.graph.steps import Steps
from actorflow.observe.flowlog import FlowLog
from actorflow.observe.history import History
from actorflow.policies import (
    Bulkhead,
    Cache,
    ChildSpec,
    CircuitBreaker,
    Deadline,
    Divert,
    Exponential,
    Fixed,
    RateLimit,
    Retry,
    Timeout,
)
from actorflow.runtime.actor import Actor
from actorflow.runtime.declare import DynamicSupervisor, Supervisor
from actorflow.runtime.ref import ActorRef
from actorflow.runtime.turn import Turn, current_turn
from actorflow.wire.registry import actor, message, register, upcast

__version__ = "0.1.0"


def run(async_main: _Callable[..., _Awaitable[_Any]], *args: _Any) -> _Any:
    """Run ``async_main(*args)`` under trio and return what it returns; for scripts."""
    return _trio.run(async_main, *args)


__all__ = [
    "Actor",
    "ActorFlowError",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "AskCycle",
    "AskDiverged",
    "AskError",
    "AskFailed",
    "AskTimeout",
    "Batch",
    "Bulkhead",
    "Cache",
    "ChildSpec",
    "Chunk",
    "CircuitBreaker",
    "CircuitOpenError",
    "CodecError",
    "CommitFailed",
    "CompilationError",
    "ConfigurationError",
    "Context",
    "DataError",
    "DeadLetter",
    "Deadline",
    "DeadlineExceeded",
    "DecodeError",
    "DeliveryError",
    "Divert",
    "Down",
    "DynamicSupervisor",
    "EncodeError",
    "Executor",
    "Exponential",
    "Failed",
    "Fixed",
    "FlowLog",
    "Future",
    "FutureCancelled",
    "FutureError",
    "FutureTimeout",
    "Graph",
    "Held",
    "History",
    "InsideTurn",
    "ItemResult",
    "IterableSource",
    "JsonLinesSink",
    "JsonLinesSource",
    "LeaseLost",
    "MailboxFull",
    "MergeConflictError",
    "MessageFailed",
    "MissingExtra",
    "MissingKey",
    "NotRunningError",
    "Observer",
    "OutboxFull",
    "Parallel",
    "Pipeline",
    "RateLimit",
    "Report",
    "RestartsExhausted",
    "ResumeError",
    "Retry",
    "Route",
    "Run",
    "RunDiff",
    "RunExistsError",
    "RunInUseError",
    "RunNotFoundError",
    "RunOptions",
    "RunStats",
    "Runs",
    "SchemaError",
    "SchemaTooNew",
    "Send",
    "Sink",
    "SinkChanged",
    "Source",
    "SourceChanged",
    "Stage",
    "StageError",
    "StashFull",
    "Steps",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoredError",
    "StrayCancelled",
    "SupervisionError",
    "Supervisor",
    "TextLinesSink",
    "TextLinesSource",
    "Timeout",
    "TooManyFailures",
    "TreeNode",
    "Turn",
    "TurnEnded",
    "TurnError",
    "TurnTimeout",
    "UncleanEnds",
    "UndeclaredKey",
    "UnknownRoute",
    "UsageError",
    "VersionMismatch",
    "WorkerDied",
    "actor",
    "current_turn",
    "message",
    "register",
    "run",
    "stage",
    "upcast",
]
