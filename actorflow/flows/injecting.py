"""Feed a run from inside: a handler asks for it, and the item is there when the turn commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.errors import ConfigurationError
from actorflow.flows.ledger import Ledger
from actorflow.graph.plan import Plan
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.telling import tell_accepted
from actorflow.stages.build import StageCell

__all__ = ["Injector"]


class Injector:
    """Which stages of a run can be fed, and how a turn feeds them.

    Args:
        plan: The flow.
        ledger: The run's account.
        stages: Its stages.

    Attributes:
        fed: Gets the number of each item that is fed from inside, if anybody must know them.
    """

    fed: set[int] | None = None

    def __init__(self, plan: Plan, ledger: Ledger, stages: Mapping[str, StageCell]) -> None:
        self._plan = plan
        self._ledger = ledger
        self._stages = stages

    def mailbox(self, stage: str | None, verb: str) -> Mailbox:
        """Of the stage that is to be fed; `None` is the first.

        Args:
            stage: Its name.
            verb: What feeds it; opens the error message.

        Raises:
            CompilationError: There is no such stage.
            ConfigurationError: It is in a branch that is joined with others.
        """
        name = self._plan.stage(stage or self._plan.entry).name
        mailbox: Mailbox = self._stages[name].mailbox
        joiner = self._ledger.joins.get(mailbox.path)
        if joiner is not None:
            wanted = f"a stage outside the branches that are joined in {joiner.stage!r}"
            raise ConfigurationError(f"{verb} stage", stage, wanted)
        return mailbox

    def feed(self, mailbox: Mailbox, item: Any) -> None:
        """Let *item* into the run; inside a commit, so that it is fed if the turn is done."""
        ledger = self._ledger
        envelope = Envelope(item, ledger.fed)
        envelope.born = ledger.kernel.now()
        if ledger.kernel.watched:
            tell_accepted(ledger, envelope, mailbox.path)
        if self.fed is not None:
            self.fed.add(ledger.fed)
        ledger.fed += 1
        inside = mailbox.accepted - mailbox.outside
        ledger.entrances.get(mailbox.path, mailbox).put(envelope)
        mailbox.outside = mailbox.accepted - inside
