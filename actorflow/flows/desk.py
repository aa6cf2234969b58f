"""Where results become those of futures, and where futures are cancelled.

    ledger ──► Desk ──► Future          of the item of that number, if it has one
    Future ──► Desk ──► withdraw        out of the mailbox where its message waits
                   └──► cut_short       or the turn that has it

A desk is one more tap of a run, beside those of `results` and of the sink. It keeps a
future while its item is held, and no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.errors import FutureCancelled
from actorflow.flows.futures import Future
from actorflow.flows.taps import NO_RESULT, Tap
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.withdraw import cut_short, withdraw
from actorflow.stages.build import StageCell

__all__ = ["Desk"]


class Desk(Tap):
    """The futures of one run's items.

    Args:
        stage: Name of the stage whose values come out.
        kernel: The run's services.
        stages: Its stages.
        many: Whether an item gives a list, however many values it has.
        refuse: Raises `InsideTurn` in a turn of the run.
        on_taken: Called when results have left, so that feeding may go on.
    """

    __slots__ = ("_kernel", "_open", "_stages", "many", "path", "refuse_inside")

    def __init__(
        self,
        stage: str,
        *,
        kernel: Kernel,
        stages: Mapping[str, StageCell],
        many: bool,
        refuse: Callable[[str], None],
        on_taken: Callable[[], None],
    ) -> None:
        self.path = f"/{kernel.name}"
        self.many = many
        self.refuse_inside = refuse
        self._kernel = kernel
        self._stages = stages
        self._open: dict[int, Future[Any]] = {}
        super().__init__(
            stage,
            ordered=False,
            values_only=False,
            first=0,
            on_taken=on_taken,
            journal=kernel.journal,
        )

    def noted(self, future: Future[Any], envelope: Envelope) -> None:
        """The item of *future* is about to be in the run, as *envelope*."""
        future.accepted(envelope)
        self._open[future.id] = future

    def cancel(self, envelope: Envelope) -> bool | None:
        """Take *envelope* back, which answers true, or its turn is cut short; `None` if it is in
        neither place."""
        for stage in self._stages.values():
            if withdraw(stage.mailbox, envelope):
                return True
            for cell in stage.cells:
                if cell.lease is envelope:
                    cut_short(cell)
                    return False
        return None

    def take_back(self) -> None:
        """Cancel what waits; what runs is not tried again."""
        now = self._kernel.now()
        for stage in self._stages.values():
            for cell in stage.cells:
                if cell.lease is not None:
                    cell.lease.deadline = now
        running = {cell.lease for stage in self._stages.values() for cell in stage.cells}
        for future in tuple(self._open.values()):
            if future.envelope not in running:
                future.cancel()

    def report(self, what: str, error: BaseException) -> None:
        """Log and count a failure that nobody has asked for."""
        self._kernel.report(self.path, what, error)

    # As a tap ---------------------------------------------------------------------------

    def push(self, number: int, result: Any, ended: bool) -> None:
        """One result of item *number*, or `NO_RESULT`; *ended*: it was its last."""
        future = self._open.get(number)
        if future is None:
            return
        if result is not NO_RESULT:
            future.add(result)
        if ended:
            del self._open[number]
            self._arrive((future,))
            self._hand_out()

    def _settle(self, number: int) -> None:
        super()._settle(number)
        if self._ready:
            self._hand_out()
            self.on_taken()

    def _hand_out(self) -> None:
        while self._ready:
            self._ready.popleft().finish()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        super().close(error)
        left, self._open = self._open, {}
        self._lose(left.values(), error)

    def forsake(self) -> None:
        """What is not on disk by now will not be."""
        left = [future for _, future in self._unsettled]
        super().forsake()
        self._lose(left, self.error)

    def _lose(self, futures: Iterable[Future[Any]], error: BaseException | None) -> None:
        for future in futures:
            lost = FutureCancelled(self.path, future.id, "its run has ended before it")
            lost.__cause__ = error
            future.fail(lost)
