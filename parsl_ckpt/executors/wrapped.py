"""Any ``concurrent.futures.Executor`` as one of ours.

::

    launch() ── put ──► SimpleQueue ── get ──► feeder ─ claim, pack? ─► executor.submit()
    (any thread)                                                            │
    finished() ◄──────────── done callback, on the executor's thread ◄── its future

The feeder, a thread of our own, stands between because ``submit`` of a foreign executor may take
locks, block and go over a network, and must not be torn apart by a Ctrl-C in the caller of an app.

Claiming.  An attempt is claimed by the feeder, right before ``submit``.  Claiming it inside the
running function instead (so that what waits in the foreign executor can still be cancelled) is
possible only where both share memory; one rule for all of them was preferred, together with
``in_flight``, which keeps what is not yet needed unclaimed on our side of the border.

Calls to another process are packed as our own process pool packs them (closures, lambdas and what
``__main__`` defines travel by value; tracebacks come home), so the executor's own pickling sees
nothing but bytes.

Guarantees
    * A future that the executor cancels, a ``BrokenExecutor``, and a ``submit`` that raises each
      fail their attempt with a typed error; none of them stops the feeder.

Assumptions
    * The executor ends every future it hands out.  Its own shutdown rule holds: what runs when a
      grace has run out is waited for no longer, and reported as shut down.
"""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from parsl_ckpt.errors import ConfigurationError, ExecutorError, ExecutorShutdownError
from parsl_ckpt.executors.base import (
    Executor,
    check_count,
    check_grace,
    check_label,
    check_storage,
    logger,
    refuse,
    report,
)
from parsl_ckpt.executors.cores import available_cores
from parsl_ckpt.executors.foreign import ForeignPacker, run_packed
from parsl_ckpt.kernel.attempt import Attempt, Finished, worker

__all__ = ["WrappedExecutor", "wrap"]

_STOP = None

# Modules whose executors run calls in other processes.
_REMOTE_MODULES = frozenset({"loky", "mpi4py", "distributed", "dask", "ipyparallel"})


def wrap(
    executor: concurrent.futures.Executor,
    label: str = "wrapped",
    *,
    width: int | None = None,
    in_flight: int | None = None,
    crosses_processes: bool | None = None,
    storage_access: Sequence[Any] | None = None,
    working_dir: str | os.PathLike[str] | None = None,
) -> WrappedExecutor:
    """Make an executor of ``concurrent.futures``' kind usable in a ``Config``.

    Args:
        executor: the executor; it is shut down when the wrapper is.
        label: the name by which apps choose it.
        width: how many calls it runs at once; by default what it says of itself, else the number of
            cores.
        in_flight: how many calls it is given at once; the rest wait where they can still be
            cancelled.  By default there is no limit.
        crosses_processes: whether calls run in another process.  By default this is known for the
            standard library's executors, loky, mpi4py, dask and ipyparallel, and False for others.
        storage_access: Staging providers that fetch and deliver files of other schemes for its
            tasks; None for those of the Config.
        working_dir: where such files lie while a task runs; by default the system's temporary
            directory.

    Returns:
        An executor.

    Raises:
        ConfigurationError: a value is wrong; the error names the field.

    >>> import concurrent.futures
    >>> from parsl_ckpt.kernel.attempt import Attempt
    >>> pool = wrap(concurrent.futures.ThreadPoolExecutor(2), label="mine")
    >>> pool.start()
    >>> pool.launch(Attempt(pow, (2, 10)), lambda attempt, value, error, encoded: print(value))
    >>> pool.shutdown()
    1024
    """
    return WrappedExecutor(
        executor, label, width=width, in_flight=in_flight, crosses_processes=crosses_processes,
        storage_access=storage_access, working_dir=working_dir,
    )  # fmt: skip


