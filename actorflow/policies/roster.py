"""The machines of one chain: which policy means which machine.

    plain                 one of the chain's own, for all its workers
    per_worker=True       one for each worker
    shared="name"         the system's: one per kind and name, whoever asks

Each has a label, under which a snapshot keeps its state: the kind and a number,
and the worker's number where each has its own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from actorflow.errors import ConfigurationError
from actorflow.policies.kinds import kind_of
from actorflow.policies.machine import Machine

__all__ = ["Roster", "is_per_worker"]

_METHODS: Final = ("ready", "take", "record", "dump", "load")


class Roster:
    """Makes machines when they are first asked for, and finds them again.

    Args:
        where: What to call the chain in errors.
        shared: The machines of the whole system; missing ones are put in.
    """

    __slots__ = ("_machines", "_shared", "_where")

    def __init__(self, where: str, shared: dict[str, Machine]) -> None:
        self._where = where
        self._shared = shared
        self._machines: dict[str, Machine] = {}

    def find(self, policy: Any, label: str, worker: int = 0) -> Machine | None:
        """The machine of *policy*, for *worker*; `None` if it needs none.

        Raises:
            ConfigurationError: It cannot be a machine, or its shared name is used otherwise.
        """
        if is_per_worker(policy):
            label = f"{label}.{worker}"
        if label in self._machines:
            return self._machines[label]
        shared = getattr(policy, "shared", None) is not None
        machine: Machine | None = self._find_shared(policy) if shared else policy.machine()
        if machine is not None:
            self._check(policy, machine)
            self._machines[label] = machine
        return machine

    def _find_shared(self, policy: Any) -> Machine | None:
        kind = kind_of(policy).__name__
        name = f"{kind}/{policy.shared}"
        machine: Machine | None = self._shared.get(name)
        if machine is None:
            machine = policy.machine()
            if machine is not None:
                self._shared[name] = machine
        elif (first := getattr(machine, "policy", policy)) != policy:
            wanted = f"declared as where shared={policy.shared!r} was first used: {first!r:.200}"
            raise ConfigurationError(f"{self._where} {kind}", policy, wanted)
        if machine in self._machines.values():
            wanted = f"a list that uses shared={policy.shared!r} once"
            raise ConfigurationError(f"{self._where} policies", policy, wanted)
        return machine

    def _check(self, policy: object, machine: object) -> None:
        lacks = [each for each in _METHODS if not callable(getattr(machine, each, None))]
        if lacks or not hasattr(machine, "calm"):
            wanted = f"a machine with calm, {', '.join(_METHODS)}"
            option = f"{self._where} {type(policy).__name__}.machine()"
            raise ConfigurationError(option, machine, wanted)

    def change(self, labels: Collection[str], policy: object, now: float) -> None:
        """Put the machines of *labels*, those of all workers, under *policy*.

        Raises:
            ConfigurationError: A machine cannot be changed live; then none has been.
        """
        machines: list[Any] = [
            machine
            for own, machine in self._machines.items()
            if any(own == each or own.startswith(f"{each}.") for each in labels)
        ]
        if not all(callable(getattr(each, "change", None)) for each in machines):
            wanted = "one whose machine has change(policy, now)"
            raise ConfigurationError(f"{self._where} policy", policy, wanted)
        for machine in machines:
            machine.change(policy, now)

    def __bool__(self) -> bool:
        """Whether there is any machine."""
        return bool(self._machines)

    def forget(self, label: str) -> None:
        """Drop a machine that is no longer meant."""
        self._machines.pop(label, None)

    def dump(self, now: float) -> dict[str, Any]:
        return {label: machine.dump(now) for label, machine in self._machines.items()}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        for label, machine in self._machines.items():
            if label in state:
                machine.load(state[label], now, elapsed)


def is_per_worker(policy: object) -> bool:
    """Whether each worker has a machine of its own."""
    return getattr(policy, "per_worker", False) is True
