"""Circuit breakers: what fails again and again is left alone for a while.

    acquire ─► permit ─► the call ─► succeeded / failed / released ─┐
        ▲                                                           ▼
        └───────── look (closed, open, half open) ◄──────── table of transitions ──► listeners

:data:`TRANSITIONS` is the whole of the rules; :class:`Circuit` is a value, and what happens to it
are functions of it.  :class:`CircuitBreaker` is a lock around one such value.

*Guarantees.*  At most ``half_open_max_calls`` probes are in flight, however many threads ask.
What a call comes to counts only in the state in which it was let in: one that began before the
breaker opened says nothing about what it guards now.  Listeners are called outside the lock, in the
order of the changes, one at a time; one that raises is logged and stops nothing.

*Assumptions.*  Whoever has a permit gives it back once, also when the call was given up.

The idea is Michael Nygard's (*Release It!*); the names of the fields are
pyspark-pipeline-framework's.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, NamedTuple, TypeVar

from parsl_ckpt.errors import CircuitBreakerOpenError, ConfigurationError
from parsl_ckpt.kernel.checked import Checked, number, whole
from parsl_ckpt.kernel.retrying import mendable

logger = logging.getLogger(__name__)
T = TypeVar("T")


class CircuitState(str, enum.Enum):
    """The states of a breaker; each equals its name."""

    CLOSED = "closed"  # calls go through
    OPEN = "open"  # calls are refused
    HALF_OPEN = "half_open"  # a few go through, to see whether all may again

    def __str__(self) -> str:
        return self.value


FAILURES, TIMEOUT, FAILED_PROBE, SUCCESSES, RESET = (
    "enough failures", "the time is over", "a probe failed", "enough successes", "reset",
)  # fmt: skip

TRANSITIONS: Mapping[CircuitState, Mapping[str, CircuitState]] = {
    CircuitState.CLOSED: {FAILURES: CircuitState.OPEN},
    CircuitState.OPEN: {TIMEOUT: CircuitState.HALF_OPEN, RESET: CircuitState.CLOSED},
    CircuitState.HALF_OPEN: {
        FAILED_PROBE: CircuitState.OPEN,
        SUCCESSES: CircuitState.CLOSED,
        RESET: CircuitState.CLOSED,
    },
}


@dataclass(frozen=True)
class CircuitBreakerConfig(Checked):
    """When a breaker opens, and when it closes again.

    Attributes:
        failure_threshold: how many failures in a row open it.
        success_threshold: how many successful probes close it.
        timeout_seconds: how long it stays open before probes are let through.
        half_open_max_calls: how many probes may be in flight at once.

    Raises:
        ConfigurationError: a field has a value that cannot be.

    >>> CircuitBreakerConfig(failure_threshold=3).timeout_seconds
    60.0
    """

    failure_threshold: int = 5
    success_threshold: int = 2
    timeout_seconds: float = 60.0
    half_open_max_calls: int = 1

    _checks = {  # noqa: RUF012
        "failure_threshold": whole(1),
        "success_threshold": whole(1),
        "timeout_seconds": number(0, above=True),
        "half_open_max_calls": whole(1),
    }

    def __post_init__(self) -> None:
        self._check()


class Circuit(NamedTuple):
    """What is known of a circuit.

    Attributes:
        state: where it is in the table.
        failures: failures in a row, while it is closed.
        successes: successful probes, while it is half open.
        probes: probes in flight.
        opened: when it opened.
        era: counts the changes of the state; a permit of an earlier one tells nothing any more.
    """

    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    successes: int = 0
    probes: int = 0
    opened: float = 0.0
    era: int = 0


def moved(circuit: Circuit, event: str, now: float) -> Circuit:
    """The circuit after an event of the table; the same one where the table has nothing to say."""
    state = TRANSITIONS[circuit.state].get(event)
    if state is None:
        return circuit
    return Circuit(state, opened=now, era=circuit.era + 1)


def looked_at(circuit: Circuit, config: CircuitBreakerConfig, now: float) -> Circuit:
    """The circuit as it is at a time: one that has been open for long enough is half open."""
    if circuit.state is CircuitState.OPEN and now - circuit.opened >= config.timeout_seconds:
        return moved(circuit, TIMEOUT, now)
    return circuit


def entered(circuit: Circuit, config: CircuitBreakerConfig) -> Circuit | None:
    """The circuit after one more call was let in; None if it may not be."""
    if circuit.state is CircuitState.CLOSED:
        return circuit
    if circuit.state is CircuitState.OPEN or circuit.probes >= config.half_open_max_calls:
        return None
    return circuit._replace(probes=circuit.probes + 1)


def left(
    circuit: Circuit, config: CircuitBreakerConfig, era: int, good: bool | None, now: float
) -> Circuit:
    """The circuit after a call has ended that was let in in an era.

    Args:
        circuit: before.
        config: its thresholds.
        era: of the permit.
        good: whether the call succeeded; None if it says nothing, because it was given up.
        now: the time.
    """
    if era != circuit.era:
        return circuit
    if circuit.state is CircuitState.HALF_OPEN:
        circuit = circuit._replace(probes=circuit.probes - 1)
        if good is None:
            return circuit
        if not good:
            return moved(circuit, FAILED_PROBE, now)
        circuit = circuit._replace(successes=circuit.successes + 1)
        enough = circuit.successes >= config.success_threshold
        return moved(circuit, SUCCESSES, now) if enough else circuit
    if good is None:
        return circuit
    if good:
        return circuit._replace(failures=0) if circuit.failures else circuit
    circuit = circuit._replace(failures=circuit.failures + 1)
    enough = circuit.failures >= config.failure_threshold
    return moved(circuit, FAILURES, now) if enough else circuit


Listener = Callable[[str, CircuitState, CircuitState], object]
Run = Callable[[Callable[[], None]], object]


def _at_once(call: Callable[[], None]) -> None:
    call()


def _wrong(field: str, value: object, what: str) -> ConfigurationError:
    return ConfigurationError(f"CircuitBreaker: {field} is {value!r:.80}, {what}.", field=field)


class Permit:
    """The right to make one call, which is told what the call came to; the first word counts."""

    __slots__ = ("_breaker", "_era", "_given_back", "_run")

    def __init__(self, breaker: CircuitBreaker, era: int, run: Run) -> None:
        self._breaker = breaker
        self._era = era
        self._run = run
        self._given_back = threading.Lock()  # taken by the first who says something

    def succeeded(self) -> None:
        """The call has succeeded."""
        self._give_back(True)

    def failed(self) -> None:
        """The call has failed."""
        self._give_back(False)

    def released(self) -> None:
        """The call was given up, or failed for a reason that says nothing of what is guarded."""
        self._give_back(None)

    def ended(self, error: BaseException | None) -> None:
        """The call has ended with an error, or with none."""
        self._give_back(True if error is None else False if mendable(error) else None)

    def _give_back(self, good: bool | None) -> None:
        if self._given_back.acquire(False):
            self._breaker._left(self._era, good, self._run)


class CircuitBreaker:
    """Guards something that several threads call.

    Args:
        config: when it opens and closes; None for the defaults.
        name: what it is called in errors and by listeners.
        on_state_change: called as ``on_state_change(name, old, new)``; see :meth:`subscribe`.
        clock: gives the time in seconds; it never goes backwards.

    Raises:
        ConfigurationError: an argument is not what it has to be.

    >>> breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1), "db")
    >>> breaker.call(lambda: "fine")
    'fine'
    >>> breaker.acquire().failed()
    >>> breaker.state is CircuitState.OPEN
    True
    """

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        name: str = "default",
        on_state_change: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(config, (CircuitBreakerConfig, type(None))):
            what = "no CircuitBreakerConfig; a name is given as name="
            raise _wrong("config", config, what)
        if not isinstance(name, str):
            raise _wrong("name", name, "no text")
        if on_state_change is not None and not callable(on_state_change):
            raise _wrong("on_state_change", on_state_change, "no function")
        if not callable(clock):
            raise _wrong("clock", clock, "no function")
        self.config = config or CircuitBreakerConfig()
        self.name = name
        self._clock = clock
        self._circuit = Circuit()
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = (on_state_change,) if on_state_change else ()
        self._news: deque[tuple[CircuitState, CircuitState]] = deque()
        self._telling = threading.Lock()

    @property
    def state(self) -> CircuitState:
        """Where it is now."""
        return self._look().state

    @property
    def failure_count(self) -> int:
        """Failures in a row, while it is closed."""
        return self._look().failures

    @property
    def probes(self) -> int:
        """Probes in flight."""
        return self._look().probes

    @property
    def time_until_reset(self) -> float:
        """Seconds until an open breaker lets probes through; 0 if it is not open."""
        circuit = self._look()
        if circuit.state is not CircuitState.OPEN:
            return 0.0
        return max(circuit.opened + self.config.timeout_seconds - self._clock(), 0.0)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener(name, old, new)`` called at every change of the state from now on.

        Returns:
            A function that ends the subscription.

        Raises:
            ConfigurationError: it is no function.
        """
        if not callable(listener):
            raise _wrong("listener", listener, "no function")
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return unsubscribe

    def try_acquire(self, run: Run = _at_once) -> Permit | None:
        """The right to make one call; None if it is refused.

        Args:
            run: makes the calls of listeners that this, or what the call comes to, brings about.
        """
        with self._lock:
            now = self._clock()
            before = self._circuit
            circuit = looked_at(before, self.config, now)
            after = entered(circuit, self.config)
            self._set(after or circuit)
            permit = None if after is None else Permit(self, after.era, run)
        self._tell(run)
        return permit

    def acquire(self) -> Permit:
        """The right to make one call.

        Raises:
            CircuitBreakerOpenError: there is none now.
        """
        permit = self.try_acquire()
        if permit is None:
            raise self.refusal()
        return permit

    def refusal(self, app: str = "") -> CircuitBreakerOpenError:
        """The error of a call that is refused, for whoever makes the call."""
        state, seconds = self.state, self.time_until_reset
        if state is CircuitState.OPEN:
            why = "is open after failures in a row"
            hint = f"Probes are let through in {seconds:.1f} seconds."
        else:
            why = "is half open, and as many probes as it lets through are under way"
            hint = "Call again when they have ended."
        what = f"{app} was not called" if app else "A call was not made"
        return CircuitBreakerOpenError(
            f"{what}: the circuit breaker {self.name!r} {why}.",
            hint=hint,
            app=app,
            breaker=self.name,
            state=state.value,
            time_until_reset=seconds,
        )

    def call(self, function: Callable[[], T]) -> T:
        """Make a call, if it is let through.

        Returns:
            What the function returns.

        Raises:
            CircuitBreakerOpenError: it was not let through.
            ConfigurationError: it is no function, or gives a coroutine, of which nobody here would
                see whether it fails.
            BaseException: what the function raised.
        """
        if not callable(function):
            told = f"CircuitBreaker: call() was given {function!r:.80}, no function."
            raise ConfigurationError(told, field="function")
        permit = self.acquire()
        try:
            value = function()
        except BaseException as error:
            permit.ended(error)
            raise
        if isinstance(value, CoroutineType):
            value.close()
            permit.released()
            raise ConfigurationError(
                f"CircuitBreaker: call() was given {function!r:.80}, which gives a coroutine.",
                hint="Await it between permit = breaker.acquire() and permit.ended(error).",
                field="function",
            )
        permit.succeeded()
        return value

    def reset(self) -> None:
        """Close it, whatever is known."""
        with self._lock:
            circuit = moved(self._circuit, RESET, self._clock())
            self._set(circuit._replace(failures=0))
        self._tell()

    def __reduce__(self) -> tuple[Any, ...]:
        # It stays where calls are decided on; what arrives elsewhere is a closed one.
        return CircuitBreaker, (self.config, self.name)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}>"

    def _look(self) -> Circuit:
        # Changes nothing, so that nobody is told at a look: the next call that is let in is.
        return looked_at(self._circuit, self.config, self._clock())

    def _left(self, era: int, good: bool | None, run: Run) -> None:
        with self._lock:
            self._set(left(self._circuit, self.config, era, good, self._clock()))
        self._tell(run)

    def _set(self, circuit: Circuit) -> None:
        """*Locked.*"""
        before, self._circuit = self._circuit, circuit
        if circuit.era != before.era:
            self._news.append((before.state, circuit.state))

    def _tell(self, run: Run = _at_once) -> None:
        if self._news:
            run(self._deliver)

    def _deliver(self) -> None:
        """Tell the listeners, unless another thread (or a listener's own call) is at it."""
        while self._news and self._telling.acquire(False):
            try:
                while self._news:
                    old, new = self._news.popleft()
                    for listener in self._listeners:
                        try:
                            listener(self.name, old, new)
                        except Exception:
                            logger.exception("A listener of circuit breaker %r raised.", self.name)
            finally:
                self._telling.release()
