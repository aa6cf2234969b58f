"""The root of the tree; what is declared, written or called wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "ActorFlowError",
    "CodecError",
    "CompilationError",
    "ConfigurationError",
    "DecodeError",
    "EncodeError",
    "InsideTurn",
    "MissingExtra",
    "NotRunningError",
    "TurnEnded",
    "UsageError",
    "shown",
]


def shown(error: object) -> str:
    """The `repr` of somebody else's exception, which may itself fail; at most 200 characters."""
    try:
        return f"{error!r:.200}"
    except Exception:
        return f"<{type(error).__name__}, whose repr() fails>"


class ActorFlowError(Exception):
    """Base of every error below; catch it to catch them all.

    Attributes:
        report: How the run stood that this has ended, a `Report`; else `None`.
    """

    report: Any = None


class ConfigurationError(ActorFlowError, ValueError):
    """An option was declared with a value that can never work.

    Attributes:
        option: Dotted name of the option, as the caller wrote it.
        got: The value given.
        wanted: What would have been accepted, as one noun phrase.
    """

    def __init__(self, option: str, got: object, wanted: str) -> None:
        super().__init__(f"{option} must be {wanted}, got {got!r:.200}")
        self.option = option
        self.got = got
        self.wanted = wanted


class CompilationError(ConfigurationError):
    """A flow is put together in a way that cannot work.

    Attributes:
        flow: Name of the flow.
        nodes: Names of the stages or actors concerned.
    """

    def __init__(self, flow: str, detail: str, nodes: Sequence[str] = ()) -> None:
        ActorFlowError.__init__(self, f"flow {flow!r}: {detail}")
        self.option = "flow"
        self.got = flow
        self.wanted = detail
        self.flow = flow
        self.nodes = tuple(nodes)


class MissingExtra(ConfigurationError, ImportError):
    """A feature needs a package that comes with an optional extra.

    Attributes:
        feature: What was asked for.
        extra: Name of the extra that brings the package.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        text = f"{feature} needs {package}; install it with: pip install 'actorflow[{extra}]'"
        ActorFlowError.__init__(self, text)
        self.option = feature
        self.got = None
        self.wanted = package
        self.feature = feature
        self.extra = extra


class CodecError(ActorFlowError):
    """A value and its bytes do not go together.

    Attributes:
        where: Path inside the value, such as ``body.items[3].price``; empty if unknown.
    """

    def __init__(self, detail: str, where: str = "") -> None:
        super().__init__(f"{where}: {detail}" if where else detail)
        self.where = where


class EncodeError(CodecError):
    """The value holds something that cannot be written as msgpack."""


class DecodeError(CodecError):
    """The bytes are damaged, too large, too deep or not ours."""


class UsageError(ActorFlowError, RuntimeError):
    """The right call at the wrong moment."""


class InsideTurn(UsageError):
    """A verb for the outside was used inside a turn, where it could wait for itself."""

    def __init__(self, verb: str, instead: str) -> None:
        super().__init__(f"{verb} inside a turn could wait for the turn itself; use {instead}")


class TurnEnded(UsageError):
    """A `Turn` was used after its turn."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: this Turn has ended; keep its values, not the Turn, "
            "or message the actor instead"
        )


class NotRunningError(UsageError):
    """The run or system has ended, or has not begun."""
