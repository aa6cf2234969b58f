"""What a simulated system lives in: time, chance, a disk, and whoever remembers.

Everything here outlives the process but `random`, which draws the same in each life, as a
program that is started again has the same input. At a death it is all as it was at that
instant: what still runs in the dead process changes nothing.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from actorflow.durability.careful import LIMIT
from actorflow.durability.memory import MemoryDisk
from actorflow.errors import ConfigurationError
from actorflow.flows.results import ItemResult
from actorflow.flows.stored import read_result
from actorflow.runtime.ports import VIRTUAL_EPOCH
from actorflow.testing.disk import Contents, SimStore, put_back
from actorflow.testing.history import History
from actorflow.testing.laws import Promised, broken_on_disk, held_on_disk
from actorflow.testing.moves import Move

__all__ = ["ProcessDied", "WallClock", "World"]

#: What a world may have of a user's.
WANTED = (
    "something that copy.deepcopy can copy, as a death leaves it as it is then; what cannot be "
    "copied, such as a lock or a connection, needs a __deepcopy__, or a place outside of the world"
)


class ProcessDied(BaseException):
    """The process is dead; what still sees this is no more than its ghost."""


class WallClock:
    """The clock on the wall, which people and programs set.

    It goes with virtual time, over all lives.
    """

    def __init__(self) -> None:
        self._ahead = VIRTUAL_EPOCH
        self._life: Any = None

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._ahead + (0.0 if self._life is None else float(self._life.now()))

    def jump(self, seconds: float) -> None:
        """Set it *seconds* forth, or back with a number below 0."""
        if self._life is None or not self._life.dead:
            self._ahead += seconds


class World:
    """The world of one simulation, handed to ``main(world)`` in each life.

    Attributes of your own that are set on it survive a death too, as they were at that
    instant: a payment provider, a file, whatever is not the process.

    Attributes:
        seed: Of the simulation.
        clock: The clock on the wall.
        history: What the outside was told and has seen.
        outside: What else is outside of the process.
        life: Which life this is, from 1.
        lost: How many commits the disk has lost that it had acknowledged.
        moves: What has happened to messages, over all lives.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random: random.Random | None = None
        self.clock = WallClock()
        self.history = History(lambda: (self.life, self._life.now()))
        self.outside: dict[Any, Any] = {}
        self.life = self.lost = 0
        self.moves: list[Move] = []
        self._promised = Promised()
        self._disk = MemoryDisk()
        self._life: Any = None
        self._kept: dict[str, Any] | None = None
        self._lines = 0
        #: The policies by the paths of the mailboxes that they are for.
        self._chains: dict[str, Any] = {}
        #: How the lives before this one ended. Chance and scheduling go by it, so that those who
        #: find the same disk, but not at the same moment, do not all go the same way.
        self.past = str(seed)

    @property
    def random(self) -> random.Random:
        """Draws for ``main``, the same in each life."""
        if self._random is None:
            self._random = random.Random(f"{self.seed}/main")
        return self._random

    @property
    def store(self) -> SimStore:
        """A store of this process on the disk; another one each time, as a file may be opened
        more than once. After a death it refuses everything."""
        life = self._life
        store = SimStore(
            self._disk, life.commits, life.die, life.note, self._forget, dead=life.dead
        )
        life.stores[id(store)] = store
        return store

    def results(self, run: str) -> list[ItemResult[Any]]:
        """The results of *run* that are on the disk now, in the order of their completion."""
        kept = self._disk._runs.get(run)
        return [] if kept is None else [read_result(row) for row in kept.results]

    def crash(self) -> NoReturn:
        """The process dies here, as by ``kill -9``; `main` begins anew on what the disk has."""
        self._life.die()
        raise ProcessDied

    # For the laboratory ---------------------------------------------------------------

    def _snapshot(self, past: str) -> World:
        """Another world, that is as this one is now and in which the process is dead."""
        other = World(self.seed)
        put_back(other._disk, self._disk._runs)
        other.history._lines, other.moves = list(self.history), self.moves.copy()
        other.clock._ahead = self.clock.time()
        vars(other).update(self._copied())
        other.past, other._chains = past, self._chains
        other.lost, other._promised = self.lost, self._promised
        return other

    def _begin(self, life: Any) -> None:
        """Another process begins."""
        self.life, self._life = life.number, life
        self._random = None
        self.clock._life = life

    def _broken(self) -> list[str]:
        """What does not hold of the disk as it is now."""
        limits = {
            path: 1 if chain is None or chain.retry is None else chain.retry.max_attempts
            for path, chain in self._chains.items()
        }
        if self.past != str(self.seed):  # An end that was not clean may cost one more,
            limits = {path: max(limit, LIMIT) + 1 for path, limit in limits.items()}
        stashed = Counter((it.path, it.message) for it in self.moves if it.kind == "stashed")
        more: dict[str, int] = {}
        for (path, _), times in stashed.items():  # and so does each stash.
            more[path] = max(more.get(path, 0), times)
        limits = {path: limit + more.get(path, 0) for path, limit in limits.items()}
        return broken_on_disk(self._disk, self.history, limits, self._promised)

    def _has(self, run: str) -> bool:
        """Whether the disk has the run or the system with this id."""
        return run in self._disk._runs or f"system:{run}" in self._disk._runs

    def _forget(self, run: str) -> None:
        """*run* was deleted on purpose: nothing of it was promised."""
        self.history._note("deleted", run)

    def _over(self) -> None:
        """The program has come to its end: that, and what of it the disk has."""
        recording = self._life.recording
        for run in self._disk._runs:
            for box, message in held_on_disk(self._disk, run):
                recording.note("kept", box, message)
        recording.note("over", "/", "")

    def _died(self, undo: Sequence[Contents], *, excused: bool) -> None:
        """Take down what there is now, of which the disk has lost what came after the first of
        *undo*; where that is *excused*, nothing of it was promised."""
        if undo:
            put_back(self._disk, undo[0])
            self.lost += len(undo)
            if excused:
                self._promised = Promised.from_now(self._disk, self.history)
                self._life.recording.note("lost", "/", "")
        self._lines = len(self.history)
        self._kept = self._copied()

    def _copied(self) -> dict[str, Any]:
        """What is outside of the process, as it is now.

        Raises:
            ConfigurationError: Something of it cannot be copied.
        """
        mine = {name: value for name, value in vars(self).items() if name not in _OURS}
        try:
            return copy.deepcopy(mine)
        except Exception as error:
            outside = mine.pop("outside")
            named = {f"world.{name}": value for name, value in mine.items()}
            if isinstance(outside, dict):
                named |= {f"world.outside[{name!r}]": value for name, value in outside.items()}
            where, value = next(filter(_stays, named.items()), ("world.outside", outside))
            raise ConfigurationError(where, value, f"{WANTED} ({error})") from error

    def _end(self, seconds: float) -> None:
        """The process is gone."""
        self.clock._ahead += seconds
        self.clock._life = None
        if self._kept is not None:
            for name in vars(self).keys() - _OURS:
                delattr(self, name)
            vars(self).update(self._kept)
            del self.history._lines[self._lines :]
            self._kept = None


def _stays(named: tuple[str, Any]) -> bool:
    """Whether it cannot be copied."""
    try:
        copy.deepcopy(named[1])
    except Exception:
        return True
    return False


_OURS = frozenset(vars(World(0))) - {"outside"}
