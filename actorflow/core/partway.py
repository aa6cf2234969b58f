"""How far a message has come inside one stage, where the stage has several steps.

    headers["actorflow.step"] = (name of the step that is next, how its value is kept, the value)
    emitted                   = how many steps are done

Both belong to the envelope and are in every cut, so a retry, and a restart, goes on at the
step that failed. `emitted` says whether there is a mark at all: whatever lets a message leave
its stage sets it to 0, and a header that is left over then means nothing. Handlers and results
never see the header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actorflow.core.envelope import STEP, Envelope

__all__ = ["mark", "marked", "visible"]


def mark(envelope: Envelope, done: int, name: str, packed: bytes | None, value: Any) -> None:
    """Note that *done* steps are done and that *name* is next, with *value*.

    Args:
        envelope: The message. Its headers are replaced, as others may have the old ones.
        done: How many steps are done; 1 or more.
        name: The next step.
        packed: The value's bytes, if it could be changed by who gets it.
        value: The value itself; not kept where there are bytes.
    """
    kept = ["packed", packed] if packed is not None else ["value", value]
    envelope.headers = {**(envelope.headers or {}), STEP: [name, *kept]}
    envelope.emitted = done


def marked(envelope: Envelope) -> tuple[str, bytes | None, Any] | None:
    """Name of the next step, and its value as bytes or as it is; `None` without a mark."""
    if not envelope.emitted or not envelope.headers or STEP not in envelope.headers:
        return None
    name, kept, value = envelope.headers[STEP]
    return (name, value, None) if kept == "packed" else (name, None, value)


def visible(headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """*headers* as people see them."""
    if headers is None:
        return {}
    if STEP not in headers:
        return headers
    return {key: value for key, value in headers.items() if key != STEP}
