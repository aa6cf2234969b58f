"""What a supervisor decides: whether a child starts again, when, and who goes with it.

    a child ended ──► restart_wanted()    no ──► auto_shutdown()
                          yes
                           ▼
                      RestartBudget.record()    exhausted ──► escalate, stop or park
                           │
                           ▼
                      affected(): who is stopped, who is started
                      RestartDelay.next(): when

OTP's words in OTP's meaning. Pure: the runtime brings the time and carries it
out. *More than* `max_restarts` restarts within `window` seconds exhaust a budget.

Durations are seconds (float).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.policies.backoff import Backoff, Exponential, check_backoff
from actorflow.policies.kinds import check_policies
from actorflow.policies.machine import check_flag

__all__ = [
    "SPAWN_OPTIONS",
    "AutoShutdown",
    "ChildSpec",
    "OnExhausted",
    "RestartBudget",
    "RestartDelay",
    "RestartType",
    "Strategy",
    "affected",
    "as_call",
    "auto_shutdown",
    "restart_wanted",
]

RestartType: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
OnExhausted: TypeAlias = Literal["escalate", "stop", "park"]

_OVERFLOWS: Final = ("block", "fail", "drop_new", "drop_old")
_ISOLATIONS: Final = ("fields", "copy")

SPAWN_OPTIONS: Final[dict[str, Callable[[str, Any], object]]] = {
    "capacity": lambda option, value: options.count(option, value, least=0),
    "durable": check_flag,
    "effects": check_flag,
    "isolation": lambda option, value: options.choice(option, value, _ISOLATIONS),
    "overflow": lambda option, value: options.choice(option, value, _OVERFLOWS),
    "replace": check_flag,
}
"""Options of `spawn` that a child spec passes on as they are, and how each is checked."""

#: How a child without a backoff of its own is started again, from the second time on.
_DEFAULT_BACKOFF: Final = Exponential(0.1, max=30.0)


@attrs.frozen(init=False)
class ChildSpec:
    """How a supervisor starts one child, and when it starts it again.

    Args:
        id: Name of the child, unique within its supervisor.
        start: An `Actor` class or instance, a supervisor, or a callable that makes one.
        restart: `"permanent"`: always started again. `"transient"`: after a crash only.
            `"temporary"`: never.
        shutdown: Seconds that the child has to end before it is killed; 0 kills at once.
        significant: Its end may end the supervisor (`auto_shutdown`); not if permanent.
        policies: What happens to messages that fail.
        backoff: How long to wait before a restart; `None`: not at all before the first one, then
            ``Exponential(0.1, max=30)``.
        max_restarts: Most restarts of this child within *window*; `None`: the supervisor's.
        window: Seconds; `None`: the supervisor's.
        spawn_options: Those in `SPAWN_OPTIONS`, passed on to `spawn`.

    Raises:
        ConfigurationError: An option is out of range, unknown, or two contradict.
    """

    id: str
    start: Any
    restart: RestartType
    shutdown: float
    significant: bool
    policies: tuple[object, ...]
    backoff: Backoff | None
    max_restarts: int | None
    window: float | None
    options: dict[str, Any] = attrs.field(hash=False)

    def __init__(
        self,
        id: str,  # noqa: A002  # OTP's word, and pinned.
        start: Any,
        *,
        restart: RestartType = "permanent",
        shutdown: float = 5.0,
        significant: bool = False,
        policies: Sequence[object] = (),
        backoff: Backoff | None = None,
        max_restarts: int | None = None,
        window: float | None = None,
        **spawn_options: Any,
    ) -> None:
        where = f"child {options.name('ChildSpec.id', id)!r}"
        if start is None or isinstance(start, (str, bytes, int, float, list, tuple, dict, set)):
            wanted = "an Actor class or instance, a supervisor, or a callable that makes one"
            raise ConfigurationError(f"{where} start", start, wanted)
        options.choice(f"{where} restart", restart, get_args(RestartType))
        check_flag(f"{where} significant", significant)
        if significant and restart == "permanent":
            # As in OTP: a permanent child never ends by itself, so its end can mean nothing.
            wanted = "False for a permanent child; write restart='transient' or 'temporary'"
            raise ConfigurationError(f"{where} significant", significant, wanted)
        if backoff is not None:
            check_backoff(f"{where} backoff", backoff)
        options.known_names(where, spawn_options, tuple(SPAWN_OPTIONS))
        for name, value in spawn_options.items():
            SPAWN_OPTIONS[name](f"{where} {name}", value)
        self.__attrs_init__(
            id,
            start,
            restart,
            options.seconds(f"{where} shutdown", shutdown),
            significant,
            check_policies(where, policies),
            backoff,
            options.optional(options.count, f"{where} max_restarts", max_restarts, least=0),
            options.optional(options.seconds, f"{where} window", window, zero=False),
            spawn_options,
        )

    def __repr__(self) -> str:
        """As Python that makes it again, if *start* prints so; without what is as usual."""
        start = getattr(self.start, "__name__", None) or repr(self.start)
        fields = attrs.asdict(self, recurse=False, filter=lambda field, _: field.name in _USUAL)
        return as_call("ChildSpec", [repr(self.id), start], fields, _USUAL, self.options)


#: What a `ChildSpec` is if nobody says otherwise.
_USUAL: Final[dict[str, Any]] = {
    "restart": "permanent",
    "shutdown": 5.0,
    "significant": False,
    "policies": (),
    "backoff": None,
    "max_restarts": None,
    "window": None,
}


def as_call(
    name: str,
    positional: Sequence[str],
    given: Mapping[str, object],
    usual: Mapping[str, object],
    more: Mapping[str, object],
) -> str:
    """The text of a call; of what is *given*, only what is not as *usual*."""
    named = {key: value for key, value in given.items() if value != usual[key]}
    texts = [f"{key}={value!r}" for key, value in {**named, **more}.items()]
    return f"{name}({', '.join([*positional, *texts])})"


def restart_wanted(restart: RestartType, normal: bool) -> bool:
    """Whether a child that ended by itself is started again; *normal*: it did not crash."""
    return restart == "permanent" or (restart == "transient" and not normal)


def affected(
    strategy: Strategy, ids: Sequence[str], failed: str, temporary: Collection[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who goes with a child that is to be restarted.

    Args:
        strategy: `"one_for_one"`: only itself. `"one_for_all"`: all. `"rest_for_one"`: those
            that started after it, since they may depend on it.
        ids: Every child, in start order.
        failed: The one that ended, and for which `restart_wanted` said yes.
        temporary: The children among *ids* that are `"temporary"`.

    Returns:
        The others to stop, right to left (one that is down already needs no stopping), and all
        to start, left to right. Temporary ones are stopped, and not started again.
    """
    place = ids.index(failed)
    first, end = {
        "one_for_one": (place, place + 1),
        "one_for_all": (0, len(ids)),
        "rest_for_one": (place, len(ids)),
    }[strategy]
    if failed in temporary:
        return (), ()
    group = ids[first:end]
    stop = tuple(each for each in reversed(group) if each != failed)
    return stop, tuple(each for each in group if each not in temporary)