class WrappedExecutor(Executor):
    """An executor of ``concurrent.futures``' kind behind our protocol; made by :func:`wrap`."""

    def __init__(
        self,
        executor: concurrent.futures.Executor,
        label: str = "wrapped",
        *,
        width: int | None = None,
        in_flight: int | None = None,
        crosses_processes: bool | None = None,
        storage_access: Sequence[Any] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise ConfigurationError(
                f"wrap(executor=...) needs an object with a submit method, not {executor!r}.",
                hint="Pass a concurrent.futures.Executor.",
                field="executor",
            )
        if any(kind.__name__ == "InterpreterPoolExecutor" for kind in type(executor).__mro__):
            raise ConfigurationError(
                "wrap(executor=...) cannot use an InterpreterPoolExecutor: libraries that "
                "parsl_ckpt needs do not load in subinterpreters.",
                hint="Use a ThreadPoolExecutor, or a ProcessPoolExecutor for more than one core.",
                field="executor",
            )
        self.executor = executor
        self.label = check_label("wrap", label)
        self.storage_access, self.working_dir = check_storage("wrap", storage_access, working_dir)
        self._width = _width_of(executor) if width is None else check_count("wrap", "width", width)
        self._room = (
            None
            if in_flight is None
            else threading.Semaphore(check_count("wrap", "in_flight", in_flight))
        )
        self.crosses_processes = _crosses(executor, crosses_processes)
        self._packer = ForeignPacker()
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._feeder: threading.Thread | None = None
        self._closed = False
        self._ended = False
        # Attempts that the executor has: whoever removes one, reports it.
        self._out: dict[int, tuple[Attempt, Finished]] = {}
        self._drained = threading.Condition()
        self._pid = os.getpid()

    def again(self) -> NoReturn:
        raise ConfigurationError(
            f"Config.executors: {self.label!r} was given to a run before, which shuts down what is "
            "wrapped.",
            hint="wrap() a new executor for each run.",
            field="executors",
            label=self.label,
        )

    @property
    def width(self) -> int:
        return self._width

    def start(self) -> None:
        if self._feeder is None:
            feeder = threading.Thread(target=self._feed, name=f"{self.label}-feeder", daemon=True)
            feeder.start()
            self._feeder = feeder

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        self._queue.put((attempt, finished))
        if self._ended:
            self._refuse_queued()

    def shutdown(self, grace: float | None = None) -> None:
        if os.getpid() != self._pid:
            return
        deadline = check_grace(grace)
        self._closed = True
        if grace is not None:
            self._refuse_queued()
        self._queue.put(_STOP)
        if self._feeder is not None and self._feeder is not threading.current_thread():
            self._feeder.join(None if grace is None else max(0.0, deadline - time.monotonic()))
        with self._drained:
            self._drained.wait_for(
                lambda: not self._out,
                None if grace is None else max(0.0, deadline - time.monotonic()),
            )
        self._ended = True
        self._refuse_queued()
        self._queue.put(_STOP)
        self._give_up()
        self._close_executor(wait=grace is None)

    # --- the feeder -------------------------------------------------------------------------------

    def _feed(self) -> None:
        while True:
            item = self._queue.get()
            if item is _STOP:
                return
            if self._room is not None:
                self._room.acquire()
            if self._ended:
                refuse(item[0], item[1], self.label)
            elif item[0].claim():
                self._submit(*item)
            elif self._room is not None:
                self._room.release()
            item = None

    def _submit(self, attempt: Attempt, finished: Finished) -> None:
        self._out[id(attempt)] = (attempt, finished)
        try:
            call, unpack = self._prepare(attempt)
            future = self.executor.submit(*call)
        except BaseException as exc:
            self._report(attempt, None, self._explain(exc, attempt), None)
        else:
            future.add_done_callback(lambda future: self._done(attempt, unpack, future))

    def _prepare(self, attempt: Attempt) -> tuple[tuple[Any, ...], Callable[..., Any]]:
        """What to submit, and how to read what comes back."""
        if not self.crosses_processes:
            return (_run_here, attempt, self), _as_it_is
        packed = self._packer.pack(attempt, self.sessions)
        if attempt.guard is not None:
            attempt.guard()  # now that the arguments are bytes
        return (run_packed, packed), self._packer.unpacker(attempt)

    def _done(
        self, attempt: Attempt, unpack: Callable[..., Any], future: concurrent.futures.Future[Any]
    ) -> None:
        try:
            outcome = unpack(future.result())
        except BaseException as exc:  # cancelled, broken, or unreadable: the task did not report
            outcome = None, self._explain(exc, attempt), None, None
        value, error, encoded, measured = outcome
        if measured is not None:
            attempt.began, attempt.seconds, attempt.worker = measured
        self._report(attempt, value, error, encoded)

    def _report(
        self, attempt: Attempt, value: Any, error: BaseException | None, encoded: Any
    ) -> None:
        entry = self._out.pop(id(attempt), None)
        if entry is not None:
            if self._room is not None:
                self._room.release()
            report(*entry, value, error, encoded)
            if self._closed and not self._out:
                with self._drained:
                    self._drained.notify_all()

    def _explain(self, exc: BaseException, attempt: Attempt) -> BaseException:
        """An error of ours for what the executor, not the task, raised."""
        if isinstance(exc, ExecutorError):
            return exc
        if isinstance(exc, concurrent.futures.CancelledError):
            text = f"Executor {self.label!r} cancelled app {attempt.app!r} by itself."
            hint = "Find out who shuts the wrapped executor down."
        else:
            text = (
                f"Executor {self.label!r} could not run app {attempt.app!r}: "
                f"{type(exc).__name__}: {exc}"
            )
            hint = "The wrapped executor says no more than this; a new one may be needed."
        error = ExecutorError(text, hint=hint, app=attempt.app, executor=self.label)
        error.__cause__ = exc
        return error

    # --- the end ----------------------------------------------------------------------------------

    def _refuse_queued(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if item is not _STOP:
                refuse(item[0], item[1], self.label)

    def _give_up(self) -> None:
        """Report what the executor still has as shut down; what it says later is not heard."""
        for attempt, _ in list(self._out.values()):
            error = ExecutorShutdownError(
                f"App {attempt.app!r} still ran when executor {self.label!r} was shut down.",
                hint="Allow a longer grace.",
                app=attempt.app,
                executor=self.label,
            )
            self._report(attempt, None, error, None)

    def _close_executor(self, wait: bool) -> None:
        try:
            try:
                self.executor.shutdown(wait=wait, cancel_futures=not wait)
            except TypeError:  # one that does not know cancel_futures
                self.executor.shutdown(wait=wait)
        except Exception:
            logger.exception("The shutdown of wrapped executor %s failed", self.label)


def _run_here(attempt: Attempt, pool: WrappedExecutor) -> Any:
    """Run a call on a thread of the executor, in this process."""
    worker.pool = pool
    worker.seed = attempt.seed
    if attempt.guard is not None:
        attempt.guard()
    value: Any = None
    error: BaseException | None = None
    began, start = time.time(), time.perf_counter()
    try:
        value = attempt.fn(*attempt.args, **attempt.kwargs)
    except BaseException as exc:
        error = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
    finally:
        worker.pool = None  # the thread may serve others too
        worker.seed = b""
    measured = began, time.perf_counter() - start, threading.current_thread().name
    try:
        return value, error, None, measured
    finally:
        error = None
        del attempt  # an error's traceback refers to this frame


def _as_it_is(outcome: Any) -> Any:
    return outcome


def _width_of(executor: concurrent.futures.Executor) -> int:
    for name in ("_max_workers", "max_workers", "width"):
        width = getattr(executor, name, None)
        if isinstance(width, int) and width > 0:
            return width
    return available_cores()


def _is_remote(executor: concurrent.futures.Executor) -> bool:
    process = sys.modules.get("concurrent.futures.process")  # imported if one was made
    if process is not None and isinstance(executor, process.ProcessPoolExecutor):
        return True
    return any(c.__module__.partition(".")[0] in _REMOTE_MODULES for c in type(executor).__mro__)


def _crosses(executor: Any, said: Any) -> bool:
    """Whether calls run in another process: what was said, or what is known of the executor."""
    if said is None:
        return _is_remote(executor)
    if isinstance(said, bool):
        return said
    raise ConfigurationError(
        f"wrap(crosses_processes=...) must be True, False or None, not {said!r}.",
        hint="Leave it out for what is known of the executor.",
        field="crosses_processes",
    )
