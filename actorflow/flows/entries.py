"""What `map` answers: one entry for each item of its input, in their order.

results ──► by number ──► entries        those that handlers fed with `ctx.feed` have
                                         numbers too, between the others, and no entry
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from actorflow.flows.results import ItemResult

__all__ = ["Entries"]


class Entries:
    """The results of one `map`.

    Args:
        many: Whether each entry is a list, however many values an item has.
        inner: Numbers of the items that were fed from inside.
    """

    def __init__(self, *, many: bool, inner: Container[int]) -> None:
        self._many = many
        self._inner = inner
        self._found: dict[int, list[ItemResult[Any]]] = {}

    def add(self, result: ItemResult[Any]) -> None:
        """One result; an item may have several."""
        if result.number not in self._inner:
            self._found.setdefault(result.number, []).append(result)

    def values(self, fed: int) -> tuple[list[Any], list[Exception]]:
        """An entry for each item of the input, and the errors that are among them.

        Args:
            fed: How many items there were in all. Not all have results: of a batch only one may.
        """
        values: list[Any] = []
        failures: list[Exception] = []
        for number in range(fed):
            if number in self._inner:
                continue
            own = self._found.get(number, [])
            failed = next((each for each in own if each.status == "failed"), None)
            if failed is not None:
                failures.append(failed.stage_error())
                values.append(failures[-1])
                continue
            outputs = [each.value for each in own if each.ok]
            if self._many or len(outputs) > 1:
                values.append(outputs)
            else:
                values.append(outputs[0] if outputs else None)
        return values, failures
