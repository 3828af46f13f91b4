"""One run of a pipeline, conducted by the thread that called ``run()``.

    hooks ◄── conductor ── ready ─► breaker? ─► stage.launch ─► kernel, executors ─┐
                 ▲  │                                                              │
                 │  └─ retry: due later ─► ready                                   │
                 └──────────────────── inbox: futures that are done ◄──────────────┘

*Guarantees.*  Everything that is decided, and every hook, is on this one thread. A component is
begun when all that it depends on has succeeded, so independent ones run side by side; while an
attempt waits to be repeated it holds no worker. Each component has one result. Whatever ends the
run early, what had begun is cancelled, or waited for, and told.

*Assumptions.*  A future that the stage has launched is done some day.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from parsl_ckpt.errors import ProgressError
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig, Permit
from parsl_ckpt.pipeline.hooks import tell
from parsl_ckpt.pipeline.result import ComponentResult, ComponentStatus

if TYPE_CHECKING:
    from parsl_ckpt.pipeline.completed import RunStart
    from parsl_ckpt.pipeline.config import ComponentConfig, PipelineConfig

SLICE = 0.5  # Ctrl-C in the instant before a wait is noticed after so many seconds


class Launching(Protocol):
    """What the conductor needs of :class:`~parsl_ckpt.pipeline.staging.Stage`."""

    def lineage(self, name: str) -> str | None: ...
    def recorded(self, one: ComponentConfig) -> str | None: ...
    def value(self, one: ComponentConfig) -> Future[Any] | None: ...
    def wants_inputs(self, one: ComponentConfig) -> bool: ...
    def launch(
        self, one: ComponentConfig, inputs: Mapping[str, Future[Any]], unknown: Sequence[str]
    ) -> Future[Any]: ...
    def failure(self, one: ComponentConfig, error: BaseException) -> BaseException: ...
    def file(self, one: ComponentConfig, future: Future[Any]) -> None: ...


@dataclass
class Part:
    """What is known of one component while the run goes on.

    Attributes:
        config: the component.
        index: its place among those that are enabled.
        missing: how many of its dependencies are not over.
        dependants: who waits for it.
        waiting: how many of these are not over.
        blame: because of what it cannot run.
        attempts: how many have begun.
        began: when the first one did.
        future: of the attempt under way; of its value once it has succeeded.
        permit: what its breaker has let it through with.
        error: what the last attempt raised.
        result: what has become of it; None before.
    """

    config: ComponentConfig
    index: int
    missing: int
    dependants: list[Part] = field(default_factory=list)
    waiting: int = 0
    blame: str | None = None
    attempts: int = 0
    began: float = 0.0
    future: Future[Any] | None = None
    permit: Permit | None = None
    error: BaseException | None = None
    result: ComponentResult | None = None

    @property
    def name(self) -> str:
        return self.config.name


class Conductor:
    """Runs the components of a pipeline.

    Args:
        config: the pipeline; nothing is wrong with its graph.
        stage: what runs components.
        hooks: who is told.
        start: what is inherited.
        fail_fast: begin nothing more after a failure.
        clock: gives seconds that never go backwards.
        sleep: waits before another attempt, and for nothing else; None to wait for all there is.
        breakers: of the components, by name; those that are missing are made.

    Attributes:
        refusal: why progress cannot be recorded any more, or None.
    """

    def __init__(
        self,
        config: PipelineConfig,
        stage: Launching,
        hooks: Any,
        start: RunStart,
        *,
        fail_fast: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        breakers: dict[str, CircuitBreaker] | None = None,
    ) -> None:
        self._stage = stage
        self._hooks = hooks
        self._start = start
        self._fail_fast = fail_fast
        self._clock = clock
        self._sleep = sleep
        self._breakers = {} if breakers is None else breakers
        self._parts: dict[str, Part] = {}
        self._total = 0  # of those that are enabled
        for one in config.execution_order:
            part = self._parts[one.name] = Part(one, self._total, len(one.depends_on))
            self._total += one.enabled
            for name in one.depends_on:
                self._parts[name].dependants.append(part)
                self._parts[name].waiting += 1
        self._ready: list[tuple[int, str]] = []
        self._due: list[tuple[float, int, str]] = []
        self._running: set[str] = set()
        self._inbox: queue.SimpleQueue[tuple[str, Future[Any]]] = queue.SimpleQueue()
        self._watched: dict[CircuitBreaker, Callable[[], None]] = {}  # and what ends the watching
        self._changes: deque[tuple[str, Any, Any]] = deque()  # of breakers; filled by any thread
        self._stopped: str | None = None  # why nothing more is begun
        self.refusal: ProgressError | None = None

    def run(self) -> None:
        """Run what there is to run.

        Raises:
            BaseException: what interrupts this thread; :meth:`abandon` is to be called then.
        """
        parts = list(self._parts.values())
        try:
            for part in parts:
                if part.config.enabled and part.name in self._start.completed:
                    self._inherit(part)
            for part in parts:
                if not part.config.depends_on and self._decide(part):
                    self._over(part)
            while self._ready or self._running or self._due:
                while self._ready:
                    self._begin(self._parts[heapq.heappop(self._ready)[1]])
                if self._running or self._due:
                    self._wait()
        finally:
            for end in self._watched.values():
                end()
            self._tell_changes()

    def results(self) -> list[ComponentResult]:
        """What has become of each component, in the order in which they run."""
        return [part.result for part in self._parts.values() if part.result is not None]

    def outputs(self) -> dict[str, Any]:
        """The values of the components on which no other one depends, as far as they are known."""
        found = {}
        for part in self._parts.values():
            if part.dependants or part.result is None or not part.result.success:
                continue
            future = self._value(part)
            if future is not None and future.exception() is None:
                found[part.name] = future.result()
        return found

    # -- what becomes of a component ---------------------------------------------------------------

    def _inherit(self, part: Part) -> None:
        """It has succeeded in the run that this one resumes."""
        self._restore(part, self._start.completed.run_id)

    def _restore(self, part: Part, run: str | None) -> None:
        status = ComponentStatus.RESTORED
        part.result = ComponentResult(part.name, status, restored_from=run)
        self._tell("on_component_restored", part.config, part.index, self._total, run)
        self._over(part)

    def _over(self, part: Part, blame: str | None = None) -> None:
        """Let those go on that wait for a component that is over, and so forth."""
        over = deque([(part, blame)])  # no recursion: a chain of them may be long
        while over:
            part, blame = over.popleft()
            for one in part.dependants:
                one.missing -= 1
                one.blame = one.blame or blame
                if not one.missing and self._decide(one):
                    over.append((one, one.blame))
            for name in part.config.depends_on:  # values that nobody needs any more
                above = self._parts[name]
                above.waiting -= 1
                if not above.waiting:
                    above.future = None

    def _decide(self, part: Part) -> bool:
        """All that a component depends on is over; whether it is over itself by that."""
        if part.result is not None:
            return False
        if not part.config.enabled:
            part.result = ComponentResult(part.name, ComponentStatus.DISABLED)
        elif part.blame is not None:
            self._skip(part, part.blame)
        else:
            heapq.heappush(self._ready, (part.index, part.name))
        return part.result is not None

    def _skip(self, part: Part, reason: str) -> None:
        part.result = ComponentResult(
            part.name, ComponentStatus.SKIPPED, attempts=part.attempts, reason=reason
        )
        self._tell("on_component_skipped", part.config, part.index, reason)

    def _begin(self, part: Part) -> None:
        """Make an attempt, unless nothing more is begun or its value is known already."""
        if part.result is not None:  # it was ready when it had not been inherited yet
            return
        if self._stopped is not None:
            self._give_up(part)
            return
        if not part.attempts and (run := self._stage.recorded(part.config)) is not None:
            self._tell_lineage(part)
            self._restore(part, self._start.completed.run_id or run)
            return
        breaker = self._breaker(part)
        if breaker is not None:
            part.permit = breaker.try_acquire()
            self._tell_changes()
            if part.permit is None:
                refusal = breaker.refusal(part.name)
                refusal.__cause__ = part.error
                self._first(part)
                self._fail(part, refusal)
                return
        self._first(part)
        if self._stopped is not None:  # a hook has stopped the run
            self._let_go(part)
            self._give_up(part)
            return
        part.attempts += 1
        inputs: dict[str, Future[Any]] = {}
        if part.config.depends_on and self._stage.wants_inputs(part.config):
            inputs = self._inputs(part)
        unknown = [
            name
            for name in part.config.depends_on
            if name not in inputs and self._parts[name].config.enabled
        ]
        future = part.future = self._stage.launch(part.config, inputs, unknown)
        self._running.add(part.name)
        name, inbox = part.name, self._inbox
        future.add_done_callback(lambda done: inbox.put((name, done)))

    def _first(self, part: Part) -> None:
        """Tell that a component begins, once."""
        if not part.attempts:
            part.began = self._clock()
            self._tell("before_component", part.config, part.index, self._total)

    def _inputs(self, part: Part) -> dict[str, Future[Any]]:
        found = {}
        for name in part.config.depends_on:
            future = self._value(self._parts[name])
            if future is not None:
                found[name] = future
        return found

    def _value(self, part: Part) -> Future[Any] | None:
        """The value of a component that has succeeded, if it is known."""
        if part.future is None and part.result is not None and part.result.success:
            part.future = self._stage.value(part.config)
        return part.future

    def _finished(self, part: Part, future: Future[Any]) -> None:
        self._running.discard(part.name)
        if part.result is not None or future.cancelled():
            return
        error = future.exception()
        permit, part.permit = part.permit, None
        if error is None:
            if permit is not None:
                permit.succeeded()
                self._tell_changes()
            self._succeed(part, future)
            return
        error = part.error = self._stage.failure(part.config, error)
        if permit is not None:
            permit.ended(error)
            self._tell_changes()
        retry = part.config.policy.retry
        if self._stopped is None and retry is not None and retry.again(part.attempts, error):
            self._again(part, retry.delay(part.attempts), retry.max_attempts, error)
        else:
            self._fail(part, error)

    def _succeed(self, part: Part, future: Future[Any]) -> None:
        duration = self._since(part)
        self._stage.file(part.config, future)
        part.result = ComponentResult(
            part.name, ComponentStatus.SUCCESS, attempts=part.attempts, duration_ms=duration
        )
        self._tell_lineage(part)
        self._tell("after_component", part.config, part.index, self._total, duration)
        self._over(part)

    def _again(self, part: Part, delay: float, most: int, error: BaseException) -> None:
        part.future = None
        delay_ms = int(delay * 1000)
        self._tell("on_retry_attempt", part.config, part.attempts, most, delay_ms, error)
        due = self._clock() + delay
        if self._sleep is not None:
            self._sleep(delay)
            due = self._clock()
        heapq.heappush(self._due, (due, part.index, part.name))

    def _fail(self, part: Part, error: BaseException) -> None:
        part.future = None
        part.result = ComponentResult(
            part.name, ComponentStatus.FAILED, attempts=part.attempts,
            duration_ms=self._since(part), error=error,
        )  # fmt: skip
        self._tell("on_component_failure", part.config, part.index, error)
        if self._fail_fast:
            self._stop(f"{part.name!r} failed and fail_fast is on")
        self._over(part, f"{part.name!r} failed")

    def _give_up(self, part: Part) -> None:
        """Begin no more attempts of a component, because the run is stopped."""
        if part.error is not None:
            self._fail(part, part.error)
        else:
            reason = self._stopped or ""
            self._skip(part, reason)
            self._over(part, reason)

    # -- the run as a whole ------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        """Begin nothing more, and take back what has not begun."""
        if self._stopped is not None:
            return
        self._stopped = reason
        due, self._due = self._due, []
        for _, index, name in due:
            heapq.heappush(self._ready, (index, name))
        for name in sorted(self._running):
            part = self._parts[name]
            if part.future is not None and part.future.cancel():
                self._running.discard(name)
                self._let_go(part)
                part.attempts -= 1
                heapq.heappush(self._ready, (part.index, name))

    def _wait(self) -> None:
        """Wait for something to happen: an attempt has ended, or another one is due."""
        wait = SLICE
        if self._due:
            wait = min(wait, max(self._due[0][0] - self._clock(), 0.0))
        pool: Any = worker.pool  # a pipeline within a task: its thread is made up for
        with contextlib.nullcontext() if pool is None else pool.blocked():
            try:
                name, future = self._inbox.get(timeout=wait)
            except queue.Empty:
                name = ""
        if name:
            self._finished(self._parts[name], future)
        self._tell_changes()
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, index, due = heapq.heappop(self._due)
            heapq.heappush(self._ready, (index, due))

    def abandon(self, error: BaseException, grace: float = 0.0) -> None:
        """The run was interrupted: cancel what has not begun, and note how far it has come.

        Args:
            error: what interrupted it.
            grace: seconds for which what runs is waited for. Its success counts and is told, and
                nobody who resumes the run meets it while it is still at work.
        """
        reason = f"the run was interrupted by {type(error).__name__}"
        with contextlib.suppress(BaseException):  # who interrupts once more waits no longer
            self._stop(reason)
            until = time.monotonic() + grace
            while self._running and (left := until - time.monotonic()) > 0:
                with contextlib.suppress(queue.Empty):
                    name, future = self._inbox.get(timeout=min(left, SLICE))
                    self._finished(self._parts[name], future)
        for part in self._parts.values():
            if part.result is not None:
                continue
            if part.future is not None:
                part.future.cancel()
            self._let_go(part)
            if not part.config.enabled:
                part.result = ComponentResult(part.name, ComponentStatus.DISABLED)
            elif part.attempts:
                cause = part.error if part.future is None else None  # it waited for another try
                part.result = ComponentResult(
                    part.name, ComponentStatus.FAILED, attempts=part.attempts,
                    duration_ms=self._since(part), error=cause or error,
                )  # fmt: skip
            else:
                part.result = ComponentResult(part.name, ComponentStatus.SKIPPED, reason=reason)

    def _tell(self, event: str, *about: Any) -> None:
        try:
            tell(self._hooks, event, *about)
        except ProgressError as error:
            self.refusal = self.refusal or error
            self._stop("progress cannot be recorded")

    def _tell_lineage(self, part: Part) -> None:
        lineage = self._stage.lineage(part.name)
        if lineage is not None:
            self._tell("on_value_recorded", part.config, lineage)

    def _breaker(self, part: Part) -> CircuitBreaker | None:
        breaker = part.config.policy.circuit_breaker
        if isinstance(breaker, CircuitBreakerConfig):
            if part.name not in self._breakers:
                self._breakers[part.name] = CircuitBreaker(breaker, part.name, clock=self._clock)
            breaker = self._breakers[part.name]
        if breaker is not None and breaker not in self._watched:
            self._watched[breaker] = breaker.subscribe(lambda *change: self._changes.append(change))
        return breaker

    def _tell_changes(self) -> None:
        """Tell what has become of breakers, some of which other threads may use, too."""
        while self._changes:
            self._tell("on_circuit_breaker_state_change", *self._changes.popleft())

    def _let_go(self, part: Part) -> None:
        if part.permit is not None:
            part.permit.released()
            part.permit = None

    def _since(self, part: Part) -> int:
        return max(int((self._clock() - part.began) * 1000), 0)  # whatever the clock does
