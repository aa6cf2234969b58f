"""Every exception actorflow raises, in one tree.

    ActorFlowError
    ├── ConfigurationError (ValueError)     an option is wrong; raised when declared
    │   ├── CompilationError                a flow cannot work as it is put together
    │   ├── MissingExtra (ImportError)      an optional package is not installed
    │   └── UnknownRoute                    a stage sends to a route that is not there
    ├── CodecError
    │   ├── EncodeError                     a value cannot become bytes
    │   └── DecodeError                     bytes are not a value we wrote
    ├── DeliveryError
    │   ├── MailboxFull                     no room, and the caller chose not to wait
    │   ├── ActorStopped                    the actor has ended for good
    │   ├── OutboxFull                      one turn sends more than a turn may
    │   └── StashFull                       an actor stashes more than it may hold back
    ├── AskError
    │   ├── AskTimeout (TimeoutError)       no answer in time
    │   ├── AskFailed                       the message was given up; cause attached
    │   ├── AskCycle                        actors that ask each other in a circle
    │   └── AskDiverged                     a turn run again asks something else
    ├── TurnError                           an attempt ended without a value
    │   ├── TurnTimeout (TimeoutError)      ran longer than its timeout
    │   ├── DeadlineExceeded (TimeoutError) too late for another attempt
    │   ├── CircuitOpenError                the breaker is open and rejects
    │   ├── StrayCancelled                  the handler let a foreign Cancelled escape
    │   ├── WorkerDied                      the worker process ended under the message
    │   └── MessageFailed                   the handler gave it up with ctx.fail()
    ├── DataError                           the data of a flow is not what was asked for
    │   ├── MissingKey (KeyError)           a Context has no such key
    │   ├── UndeclaredKey                   a stage reads or writes what it does not declare
    │   ├── MergeConflictError              two branches wrote the same key
    │   └── SchemaError                     what a stage got or gave does not fit its schema
    ├── StageError                          an item was given up by a stage
    ├── FutureError                         a future gives no value
    │   ├── FutureTimeout (TimeoutError)    it was not done in time; the work goes on
    │   └── FutureCancelled                 it was cancelled, or its run has ended first
    ├── UncleanEnds                         a message that ends the process, again and again
    ├── SupervisionError
    │   ├── RestartsExhausted               more restarts than the budget allows
    │   └── TooManyFailures                 more dead letters than may be kept
    ├── StoreError                          what keeps runs cannot do what was asked
    │   ├── CommitFailed                    one commit did not happen, or nobody knows
    │   ├── StoreUnavailable                it did not answer within its deadline
    │   ├── StoreCorrupt                    what it holds cannot be read; nothing was changed
    │   ├── SchemaTooNew                    it was written by a later release
    │   └── LeaseLost                       another process has taken the run over
    ├── ResumeError                         a run cannot be gone on with as it is
    │   ├── RunInUseError                   somebody alive holds it
    │   ├── RunNotFoundError (LookupError)  there is no such run
    │   ├── RunExistsError                  there is one, and `resume="never"`
    │   ├── VersionMismatch                 another version of the flow began it
    │   └── SourceChanged                   its input is not what it was
    ├── StoredError                         an error of an earlier part, as the store has it
    └── UsageError (RuntimeError)           the right call at the wrong moment
        ├── SinkChanged                     an output is not what was written before
        ├── InsideTurn                      an outside verb used inside a turn
        ├── TurnEnded                       a `Turn` used after its turn
        └── NotRunningError                 the run or system has ended

Catch by type and read the attributes; the text is for people and may change.
"""

from actorflow.errors.base import (
    ActorFlowError,
    CodecError,
    CompilationError,
    ConfigurationError,
    DecodeError,
    EncodeError,
    InsideTurn,
    MissingExtra,
    NotRunningError,
    TurnEnded,
    UsageError,
    shown,
)
from actorflow.errors.data import (
    DataError,
    MergeConflictError,
    MissingKey,
    Problem,
    SchemaError,
    UndeclaredKey,
    UnknownRoute,
)
from actorflow.errors.messages import (
    ActorStopped,
    AskCycle,
    AskDiverged,
    AskError,
    AskFailed,
    AskTimeout,
    CircuitOpenError,
    DeadlineExceeded,
    DeliveryError,
    FutureCancelled,
    FutureError,
    FutureTimeout,
    MailboxFull,
    MessageFailed,
    OutboxFull,
    RestartsExhausted,
    StageError,
    StashFull,
    StrayCancelled,
    SupervisionError,
    TooManyFailures,
    TurnError,
    TurnTimeout,
    UncleanEnds,
    WorkerDied,
)
from actorflow.errors.stores import (
    CommitFailed,
    LeaseLost,
    ResumeError,
    RunExistsError,
    RunInUseError,
    RunNotFoundError,
    SchemaTooNew,
    SinkChanged,
    SourceChanged,
    StoreCorrupt,
    StoredError,
    StoreError,
    StoreUnavailable,
    VersionMismatch,
)

__all__ = [
    "ActorFlowError",
    "ActorStopped",
    "AskCycle",
    "AskDiverged",
    "AskError",
    "AskFailed",
    "AskTimeout",
    "CircuitOpenError",
    "CodecError",
    "CommitFailed",
    "CompilationError",
    "ConfigurationError",
    "DataError",
    "DeadlineExceeded",
    "DecodeError",
    "DeliveryError",
    "EncodeError",
    "FutureCancelled",
    "FutureError",
    "FutureTimeout",
    "InsideTurn",
    "LeaseLost",
    "MailboxFull",
    "MergeConflictError",
    "MessageFailed",
    "MissingExtra",
    "MissingKey",
    "NotRunningError",
    "OutboxFull",
    "Problem",
    "RestartsExhausted",
    "ResumeError",
    "RunExistsError",
    "RunInUseError",
    "RunNotFoundError",
    "SchemaError",
    "SchemaTooNew",
    "SinkChanged",
    "SourceChanged",
    "StageError",
    "StashFull",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoredError",
    "StrayCancelled",
    "SupervisionError",
    "TooManyFailures",
    "TurnEnded",
    "TurnError",
    "TurnTimeout",
    "UncleanEnds",
    "UndeclaredKey",
    "UnknownRoute",
    "UsageError",
    "VersionMismatch",
    "WorkerDied",
    "shown",
]