def auto_shutdown(
    mode: AutoShutdown, *, significant: bool, by_itself: bool, others_alive: bool
) -> bool:
    """Whether a supervisor ends because this child has ended and is not started again.

    Args:
        mode: The supervisor's `auto_shutdown`.
        significant: The child is.
        by_itself: It was not stopped by the supervisor, neither on request nor with a sibling.
        others_alive: Another significant child is alive.
    """
    if mode == "never" or not (significant and by_itself):
        return False
    return mode == "any_significant" or not others_alive


class RestartBudget:
    """Counts restarts, of a child or of a whole supervisor.

    Args:
        max_restarts: Most restarts within *window*; 0 or more.
        window: Seconds, above 0. A restart exactly so long ago still counts, as in OTP.

    Raises:
        ConfigurationError: An option is out of range.
    """

    __slots__ = ("_times", "max_restarts", "window")

    def __init__(self, max_restarts: int, window: float) -> None:
        self.max_restarts = options.count("max_restarts", max_restarts, least=0)
        self.window = options.seconds("window", window, zero=False)
        # One more than allowed is enough to know.
        self._times: deque[float] = deque(maxlen=self.max_restarts + 1)

    def record(self, now: float) -> bool:
        """Count a restart, and say whether that was one too many."""
        self._times.append(now)
        return self.used(now) > self.max_restarts

    def used(self, now: float) -> int:
        """Restarts that count now."""
        return sum(now - time <= self.window for time in self._times)

    def clear(self) -> None:
        """Forget all, as when an operator starts a parked child again."""
        self._times.clear()

    def dump(self, now: float) -> dict[str, Any]:
        """How long ago each restart was."""
        return {"ages": [now - time for time in self._times]}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        """Go on from *state*, dumped *elapsed* seconds ago."""
        self._times.clear()
        self._times.extend(now - age - max(0.0, elapsed) for age in state["ages"])


class RestartDelay:
    """How long a child waits before it is started again.

    Args:
        backoff: The child's or its supervisor's; `None`: the first restart is at once, the
            following as ``Exponential(0.1, max=30)``.
        window: After so many seconds up without a restart, counting starts anew.
    """

    __slots__ = ("_backoff", "_started_at", "restarts", "window")

    def __init__(self, backoff: Backoff | None, window: float) -> None:
        self._backoff = backoff
        self.window = window
        self.restarts = 0
        self._started_at = 0.0

    def next(self, now: float, draw: float) -> float:
        """Count a restart, and say in how many seconds it is due."""
        # From when it was started, not from when it crashed: waits longer than the window
        # would otherwise count as a quiet time.
        if now - self._started_at > self.window:
            self.restarts = 0
        self.restarts += 1
        delay = self._delay(draw)
        self._started_at = now + delay
        return delay

    def _delay(self, draw: float) -> float:
        if self._backoff is not None:
            return options.seconds("backoff.delay()", self._backoff.delay(self.restarts, draw))
        return 0.0 if self.restarts == 1 else _DEFAULT_BACKOFF.delay(self.restarts - 1, draw)

    def dump(self, now: float) -> dict[str, Any]:
        """The restarts so far, and how long the last one has been up; below 0: not yet."""
        return {"restarts": self.restarts, "up": now - self._started_at}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        """Go on from *state*, dumped *elapsed* seconds ago."""
        self.restarts = int(state["restarts"])
        self._started_at = now - state["up"] - max(0.0, elapsed)
