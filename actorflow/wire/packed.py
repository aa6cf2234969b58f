"""A value kept as the bytes that `encode` made of it.

Nobody can change it, and everybody who opens it gets a copy of their own. Written again,
the bytes go as they are. `codec.pack` makes one, `codec.unpack` opens it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Packed"]


@attrs.frozen
class Packed:
    """One value as bytes.

    Args:
        data: What `encode` wrote.
        resolve: Makes references from their paths when it is opened, instead of the
            registered way; what `decode` was given when it read the bytes around these.
    """

    data: bytes
    resolve: Callable[[str], Any] | None = attrs.field(default=None, eq=False, repr=False)
