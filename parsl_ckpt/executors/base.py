"""What every executor is: a label, and a place to put attempts that calls back when each is over.

Rule of this room: executors are *fed*, not wrapped.  The kernel puts an :class:`Attempt` in with
:meth:`Executor.launch`; whatever runs it claims it, runs it and calls ``finished``.  There is no
future and no condition variable per task here, and nothing in this room knows what a task is.

Guarantees (the conformance suite holds every executor to them)
    * Each attempt that is launched, and that nobody else claims, is claimed and finished once,
      also when a worker dies, a call does not pickle, or the executor was shut down.  The one
      exception is what still runs in a *thread* when the grace of ``shutdown`` has run out: no one
      can stop a thread, so it is left behind.
    * Whatever a task raises, ``SystemExit`` and ``KeyboardInterrupt`` included, fails that attempt
      and nothing else.
    * ``launch`` begins with one atomic enqueue.  A KeyboardInterrupt between any two of its
      bytecodes leaves the attempt either queued or not there, and the executor whole.
    * No executor keeps an attempt, an argument or a value alive once ``finished`` has returned.

Assumptions
    * ``finished`` does not block for long and does not raise (if it does, that is logged).
    * Functions are called as they are: coroutine functions and stream redirection belong to whoever
      made the function.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.errors import (
    ConfigurationError,
    ExecutorShutdownError,
    InvalidResourceSpecification,
)
from parsl_ckpt.kernel.attempt import Attempt, Finished, worker

__all__ = ["Executor", "refuse", "report", "run_attempt"]

logger = logging.getLogger(__name__)

_clock, _timer = time.time, time.perf_counter


class Executor(ABC):
    """Base of all executors.

    Attributes:
        label: the name by which apps choose this executor.
        storage_access: who fetches and delivers the files of its tasks that are elsewhere; None
            for what the run says.
        working_dir: where those files lie meanwhile; None for the system's temporary directory.
        sessions: directory of what its tasks commit in the middle (``task_checkpoint``); set by the
            run before it starts the executor.
        taken: a run has it, or had it.
    """

    label: str
    storage_access: Sequence[Any] | None = None
    working_dir: str | None = None
    sessions: str | None = None
    taken: bool = False

    def again(self) -> Executor:
        """What another run may use in its place when it is taken: one run ends its executors.

        Here it is the executor itself, for those that can be started after a shutdown.

        Raises:
            ConfigurationError: there can be no other one.
        """
        return self

    @property
    @abstractmethod
    def width(self) -> int:
        """How many attempts run at the same time."""

    @abstractmethod
    def start(self) -> None:
        """Begin to take attempts.  Starting twice is harmless."""

    @abstractmethod
    def launch(self, attempt: Attempt, finished: Finished) -> None:
        """Queue an attempt; call ``finished(attempt, value, error, encoded=None)`` when it is over.

        Callable from any thread, before ``start`` (it waits) and after ``shutdown`` (it finishes at
        once, with :class:`~parsl_ckpt.errors.ExecutorShutdownError`).
        """

    def honour(
        self, attempt: Attempt, walltime: float | None, resources: Mapping[str, Any] | None
    ) -> None:
        """See to what a call asks for, before it is launched; not called where it asks nothing.

        Args:
            attempt: what will be launched.
            walltime: seconds that it may take.  Here an error is raised in the thread that runs it,
                see :mod:`~parsl_ckpt.executors.limits`.
            resources: what it needs, as Parsl's ``parsl_resource_specification``.

        Raises:
            InvalidResourceSpecification: this executor cannot provide that.
        """
        if resources:
            raise self._cannot_provide(attempt.app, resources)
        if walltime is not None:
            from parsl_ckpt.executors.limits import Limited

            if type(attempt.fn) is not Limited:  # an attempt may be launched twice
                attempt.fn = Limited(attempt.fn, walltime, attempt.app)

    def _cannot_provide(
        self, app: str, resources: Mapping[str, Any]
    ) -> InvalidResourceSpecification:
        listed = ", ".join(map(repr, resources))
        return InvalidResourceSpecification(
            f"Executor {self.label!r} ({type(self).__name__}) cannot provide what app {app!r} asks "
            f"for by parsl_resource_specification: {listed}.",
            hint="Call it without; to bound what runs at once, give the app an executor of its own "
            "with fewer workers (executors=[label]).",
            app=app,
            executor=self.label,
            invalid_keys=frozenset(resources),
        )

    @abstractmethod
    def shutdown(self, grace: float | None = None) -> None:
        """Stop.

        Args:
            grace: None runs everything that was launched to its end.  A number of seconds finishes
                what has not begun with ``ExecutorShutdownError``, waits that long for what runs and
                then stops it where it can be stopped.

        May be called again, from another thread too, with less grace than before.
        """

    def blocked(self) -> contextlib.AbstractContextManager[None]:
        """Context in which one of this executor's workers waits for another task."""
        return contextlib.nullcontext()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(label={self.label!r}, width={self.width})"


