"""What goes into a flow and what comes out of it, as type variables.

Where nothing says what they are, as in ``Pipeline([fetch, parse])``, they are `Any`: a flow that
is not annotated is one that a type checker lets pass, and not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # Of the type checker's own; `default` is new in 3.13.

    In = TypeVar("In", default=Any)
    Out = TypeVar("Out", default=Any)
    Taken = TypeVar("Taken", default=Any)
else:
    from typing import TypeVar

    In = TypeVar("In")
    Out = TypeVar("Out")
    Taken = TypeVar("Taken")

__all__ = ["In", "Out", "Taken"]
