"""What the cuts of a run add up to, if they are all that it has.

A store may hand out what it had a while ago, as a replica does that lags behind. Its messages
were handled since: to go on from there would do again what is done, and forget what came.
"""

from __future__ import annotations

from collections.abc import Sequence

from actorflow.errors import DecodeError, StoreCorrupt
from actorflow.wire.snapshot import Cut, fold, read_cut

__all__ = ["whole"]


def whole(url: str, run: str, cuts: Sequence[bytes], number: int) -> Cut | None:
    """The state after *cuts*; `None` if there are none, and there were none.

    Args:
        url: Of the store that gave them.
        run: Whose they are.
        cuts: From the last full one on.
        number: Of the last cut that the store has committed.

    Raises:
        StoreCorrupt: They cannot be read, or some are missing or come twice.
    """
    try:
        state = fold(map(read_cut, cuts)) if cuts else None
    except DecodeError as error:
        text = f"the checkpoint of run {run!r} cannot be read: {error}"
        raise StoreCorrupt(url, text) from error
    found = 0 if state is None else state.number
    if found < number:
        given = f"cut {found}" if found else "none"
        text = (
            f"it has committed cut {number} of run {run!r}, and the last that it gives is {given}"
        )
        raise StoreCorrupt(url, text)
    return state