def run_attempt(attempt: Attempt, finished: Finished, name: str) -> None:
    """Run an attempt that this thread has claimed, here and now, and report it.

    A function of its own, so that its locals (the value above all) are gone when it returns.
    """
    attempt.worker = name
    worker.seed = attempt.seed
    attempt.began = _clock()
    start = _timer()
    value: Any = None
    error: BaseException | None = None
    try:
        if attempt.guard is not None:
            attempt.guard()
        value = attempt.fn(*attempt.args, **attempt.kwargs)
    except BaseException as exc:
        # Our own frame says nothing to the user and would keep the attempt alive.
        error = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
    attempt.seconds = _timer() - start
    worker.seed = b""
    try:
        finished(attempt, value, error)
    except BaseException:
        logger.exception("The report of task %s (%s) failed", attempt.tid, attempt.app)
    finally:
        # The frames of an error's traceback refer back to this one, which must keep nothing alive.
        del attempt, finished, value, error


def report(
    attempt: Attempt,
    finished: Finished,
    value: Any,
    error: BaseException | None,
    encoded: Any = None,
) -> None:
    """Call ``finished`` for an executor thread that must survive whatever it does."""
    try:
        finished(attempt, value, error, encoded)
    except BaseException:
        logger.exception("The report of task %s (%s) failed", attempt.tid, attempt.app)


def refuse(attempt: Attempt, finished: Finished, label: str) -> None:
    """Finish an attempt that an executor will not begin any more, unless someone else has it."""
    if attempt.claim():
        error = ExecutorShutdownError(
            f"Executor {label!r} was shut down before app {attempt.app!r} began.",
            hint="Call apps while the kernel is loaded.",
            app=attempt.app,
            executor=label,
        )
        report(attempt, finished, None, error)


@dataclass(frozen=True)
class NamedExecutor:
    """An executor that the legacy dictionary asks for by name.

    Attributes:
        kind: ``"threads"`` or ``"processes"``.
        label: the site's name.
        max_workers: how many tasks run at once, or None for the executor's default.
    """

    kind: str
    label: str
    max_workers: int | None


# --- what constructors check ----------------------------------------------------------------------


def check_label(owner: str, label: Any) -> str:
    """A label is a non-empty string."""
    if not isinstance(label, str) or not label:
        raise ConfigurationError(
            f"{owner}(label=...) must be a non-empty string, not {label!r}.",
            hint="Give the executor a name that apps can choose it by.",
            field="label",
        )
    return label


def check_count(owner: str, field: str, value: Any, least: int = 1) -> int:
    """A count is an int (not a bool) that is not below ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(
            f"{owner}({field}=...) must be a whole number of at least {least}, not {value!r}.",
            hint=f"Pass {field}={least} or more, or leave it out.",
            field=field,
        )
    return value


def check_workers(owner: str, max_workers: Any, max_threads: Any) -> int | None:
    """Join ``max_workers`` with Parsl's word for it, ``max_threads``."""
    if max_threads is not None:
        check_count(owner, "max_threads", max_threads)
        if max_workers is not None and max_workers != max_threads:
            raise ConfigurationError(
                f"{owner} was given max_workers={max_workers!r} and max_threads={max_threads!r}.",
                hint="They are two words for one thing: pass one of them.",
                field="max_threads",
            )
        max_workers = max_threads
    return None if max_workers is None else check_count(owner, "max_workers", max_workers)


def check_storage(
    owner: str, storage_access: Any, working_dir: Any
) -> tuple[tuple[Any, ...] | None, str | None]:
    """Staging providers, and the directory of what they fetch."""
    if working_dir is not None and not isinstance(working_dir, (str, os.PathLike)):
        raise ConfigurationError(
            f"{owner}(working_dir=...) must be a path, not {working_dir!r}.",
            hint="Leave it out for the system's temporary directory.",
            field="working_dir",
        )
    directory = None if working_dir is None else os.path.abspath(working_dir)
    if storage_access is None:
        return None, directory
    if not isinstance(storage_access, (list, tuple)) or not all(map(is_provider, storage_access)):
        raise ConfigurationError(
            f"{owner}(storage_access=...) must be a list of Staging providers, not "
            f"{storage_access!r}.",
            hint="Give instances of classes made from parsl_ckpt.apps.staging.Staging.",
            field="storage_access",
        )
    return tuple(storage_access), directory


def is_provider(value: Any) -> bool:
    """Whether something stages files."""
    names = ("can_stage_in", "can_stage_out", "stage_in", "stage_out")
    return not isinstance(value, type) and all(callable(getattr(value, n, None)) for n in names)


def check_grace(grace: float | None) -> float:
    """The instant of the monotonic clock at which a grace runs out."""
    return math.inf if grace is None else time.monotonic() + max(0.0, grace)
