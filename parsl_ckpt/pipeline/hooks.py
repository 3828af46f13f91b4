"""Who is told how a run of a pipeline goes.

Rules of this file:

* Hooks are called on one thread, the one that called ``run()``, one after the other, in one order:
  ``on_run_start``, ``before_pipeline``, then for each component ``before_component`` and what
  becomes of it, at last ``after_pipeline``. Components that run side by side take turns here.
* What a hook raises is logged and stops nothing; the one exception is
  :class:`~parsl_ckpt.errors.ProgressError`, by which a hook that records progress stops the run.
* A hook need not have all of the methods.

The names are pyspark-pipeline-framework's, and so is what they are told.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from parsl_ckpt.errors import ConfigurationError, ProgressError

if TYPE_CHECKING:
    from parsl_ckpt.pipeline.completed import RunStart
    from parsl_ckpt.pipeline.config import ComponentConfig, PipelineConfig
    from parsl_ckpt.pipeline.result import PipelineResult

logger = logging.getLogger(__name__)


class PipelineHooks(Protocol):
    """What can be told of a run.

    ``index`` counts from 0 in the order in which components run, among those that are enabled;
    ``total`` is how many these are.
    """

    def before_pipeline(self, config: PipelineConfig) -> None:
        """The run begins."""

    def after_pipeline(self, config: PipelineConfig, result: PipelineResult) -> None:
        """The run is over, whatever became of it."""

    def before_component(self, config: ComponentConfig, index: int, total: int) -> None:
        """A component is about to begin."""

    def after_component(
        self, config: ComponentConfig, index: int, total: int, duration_ms: int
    ) -> None:
        """A component has succeeded."""

    def on_component_failure(
        self, config: ComponentConfig, index: int, error: BaseException
    ) -> None:
        """A component has failed for good."""

    def on_component_skipped(self, config: ComponentConfig, index: int, reason: str) -> None:
        """A component is not run, because of something else: ``"'extract' failed"``."""

    def on_retry_attempt(
        self,
        config: ComponentConfig,
        attempt: int,
        max_attempts: int,
        delay_ms: int,
        error: BaseException,
    ) -> None:
        """Attempt number ``attempt`` has failed, and the next one follows in ``delay_ms``."""

    def on_circuit_breaker_state_change(self, name: str, old_state: Any, new_state: Any) -> None:
        """The circuit breaker of a component has gone from one state to another."""


class NoOpHooks:
    """Hooks that do nothing: a base for those who care for one event only.

    >>> class Bell(NoOpHooks):
    ...     def on_component_failure(self, config, index, error):
    ...         print(config.name, "has failed")
    """

    def on_run_start(self, config: PipelineConfig, start: RunStart) -> None:
        """Before anything else: the run is a fresh one, or inherits ``start.completed``."""

    def before_pipeline(self, config: PipelineConfig) -> None:
        """The run begins."""

    def after_pipeline(self, config: PipelineConfig, result: PipelineResult) -> None:
        """The run is over, whatever became of it."""

    def before_component(self, config: ComponentConfig, index: int, total: int) -> None:
        """A component is about to begin."""

    def on_value_recorded(self, config: ComponentConfig, address: str) -> None:
        """Just before it is told that a component has succeeded: where its value is, if it could be
        recorded; whoever resumes the run hands this back."""

    def after_component(
        self, config: ComponentConfig, index: int, total: int, duration_ms: int
    ) -> None:
        """A component has succeeded."""

    def on_component_failure(
        self, config: ComponentConfig, index: int, error: BaseException
    ) -> None:
        """A component has failed for good."""

    def on_component_skipped(self, config: ComponentConfig, index: int, reason: str) -> None:
        """A component is not run."""

    def on_component_restored(
        self, config: ComponentConfig, index: int, total: int, run_id: str | None
    ) -> None:
        """A component is not run, because it has succeeded before, in ``run_id`` if known."""

    def on_retry_attempt(
        self,
        config: ComponentConfig,
        attempt: int,
        max_attempts: int,
        delay_ms: int,
        error: BaseException,
    ) -> None:
        """An attempt has failed, and another one follows."""

    def on_circuit_breaker_state_change(self, name: str, old_state: Any, new_state: Any) -> None:
        """The circuit breaker of a component has gone from one state to another."""


class CompositeHooks(NoOpHooks):
    """Several hooks, told one after the other; what one of them raises does not keep the rest from
    being told.

    Args:
        hooks: who is told, in this order.

    Attributes:
        hooks: the same.

    Raises:
        ConfigurationError: one of them is a class, or has none of the methods.

    >>> len(CompositeHooks(NoOpHooks(), NoOpHooks()).hooks)
    2
    """

    def __init__(self, *hooks: Any) -> None:
        for one in hooks:
            check_hooks(one)
        self.hooks = hooks

    def _tell(self, event: str, *about: Any) -> None:
        refusal: ProgressError | None = None
        for hooks in self.hooks:
            try:
                tell(hooks, event, *about)
            except ProgressError as error:
                refusal = refusal or error
        if refusal is not None:
            raise refusal


def _passed_on(event: str) -> Any:
    def pass_on(self: CompositeHooks, *about: Any) -> None:
        self._tell(event, *about)

    pass_on.__name__, pass_on.__doc__ = event, getattr(NoOpHooks, event).__doc__
    return pass_on


EVENTS = tuple(name for name in vars(NoOpHooks) if not name.startswith("_"))
"""The methods of hooks, in the order of a run."""

for _event in EVENTS:
    setattr(CompositeHooks, _event, _passed_on(_event))


def check_hooks(hooks: Any) -> None:
    """Refuse what no event could be told to.

    Raises:
        ConfigurationError: it is a class, has none of the methods, or has one that nobody awaits.
    """
    methods = [name for name in EVENTS if callable(getattr(hooks, name, None))]
    if isinstance(hooks, type) or not methods:
        raise ConfigurationError(
            f"Hooks are {hooks!r:.80}, which has no event to be told of.",
            hint="Give an instance of the class."
            if methods
            else "Give an object with methods such as before_component.",
            field="hooks",
        )
    waiting = [name for name in methods if inspect.iscoroutinefunction(getattr(hooks, name))]
    if waiting:
        raise ConfigurationError(
            f"Hooks are {hooks!r:.80}, whose {waiting[0]} is a coroutine function.",
            hint="Make it an ordinary one: nobody awaits what hooks return.",
            field="hooks",
        )


def tell(hooks: Any, event: str, *about: Any) -> None:
    """Call one method of hooks, if they have it.

    Raises:
        ProgressError: progress cannot be recorded as was asked.
    """
    method = getattr(hooks, event, None)
    if method is None:
        return
    try:
        method(*about)
    except ProgressError:
        raise
    except Exception:
        logger.exception("%s.%s failed; the run goes on.", type(hooks).__name__, event)


def each(hooks: Any) -> Iterator[Any]:
    """Hooks and all that they are made of, in the order in which they are told.

    >>> first, second = NoOpHooks(), NoOpHooks()
    >>> list(each(CompositeHooks(first, CompositeHooks(second)))) == [first, second]
    True
    """
    inner = getattr(hooks, "hooks", None)
    if isinstance(inner, (tuple, list)):
        for one in inner:
            yield from each(one)
    elif hooks is not None:
        yield hooks
