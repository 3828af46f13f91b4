"""Threads that take attempts straight from one queue: the cheapest way to run a task.

::

    launch() ── put ──► SimpleQueue ── get ──► worker 1 ─ claim, run, finished()
    (any thread)                     └─ get ──► worker 2 ─ claim, run, finished()
    shutdown() ── STOP ──► (each worker that finds it passes it on and leaves)
    blocked()  ── adds worker n+1; on its end ── a permit to leave, and a NUDGE

Guarantees
    * A task costs one ``put``, one ``get`` and one claim; nothing is allocated but a pair.
    * Attempts begin in the order of their launch.
    * As many workers as ``max_workers`` can run whatever is launched, however many of them wait
      inside ``blocked()``: recursion to any depth that the system has threads for cannot deadlock.
    * After ``shutdown`` no worker hinders the interpreter's end: they are daemon threads, so one
      that is stuck beyond its grace dies with the process.

Assumptions
    * Whoever wants queued work finished at the end of a script calls ``shutdown`` before the
      interpreter does away with daemon threads (the kernel: ``threading._register_atexit``).
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from parsl_ckpt.errors import ConfigurationError, ExecutorError
from parsl_ckpt.executors.base import (
    Executor,
    check_grace,
    check_label,
    check_storage,
    check_workers,
    refuse,
    run_attempt,
)
from parsl_ckpt.executors.cores import available_cores
from parsl_ckpt.kernel.attempt import Attempt, Finished, worker

__all__ = ["ThreadPoolExecutor"]

# Items of the queue that are not a pair (attempt, finished).  Both are false, so that a worker asks
# one question per task.
_STOP = None
_NUDGE = ()

# Longest uninterrupted wait for a thread; in between, signals are handled on every platform.
_TICK = 3600.0


class ThreadPoolExecutor(Executor):
    """Runs attempts on threads of this process.

    Args:
        max_workers: how many run at once; by default as many as there are cores to use.
        label: the name by which apps choose this executor.
        thread_name_prefix: beginning of the threads' names; by default the label.
        max_threads: the same as ``max_workers``, as Parsl calls it.
        storage_access: Staging providers that fetch and deliver files of other schemes for its
            tasks; None for those of the Config.
        working_dir: where such files lie while a task runs; by default the system's temporary
            directory.

    Raises:
        ConfigurationError: a value is wrong; the error names the field.

    >>> from parsl_ckpt.kernel.attempt import Attempt
    >>> pool = ThreadPoolExecutor(max_workers=2)
    >>> pool.start()
    >>> pool.launch(Attempt(pow, (2, 10)), lambda attempt, value, error: print(value))
    >>> pool.shutdown()
    1024
    """

    def __init__(
        self,
        max_workers: int | None = None,
        label: str = "threads",
        *,
        thread_name_prefix: str = "",
        max_threads: int | None = None,
        storage_access: Sequence[Any] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        name = type(self).__name__
        self.label = check_label(name, label)
        self.storage_access, self.working_dir = check_storage(name, storage_access, working_dir)
        if not isinstance(thread_name_prefix, str):
            raise ConfigurationError(
                f"{name}(thread_name_prefix=...) must be a string, not {thread_name_prefix!r}.",
                hint="Leave it out to name threads after the label.",
                field="thread_name_prefix",
            )
        self.max_workers = check_workers(name, max_workers, max_threads) or available_cores()
        self._prefix = thread_name_prefix or self.label
        self._begin()

    def _begin(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._lock = threading.Lock()  # guards the three that follow; never taken per task
        self._threads: set[threading.Thread] = set()
        self._born = 0
        self._alive = 0
        # One element for each worker that is no longer needed: whoever pops it, leaves.
        self._permits: list[None] = []
        self._closed = False
        self._abandoned = False  # no worker is waited for any more
        self._pid = os.getpid()

    def again(self) -> ThreadPoolExecutor:
        another = copy.copy(self)
        another._begin()
        return another

    @property
    def width(self) -> int:
        return self.max_workers

    def start(self) -> None:
        # All at once: an idle thread costs nothing, and launch() then never has to start one.
        while self._born < self.max_workers:
            self._add_worker()

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        self._queue.put((attempt, finished))
        if self._closed:
            self._sweep()

    def shutdown(self, grace: float | None = None) -> None:
        if os.getpid() != self._pid:  # a forked child has none of these threads
            return
        deadline = check_grace(grace)
        self._closed = True
        if grace is not None:
            self._refuse_queued()
        self._queue.put(_STOP)
        self._join(deadline)
        if threading.current_thread() not in self._threads:
            self._abandoned = True  # they have gone, or their grace has
        self._sweep()

    @contextlib.contextmanager
    def blocked(self) -> Iterator[None]:
        """While the calling worker waits, another one takes its place."""
        try:
            self._permits.pop()  # a worker was about to leave: it stays instead
        except IndexError:
            self._add_worker()
        try:
            yield
        finally:
            self._permits.append(None)
            self._queue.put(_NUDGE)  # so that an idle one leaves now rather than after a task

    # --- workers ----------------------------------------------------------------------------------

    def _add_worker(self) -> None:
        with self._lock:
            name = f"{self._prefix}-{self._born}"
            thread = threading.Thread(target=self._work, args=(name,), name=name, daemon=True)
            self._threads.add(thread)
            self._born += 1
            self._alive += 1
        try:
            thread.start()
        except RuntimeError as exc:
            with self._lock:
                self._threads.discard(thread)
                self._alive -= 1
            raise ExecutorError(
                f"Executor {self.label!r} cannot start another thread beside {self._alive}.",
                hint="Nested calls wait on one thread each: use join_app, or raise the limit on "
                "threads (ulimit -u).",
                executor=self.label,
            ) from exc

    def _work(self, name: str) -> None:
        worker.pool = self
        get, permits = self._queue.get, self._permits
        while True:
            item = get()
            if item:
                if item[0].claim():
                    run_attempt(item[0], item[1], name)
                item = None  # a worker that waits keeps nothing alive
            elif item is _STOP:
                self._queue.put(_STOP)
                break
            if permits:
                try:
                    permits.pop()
                except IndexError:
                    continue
                break
        with self._lock:
            self._alive -= 1
            self._threads.discard(threading.current_thread())
        if self._closed:
            self._sweep()

    # --- the end ----------------------------------------------------------------------------------

    def _join(self, deadline: float) -> None:
        """Wait until no worker is left, not counting the caller if it is one."""
        me = threading.current_thread()
        while True:
            with self._lock:
                waiting = [t for t in self._threads if t is not me and t.ident is not None]
            left = deadline - time.monotonic()
            if not waiting or left <= 0:
                return
            waiting[0].join(min(left, _TICK))

    def _sweep(self) -> None:
        """Finish what came too late for the last worker."""
        with self._lock:
            working = self._alive > 0 and not self._abandoned
        if not working:
            self._refuse_queued()
            self._queue.put(_STOP)  # for one that was stuck and comes back

    def _refuse_queued(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if item:
                refuse(item[0], item[1], self.label)
