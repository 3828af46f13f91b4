"""Hooks that come with the library: a log of the run, and its measurements."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel.failures import one_line
from parsl_ckpt.pipeline.hooks import NoOpHooks

if TYPE_CHECKING:
    from parsl_ckpt.pipeline.completed import RunStart
    from parsl_ckpt.pipeline.config import ComponentConfig, PipelineConfig
    from parsl_ckpt.pipeline.result import PipelineResult


class LoggingHooks(NoOpHooks):
    """Writes a line for each event.

    Args:
        logger: where to; None for the logger ``parsl_ckpt.pipeline``.

    Raises:
        ConfigurationError: it is no logger.

    >>> hooks = LoggingHooks(logging.getLogger("nightly"))
    >>> hooks.logger.name
    'nightly'
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        if logger is not None and not callable(getattr(logger, "log", None)):
            raise ConfigurationError(
                f"LoggingHooks: logger is {logger!r:.80}, no logger.",
                hint="Give logging.getLogger(name).",
                field="logger",
            )
        self.logger = logging.getLogger("parsl_ckpt.pipeline") if logger is None else logger

    def on_run_start(self, config: PipelineConfig, start: RunStart) -> None:
        if start.completed:
            names = ", ".join(sorted(start.completed))
            run = start.completed.run_id
            of = f"with run {run}, in which these succeeded" if run else "after what succeeded"
            self.logger.info("Pipeline %s goes on %s: %s", config.name, of, names)

    def before_pipeline(self, config: PipelineConfig) -> None:
        number = len(config.components)
        self.logger.info(
            "Pipeline %s, version %s, begins: %d component%s",
            config.name, config.version, number, "" if number == 1 else "s",
        )  # fmt: skip

    def after_pipeline(self, config: PipelineConfig, result: PipelineResult) -> None:
        level = logging.INFO if result.status.value == "success" else logging.ERROR
        self.logger.log(
            level, "Pipeline %s: %s after %d ms",
            config.name, result.status.value, result.total_duration_ms,
        )  # fmt: skip

    def before_component(self, config: ComponentConfig, index: int, total: int) -> None:
        self.logger.info("Component %s (%d of %d) begins", config.name, index + 1, total)

    def after_component(
        self, config: ComponentConfig, index: int, total: int, duration_ms: int
    ) -> None:
        self.logger.info(
            "Component %s (%d of %d) is done after %d ms",
            config.name,
            index + 1,
            total,
            duration_ms,
        )

    def on_component_failure(
        self, config: ComponentConfig, index: int, error: BaseException
    ) -> None:
        self.logger.error(
            "Component %s has failed: %s", config.name, one_line(error),
            exc_info=(type(error), error, error.__traceback__),
        )  # fmt: skip

    def on_component_skipped(self, config: ComponentConfig, index: int, reason: str) -> None:
        self.logger.warning("Component %s is skipped, because %s", config.name, reason)

    def on_component_restored(
        self, config: ComponentConfig, index: int, total: int, run_id: str | None
    ) -> None:
        of = f" in run {run_id}" if run_id else ""
        self.logger.info(
            "Component %s (%d of %d) has succeeded before%s", config.name, index + 1, total, of
        )

    def on_retry_attempt(
        self,
        config: ComponentConfig,
        attempt: int,
        max_attempts: int,
        delay_ms: int,
        error: BaseException,
    ) -> None:
        self.logger.warning(
            "Component %s: attempt %d of %d has failed, the next one follows in %d ms: %s",
            config.name, attempt, max_attempts, delay_ms, one_line(error),
        )  # fmt: skip

    def on_circuit_breaker_state_change(self, name: str, old_state: Any, new_state: Any) -> None:
        old, new = (getattr(state, "value", state) for state in (old_state, new_state))
        self.logger.warning("Circuit breaker of %s: %s, was %s", name, new, old)


class MeterRegistry(Protocol):
    """Where measurements go; an adapter to Prometheus and its kin is three short methods."""

    def counter(self, name: str, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Set a value that goes up and down."""

    def timer(self, name: str, duration_ms: float, tags: Mapping[str, str] | None = None) -> None:
        """Note a duration."""


class InMemoryRegistry:
    """A registry that keeps what it is told.

    Attributes:
        counters: sums; gauges: last values; timers: all durations in milliseconds. The keys are
            (name, tags), where tags are sorted pairs.

    >>> registry = InMemoryRegistry()
    >>> registry.counter("runs", tags={"pipeline": "etl"})
    >>> registry.counters["runs", (("pipeline", "etl"),)]
    1.0
    """

    def __init__(self) -> None:
        self.counters: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.timers: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}

    def counter(self, name: str, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        """Add to a sum.

        Args:
            name: of the sum.
            value: what is added.
            tags: what tells it from others of the name.
        """
        key = name, tuple(sorted((tags or {}).items()))
        self.counters[key] = self.counters.get(key, 0.0) + value

    def gauge(self, name: str, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Set a value.

        Args:
            name: of the value.
            value: what it is now.
            tags: what tells it from others of the name.
        """
        self.gauges[name, tuple(sorted((tags or {}).items()))] = value

    def timer(self, name: str, duration_ms: float, tags: Mapping[str, str] | None = None) -> None:
        """Note a duration.

        Args:
            name: of what was timed.
            duration_ms: how long it took, in milliseconds.
            tags: what tells it from others of the name.
        """
        self.timers.setdefault((name, tuple(sorted((tags or {}).items()))), []).append(duration_ms)


class MetricsHooks(NoOpHooks):
    """Measures runs.

    Args:
        clock: gives seconds that never go backwards.
        registry: where measurements go as well, under names that begin with ``pipeline.``.

    Attributes:
        component_durations: milliseconds of each component that has succeeded in the last run.
        component_retries: how often each has been tried again in it.
        component_status: what became of each in it.
        total_duration_ms: how long it took.

    Raises:
        ConfigurationError: the clock is no function, or the registry has not the three methods.

    >>> from parsl_ckpt.pipeline import PipelineConfig, SimplePipelineRunner
    >>> hooks = MetricsHooks()
    >>> _ = SimplePipelineRunner(PipelineConfig("nothing"), hooks=hooks).run()
    >>> hooks.component_status, hooks.total_duration_ms >= 0
    ({}, True)
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        registry: MeterRegistry | None = None,
    ) -> None:
        if not callable(clock):
            raise ConfigurationError(
                f"MetricsHooks: clock is {clock!r:.80}, no function.",
                hint="A registry is given by its name: MetricsHooks(registry=...).",
                field="clock",
            )
        methods = "counter", "gauge", "timer"
        if registry is not None and not all(callable(getattr(registry, m, None)) for m in methods):
            raise ConfigurationError(
                f"MetricsHooks: registry is {registry!r:.80}, which has not all of the methods "
                f"{', '.join(methods)}.",
                field="registry",
            )
        self._clock = clock
        self.registry = InMemoryRegistry() if registry is None else registry
        self._forget()

    def _forget(self) -> None:
        self.component_durations: dict[str, int] = {}
        self.component_retries: dict[str, int] = {}
        self.component_status: dict[str, str] = {}
        self.total_duration_ms = 0
        self._pipeline = ""
        self._began = 0.0

    def before_pipeline(self, config: PipelineConfig) -> None:
        self._forget()
        self._pipeline = config.name
        self._began = self._clock()

    def after_pipeline(self, config: PipelineConfig, result: PipelineResult) -> None:
        self.total_duration_ms = int((self._clock() - self._began) * 1000)
        tags = {"pipeline": config.name}
        self.registry.timer("pipeline.duration", self.total_duration_ms, tags)
        self.registry.counter("pipeline.runs", tags={**tags, "status": result.status.value})
        for one in result.component_results:
            self.component_status[one.component_name] = one.status.value
            told = {**tags, "component": one.component_name, "status": one.status.value}
            self.registry.counter("pipeline.components", tags=told)

    def after_component(
        self, config: ComponentConfig, index: int, total: int, duration_ms: int
    ) -> None:
        self.component_durations[config.name] = duration_ms
        self.registry.timer("pipeline.component.duration", duration_ms, self._tags(config.name))

    def on_retry_attempt(
        self,
        config: ComponentConfig,
        attempt: int,
        max_attempts: int,
        delay_ms: int,
        error: BaseException,
    ) -> None:
        self.component_retries[config.name] = self.component_retries.get(config.name, 0) + 1
        self.registry.counter("pipeline.component.retries", tags=self._tags(config.name))

    def on_circuit_breaker_state_change(self, name: str, old_state: Any, new_state: Any) -> None:
        tags = {**self._tags(name), "state": str(getattr(new_state, "value", new_state))}
        self.registry.counter("pipeline.circuit_breaker", tags=tags)

    def _tags(self, component: str) -> dict[str, str]:
        return {"pipeline": self._pipeline, "component": component}
